//! What this gateway needs of its operators: another certificate, another start of its process, another start of its machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use maintenance::fleet::{Need, NeedKind};
use protocol::Wall;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::text::first_of;

/// A certificate that ends within this time is a need.
const ENDS_SOON: Duration = Duration::from_secs(30 * 24 * 3600);
/// The program that runs, also if another file has its name by now.
const RUNNING: &str = "/proc/self/exe";
/// So many settings are named; of more it is said how many.
const NAMED: usize = 8;

/// Where it is seen what a gateway needs. What cannot be read is somebody else's to report, and no need.
#[derive(Debug, Clone, Default)]
pub struct NeedSources {
    /// Its certificate, if it has one.
    pub certificate: Option<PathBuf>,
    /// Its program, by the name under which it was started.
    pub program: Option<PathBuf>,
    /// The file that is there as long as its machine is to be started again.
    pub reboot: PathBuf,
    /// The settings in its file that are not in force without a restart, by name.
    pub settings: Vec<String>,
}

impl NeedSources {
    /// What it needs now, each kind at most once.
    pub(super) fn needs(&self, now: Wall) -> Vec<Need> {
        let certificate = self.certificate.as_deref().and_then(|path| certificate(path, now));
        let program = self.program.as_deref().and_then(|path| program(path, Path::new(RUNNING)));
        [certificate, program, self.restart(), reboot(&self.reboot)].into_iter().flatten().collect()
    }

    fn restart(&self) -> Option<Need> {
        let named = first_of(NAMED, self.settings.iter().cloned());
        let detail = format!("settings are not in force without a restart: {named}");
        (!self.settings.is_empty()).then(|| need(NeedKind::Restart, detail))
    }
}

const fn need(kind: NeedKind, detail: String) -> Need {
    Need { kind, by: None, detail }
}

fn certificate(path: &Path, now: Wall) -> Option<Need> {
    let ends = ends_at(path).filter(|ends| *ends < now.after(ENDS_SOON))?;
    let detail = "the certificate of this gateway ends".to_owned();
    Some(Need { by: Some(ends), ..need(NeedKind::Certificate, detail) })
}

/// When the first certificate of a file ends.
fn ends_at(path: &Path) -> Option<Wall> {
    let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&first).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Wall(seconds.saturating_mul(1000)))
}

/// Whether another file has the name of the program by now. Without one there is nothing to be started.
fn program(path: &Path, running: &Path) -> Option<Need> {
    let (new, own) = (std::fs::metadata(path).ok()?, std::fs::metadata(running).ok()?);
    if !new.is_file() || (new.dev(), new.ino()) == (own.dev(), own.ino()) {
        return None;
    }
    let of = changed(&new);
    let detail = format!("another program is installed than the one that runs, of {of}");
    Some(need(NeedKind::Upgrade, detail))
}

fn reboot(path: &Path) -> Option<Need> {
    let since = changed(&std::fs::metadata(path).ok()?);
    let detail = format!("its machine says since {since} that it is to be started again");
    Some(need(NeedKind::Reboot, detail))
}

/// When a file was written, to the second.
fn changed(of: &std::fs::Metadata) -> String {
    let since = of.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = since.and_then(|since| i64::try_from(since.as_secs()).ok());
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn kinds(needs: &[Need]) -> Vec<NeedKind> {
        needs.iter().map(|need| need.kind).collect()
    }

    #[test]
    fn who_has_nothing_to_look_at_needs_nothing() {
        assert_eq!(NeedSources::default().needs(Wall(0)), []);
        let nowhere = PathBuf::from("/nowhere/at/all");
        let sources = NeedSources {
            certificate: Some(nowhere.clone()),
            program: Some(nowhere.clone()),
            reboot: nowhere,
            settings: Vec::new(),
        };
        assert_eq!(sources.needs(Wall(0)), []);
    }

    #[test]
    fn a_certificate_that_ends_is_a_need() {
        let dir = tempfile::tempdir().unwrap();
        certs::development_set(dir.path(), &["gw-1"]).unwrap();
        let path = dir.path().join("gw-1.pem");
        let ends = ends_at(&path).unwrap();
        let sources = NeedSources { certificate: Some(path), ..NeedSources::default() };
        assert_eq!(sources.needs(Wall(0)), []);
        let needs = sources.needs(Wall(ends.0 - 1000));
        assert_eq!((kinds(&needs), needs[0].by), (vec![NeedKind::Certificate], Some(ends)));
    }

    #[test]
    fn settings_that_wait_for_a_restart_are_a_need_until_there_are_none() {
        let settings = ["store.synchronous", "http.bind"].map(str::to_owned).to_vec();
        let mut sources = NeedSources { settings, ..NeedSources::default() };
        let needs = sources.needs(Wall(0));
        assert_eq!(kinds(&needs), [NeedKind::Restart]);
        assert!(needs[0].detail.ends_with(": store.synchronous, http.bind"), "{needs:?}");
        sources.settings = (0..20).map(|n| format!("a.b{n}")).collect();
        assert!(sources.needs(Wall(0))[0].detail.ends_with("a.b7 and 12 more"));
        sources.settings.clear();
        assert_eq!(sources.needs(Wall(0)), []);
    }

    #[test]
    fn a_reboot_is_needed_as_long_as_the_machine_says_so_and_each_time_is_another_need() {
        let dir = tempfile::tempdir().unwrap();
        let reboot = dir.path().join("reboot-required");
        let sources = NeedSources { reboot: reboot.clone(), ..NeedSources::default() };
        let said = |second| {
            fs::write(&reboot, "").unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            fs::File::options().write(true).open(&reboot).unwrap().set_modified(at).unwrap();
            let needs = sources.needs(Wall(0));
            assert_eq!(kinds(&needs), [NeedKind::Reboot]);
            needs[0].detail.clone()
        };
        assert!(said(60).contains("1970-01-01T00:01:00Z"));
        assert_ne!(said(60), said(61));
        fs::remove_file(&reboot).unwrap();
        assert_eq!(sources.needs(Wall(0)), []);
    }

    #[test]
    fn another_file_under_the_name_of_the_program_is_a_need_and_none_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate");
        // What runs, under a name that does not come and go.
        let running = dir.path().join("running");
        fs::write(&path, "1").unwrap();
        fs::hard_link(&path, &running).unwrap();
        assert_eq!(program(&path, &running), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(program(&path, &running), None, "there is nothing to be started");
        fs::create_dir(&path).unwrap();
        assert_eq!(program(&path, &running), None);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "2").unwrap();
        assert_eq!(program(&path, &running).map(|it| it.kind), Some(NeedKind::Upgrade));
    }
}
