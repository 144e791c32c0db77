//! The folder of a fleet: its version, certificates, one configuration per gateway, and where everybody is.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Plan, PlannedGateway};
use crate::config::LogLevel;

/// Version of the folder's layout; grows when an older binary could not read it.
const VERSION: u32 = 1;

/// An open folder; nobody else starts a fleet from it meanwhile.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Why the folder cannot be used. All but a broken disk are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Not to be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Written by a newer binary.
    #[error(
        "the data folder {} has version {found}, this binary knows {VERSION}: use the newer binary, or another folder with --data",
        path.display()
    )]
    Newer {
        /// Which folder.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Another launcher holds it.
    #[error("another fleet runs from the data folder {}; stop it, or use another folder with --data", path.display())]
    Busy {
        /// Which folder.
        path: PathBuf,
    },
    /// Certificates cannot be made.
    #[error("cannot make development certificates")]
    Certificates(#[from] certs::DevelopmentError),
    /// Not written by a launcher.
    #[error("cannot understand {}: {what}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Where the gateways of a running fleet are: `fleet.json`, written by the launcher, read by the client commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The gateways, in order.
    pub gateways: Vec<RecordedGateway>,
}

/// Where one gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedGateway {
    /// Gateway id.
    pub id: String,
    /// URL of its API.
    pub http: String,
    /// `host:port` of MQTT.
    pub mqtt: String,
    /// `host:port` of MQTT with TLS.
    pub mqtts: String,
    /// URL of MQTT over WebSocket.
    pub websocket: String,
    /// URL of HTTPS for devices.
    #[serde(default)]
    pub devices: String,
}

impl Folder {
    /// Makes or opens the folder, checks its version and takes its lock.
    ///
    /// # Errors
    /// [`FolderError`], before anything in an existing folder is changed.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let path = std::path::absolute(path).map_err(at(path))?;
        std::fs::create_dir_all(&path).map_err(at(&path))?;
        check_version(&path)?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FolderError::Busy { path: path.clone() },
            TryLockError::Error(source) => FolderError::Io { path: lock_path, source },
        })?;
        let folder = Self { path, _lock: lock };
        folder.write("version", &format!("{VERSION}\n"))?;
        Ok(folder)
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the certificates that are missing, writes every gateway's configuration and `fleet.json`.
    ///
    /// # Errors
    /// [`FolderError::Io`] or [`FolderError::Certificates`].
    pub fn prepare(&self, plan: &Plan, level: LogLevel) -> Result<Record, FolderError> {
        let names: Vec<_> = plan.gateways.iter().map(|gateway| gateway.id.as_str()).collect();
        certs::development_set(&certificates(&self.path), &names)?;
        let store = self.path.join("store");
        std::fs::create_dir_all(&store).map_err(at(&store))?;
        for gateway in &plan.gateways {
            let text = configuration(gateway, &self.path, level);
            self.write(&format!("{}.toml", gateway.id), &text)?;
        }
        let record = Record { gateways: plan.gateways.iter().map(RecordedGateway::from).collect() };
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| record_error(&self.path, error))?;
        self.write(RECORD, &format!("{text}\n"))?;
        Ok(record)
    }

    /// Configuration file of one gateway.
    pub fn configuration(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.toml"))
    }

    /// Socket at which one gateway says which process it is.
    pub fn notices(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.notify"))
    }

    /// Log file of one gateway.
    pub fn log(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.log"))
    }

    /// Replaces a file whole: a reader sees the old or the new one.
    fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(at(&fresh))?;
        std::fs::rename(&fresh, &path).map_err(at(&path))
    }
}

impl Record {
    /// Reads `fleet.json` of a data folder.
    ///
    /// # Errors
    /// [`FolderError::Io`] when no fleet was ever started there, or [`FolderError::Record`].
    pub fn read(data: &Path) -> Result<Self, FolderError> {
        let path = data.join(RECORD);
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        serde_json::from_str(&text).map_err(|error| record_error(&path, error))
    }
}

impl From<&PlannedGateway> for RecordedGateway {
    fn from(gateway: &PlannedGateway) -> Self {
        Self {
            id: gateway.id.clone(),
            http: gateway.url(),
            mqtt: gateway.mqtt.to_string(),
            mqtts: gateway.mqtts.to_string(),
            websocket: format!("ws://{}/mqtt", gateway.websocket),
            devices: format!("https://{}", gateway.devices),
        }
    }
}

