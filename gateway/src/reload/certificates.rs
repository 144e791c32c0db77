//! Certificates, keys, authorities, and the list of revoked certificates: one set, since they must fit each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Authority, Tls};
use crate::links::{Command, LinksSender, PeerTls, PeerTlsError};
use crate::tls::{LiveTls, Revoked, TlsError, TlsRead};
use crate::worker::{Mail, Mailbox};

use super::watch::{ReloadFailed, Reloadable};

/// Everything that is made of certificates.
#[derive(Debug)]
pub struct Certificates {
    /// Where they are.
    pub tls: Tls,
    /// The listeners, and the API.
    pub live: Vec<LiveTls>,
    /// The peer links, if there are any.
    pub peers: Option<PeerTls>,
    /// The workers' letters.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The way to the peer links.
    pub links: Option<LinksSender>,
    /// The API is told here what is revoked.
    pub api: watch::Sender<Arc<Revoked>>,
}

/// Why the certificates of the peer links cannot be used. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum PeerFilesError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in them cannot be used.
    #[error("peer links")]
    Unfit(#[from] PeerTlsError),
}

/// The certificates of the peer links.
///
/// # Errors
/// [`PeerFilesError`], by what is wrong.
pub fn peer_tls(tls: &Tls) -> Result<PeerTls, PeerFilesError> {
    let crl = tls.crl.as_deref().map(file).transpose()?;
    let read = (file(&tls.ca)?, file(&tls.cert)?, file(&tls.key)?);
    Ok(PeerTls::from_pem(&read.0, crl.as_deref(), &read.1, &read.2)?)
}

/// What peer links use now, with the list of revoked certificates as it is now.
fn with_list(peers: &PeerTls, tls: &Tls) -> Result<PeerTls, PeerFilesError> {
    let crl = tls.crl.as_deref().map(file).transpose()?;
    Ok(peers.with_list(crl.as_deref())?)
}

fn file(path: &Path) -> Result<Vec<u8>, PeerFilesError> {
    std::fs::read(path).map_err(|source| PeerFilesError::Read { path: path.to_owned(), source })
}

impl Certificates {
    /// What all lists together revoke.
    fn revoked(&self) -> Result<Revoked, TlsError> {
        let own = self.live.iter().filter_map(|live| live.authority()?.crl.as_deref());
        let mut revoked = Revoked::default();
        for list in own.chain(self.tls.crl.as_deref()) {
            revoked.extend(Revoked::read(list)?);
        }
        Ok(revoked)
    }

    /// First everything is made, then everything is put in force.
    fn put(
        &self,
        read: impl Fn(&LiveTls) -> Result<TlsRead, TlsError>,
        peers: impl Fn(&PeerTls) -> Result<PeerTls, PeerFilesError>,
    ) -> Result<(), ReloadFailed> {
        let read: Vec<_> = self.live.iter().map(read).collect::<Result<_, _>>()?;
        let new = self.peers.as_ref().map(peers).transpose()?;
        for (live, read) in self.live.iter().zip(read) {
            live.put(read);
        }
        if let (Some(live), Some(new)) = (&self.peers, &new) {
            live.replace_by(new);
        }
        Ok(())
    }
}

impl Reloadable for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn files(&self) -> Vec<PathBuf> {
        let own = self.live.iter().filter_map(LiveTls::authority);
        self.tls.files().chain(own.flat_map(Authority::files)).collect()
    }

    fn pauses(&self) -> bool {
        true
    }

    fn reload(&mut self) -> Result<(), ReloadFailed> {
        let revoked = Arc::new(self.revoked()?);
        let tls = &self.tls;
        let put = self.put(|live| live.read(tls), |_| peer_tls(tls)).or_else(|error| {
            // A certificate that cannot be used must not keep another that was stolen in force.
            self.put(|live| live.read_lists(tls), |peers| with_list(peers, tls))?;
            Err(error)
        });
        // After that: whoever comes from now on is refused by the new list.
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Revoked(Arc::clone(&revoked)));
        }
        if let Some(links) = &self.links {
            links.send(&mut vec![Command::Revoked(Arc::clone(&revoked))]);
        }
        self.api.send_replace(revoked);
        put
    }
}
