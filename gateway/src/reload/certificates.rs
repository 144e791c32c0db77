//! Certificates, keys, authorities, and the list of revoked certificates: one set, since they must fit each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Tls;
use crate::links::{PeerTls, PeerTlsError};
use crate::tls::{LiveTls, Revoked};
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
    let file = |path: &Path| {
        std::fs::read(path).map_err(|source| PeerFilesError::Read { path: path.to_owned(), source })
    };
    let crl = tls.crl.as_deref().map(file).transpose()?;
    let read = (file(&tls.ca)?, file(&tls.cert)?, file(&tls.key)?);
    Ok(PeerTls::from_pem(&read.0, crl.as_deref(), &read.1, &read.2)?)
}

impl Reloadable for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn files(&self) -> Vec<PathBuf> {
        let tls = &self.tls;
        let mut files = vec![tls.ca.clone(), tls.cert.clone(), tls.key.clone()];
        files.extend(tls.crl.clone());
        files.extend(tls.named.iter().flat_map(|it| [it.cert.clone(), it.key.clone()]));
        let own = self.live.iter().filter_map(LiveTls::authority);
        files.extend(own.flat_map(|it| std::iter::once(it.ca.clone()).chain(it.crl.clone())));
        files
    }

    fn reload(&mut self) -> Result<(), ReloadFailed> {
        // First everything is read, then everything is put in force.
        let read: Vec<_> =
            self.live.iter().map(|live| live.read(&self.tls)).collect::<Result<_, _>>()?;
        let peers = self.peers.as_ref().map(|_| peer_tls(&self.tls)).transpose()?;
        let own = self.live.iter().filter_map(|live| live.authority()?.crl.as_deref());
        let mut revoked = Revoked::default();
        for list in own.chain(self.tls.crl.as_deref()) {
            revoked.extend(Revoked::read(list)?);
        }
        for (live, config) in self.live.iter().zip(read) {
            live.put(config);
        }
        if let (Some(live), Some(new)) = (&self.peers, &peers) {
            live.replace_by(new);
        }
        // After that: whoever comes from now on is refused by the new list.
        let revoked = Arc::new(revoked);
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Revoked(Arc::clone(&revoked)));
        }
        Ok(())
    }
}