/// Folder of the development certificates in a data folder.
pub(crate) fn certificates(data: &Path) -> PathBuf {
    data.join("certs")
}

const RECORD: &str = "fleet.json";

fn check_version(path: &Path) -> Result<(), FolderError> {
    let file = path.join("version");
    let found = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(FolderError::Io { path: file, source }),
    };
    // What is no number was not written by this binary or an older one either.
    match found.parse::<u32>() {
        Ok(version) if version <= VERSION => Ok(()),
        _ => Err(FolderError::Newer { path: path.to_owned(), found }),
    }
}

fn configuration(gateway: &PlannedGateway, data: &Path, level: LogLevel) -> String {
    let id = &gateway.id;
    let quoted = |path: PathBuf| toml::Value::String(path.display().to_string()).to_string();
    let certificates = certificates(data);
    format!(
        "# Written by `tidegate` at each start of the fleet: changes here are lost.\n\
         # Copy it and use `tidegate run -c FILE` to run a gateway of your own;\n\
         # `tidegate config --example` explains every setting.\n\
         \n\
         [gateway]\nid = \"{id}\"\ndata = {data}\n\
         \n\
         [[listen]]\nkind = \"tcp\"\nbind = \"{mqtt}\"\n\
         \n\
         [[listen]]\nkind = \"tls\"\nbind = \"{mqtts}\"\n\
         \n\
         [[listen]]\nkind = \"websocket\"\nbind = \"{websocket}\"\npath = \"/mqtt\"\n\
         \n\
         [tls]\nca = {ca}\ncert = {cert}\nkey = {key}\ncrl = {crl}\n\
         \n\
         [peer]\nbind = \"{peer}\"\n\
         \n\
         [http]\nbind = \"{http}\"\n\
         \n\
         [device_http]\nbind = \"{devices}\"\n\
         \n\
         # Everybody may publish and subscribe to everything: for development.\n\
         [access]\nallow_all = true\n\
         \n\
         # For development too: whoever asks for it is shown positions, and what it subscribes to is stored.\n\
         [limits]\npositions = true\n\
         \n\
         # For trying things out: one certificate may be any number of clients.\n\
         [access.certificate]\nclient_id = \"free\"\n\
         \n\
         [log]\nlevel = \"{level}\"\n",
        data = quoted(data.join("store")),
        mqtt = gateway.mqtt,
        mqtts = gateway.mqtts,
        websocket = gateway.websocket,
        ca = quoted(certificates.join("ca.pem")),
        cert = quoted(certificates.join(format!("{id}.pem"))),
        key = quoted(certificates.join(format!("{id}.key"))),
        crl = quoted(certificates.join("crl.pem")),
        peer = gateway.peer,
        http = gateway.http,
        devices = gateway.devices,
        level = level.as_str(),
    )
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> FolderError {
    let path = path.to_owned();
    |source| FolderError::Io { path, source }
}

fn record_error(path: &Path, error: serde_json::Error) -> FolderError {
    FolderError::Record { path: path.to_owned(), what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config;

    fn plan() -> Plan {
        Plan::new(2, IpAddr::V4(Ipv4Addr::LOCALHOST), 0).unwrap()
    }

    #[test]
    fn a_prepared_folder_has_all_that_gateways_and_operators_need() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a \"quoted\" folder");
        let folder = Folder::open(&data).unwrap();
        let record = folder.prepare(&plan(), LogLevel::Info).unwrap();
        assert_eq!(Record::read(&data).unwrap(), record);
        assert_eq!(record.gateways[1].http, "https://127.0.0.1:18093");
        for id in ["gw-1", "gw-2"] {
            let resolved = config::read(&folder.configuration(id)).unwrap();
            assert_eq!(resolved.id.as_str(), id);
            assert_eq!(resolved.listeners.len(), 3);
            let tls = resolved.tls.unwrap();
            assert!(tls.ca.exists() && tls.cert.exists() && tls.key.exists());
        }
        for file in ["device-1.pem", "device-1.key", "operator.pem", "operator.key"] {
            assert!(certificates(&data).join(file).exists(), "{file}");
        }
    }

    #[test]
    fn a_folder_serves_one_fleet_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(FolderError::Busy { .. })));
        drop(folder);
        assert!(Folder::open(dir.path()).is_ok());
    }

    #[test]
    fn a_folder_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("version"), "2\n").unwrap();
        let error = Folder::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("has version 2, this binary knows 1"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Folder::open(&file), Err(FolderError::Io { .. })));
    }
}
