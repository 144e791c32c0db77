//! The authority: a self-signed CA in a folder, and what it signs.

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::files::{self, FileError, Overwrite, Secrecy};
use crate::index::{Index, IndexError, Issued};
use crate::role::{InvalidName, Role};

/// A certificate authority in a folder; signs with ECDSA P-256, which every device SDK understands.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    expires: SystemTime,
}

/// What the holder of a certificate needs, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key (PKCS #8); a secret.
    pub key_pem: String,
    /// What the index remembers of it.
    pub issued: Issued,
}

/// Why an authority cannot be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file is in the way, missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// `ca.pem` or `ca.key` is not what this program writes.
    #[error("ca.pem or ca.key is damaged")]
    Damaged,
    /// The signature library refused; our fault.
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
}

/// Why a certificate cannot be issued or renewed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A further name is neither a DNS name nor an IP address, or the role takes none.
    #[error("alternative name {0:?} cannot be used here")]
    AlternativeName(String),
    /// The validity is outside 1 to 3,650 days.
    #[error("validity of {0} days is not between 1 and {MAX_DAYS}")]
    Days(u32),
    /// There is nothing to renew.
    #[error("nothing was ever issued to {0:?}")]
    Unknown(String),
    /// A file is in the way or cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The signature library refused; our fault.
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
}

/// Why a certificate cannot be revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// This authority never issued such a serial number.
    #[error("no certificate has serial {0:?}")]
    Unknown(String),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The signature library refused; our fault.
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a new authority, valid for ten years, in a folder that has none; also writes an empty `crl.pem`.
    ///
    /// # Errors
    /// [`AuthorityError::File`] if `ca.pem` or `ca.key` is there already.
    pub fn create(dir: &Path) -> Result<Self, AuthorityError> {
        let _lock = files::lock(dir)?;
        Self::create_locked(dir)
    }

    /// Loads the authority of a folder.
    ///
    /// # Errors
    /// [`AuthorityError`] if it is not there or damaged.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let pem = files::read(&dir.join(CA_CERT))?;
        let key = KeyPair::from_pem(&files::read(&dir.join(CA_KEY))?)
            .map_err(|_| AuthorityError::Damaged)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|_| AuthorityError::Damaged)?;
        let (_, ca) =
            X509Certificate::from_der(&block.contents).map_err(|_| AuthorityError::Damaged)?;
        // A key of another authority would sign what nobody can verify.
        if ca.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::Damaged);
        }
        let expires_s = u64::try_from(ca.validity().not_after.timestamp()).unwrap_or(0);
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|_| AuthorityError::Damaged)?;
        Ok(Self {
            dir: dir.to_owned(),
            issuer,
            expires: UNIX_EPOCH + Duration::from_secs(expires_s),
        })
    }

    /// Issues a first certificate to a name and writes `<name>.pem` and `<name>.key`. Valid for 1 to 3,650
    /// `days`, never longer than the authority itself. `sans` are DNS names and IP addresses, for gateways only.
    ///
    /// # Errors
    /// [`IssueError`]; a file that is there already is never overwritten.
    pub fn issue(
        &self,
        role: Role,
        name: &str,
        sans: &[String],
        days: u32,
    ) -> Result<Identity, IssueError> {
        let _lock = files::lock(&self.dir)?;
        self.issue_locked(Request { role, name, sans, days }, Overwrite::Never)
    }

    /// Issues another certificate with a new key to a name, as its newest one had it, and replaces its files.
    /// The old one stays good until it ends or is revoked.
    ///
    /// # Errors
    /// [`IssueError::Unknown`] if the name never had one.
    pub fn renew(&self, name: &str, days: u32) -> Result<Identity, IssueError> {
        let _lock = files::lock(&self.dir)?;
        let index = Index::load(&self.dir)?;
        let old = index.newest(name).ok_or_else(|| IssueError::Unknown(name.to_owned()))?;
        let request = Request { role: old.role, name, sans: &old.sans, days };
        self.issue_locked(request, Overwrite::Replace)
    }

    /// Revokes a certificate by its serial number (hex, `:` allowed) and signs a new `crl.pem`. Doing it again
    /// changes nothing but the list's date.
    ///
    /// # Errors
    /// [`RevokeError::Unknown`] for a serial this authority never issued.
    pub fn revoke(&self, serial: &str) -> Result<Issued, RevokeError> {
        let _lock = files::lock(&self.dir)?;
        let wanted = serial.replace(':', "").to_ascii_lowercase();
        let mut index = Index::load(&self.dir)?;
        let entry = index
            .issued
            .iter_mut()
            .find(|entry| entry.serial == wanted)
            .ok_or_else(|| RevokeError::Unknown(serial.to_owned()))?;
        entry.revoked_ms.get_or_insert_with(|| millis(SystemTime::now()));
        let entry = entry.clone();
        // The index first: if the list cannot be written now, the next one has it.
        index.crl_number += 1;
        index.save(&self.dir)?;
        self.write_crl(&index)?;
        Ok(entry)
    }

    /// Everything this authority ever issued, oldest first.
    ///
    /// # Errors
    /// [`IndexError`] if the index is damaged.
    pub fn list(&self) -> Result<Vec<Issued>, IndexError> {
        Ok(Index::load(&self.dir)?.issued)
    }

    /// [`Self::create`] for a caller that holds the folder's lock.
    pub(crate) fn create_locked(dir: &Path) -> Result<Self, AuthorityError> {
        let (cert, key) = (dir.join(CA_CERT), dir.join(CA_KEY));
        if cert.exists() {
            return Err(FileError::Exists { path: cert }.into());
        }
        let key_pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        let now = SystemTime::now();
        let expires = now + days_long(CA_DAYS);
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = expires.into();
        params.distinguished_name = common_name("Tidegate development CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let pem = params.self_signed(&key_pair)?.pem();
        files::write(&key, &key_pair.serialize_pem(), Secrecy::OwnerOnly, Overwrite::Never)?;
        files::write(&cert, &pem, Secrecy::Public, Overwrite::Never)?;
        let authority =
            Self { dir: dir.to_owned(), issuer: Issuer::new(params, key_pair), expires };
        authority.ensure_crl()?;
        Ok(authority)
    }

    /// Signs a `crl.pem` unless there is one; for a caller that holds the folder's lock.
    pub(crate) fn ensure_crl(&self) -> Result<(), AuthorityError> {
        if self.dir.join(CRL).exists() {
            return Ok(());
        }
        let mut index = Index::load(&self.dir)?;
        index.crl_number += 1;
        index.save(&self.dir)?;
        self.write_crl(&index).map_err(|e| match e {
            RevokeError::File(e) => AuthorityError::File(e),
            RevokeError::Index(e) => AuthorityError::Index(e),
            RevokeError::Sign(e) => AuthorityError::Sign(e),
            RevokeError::Unknown(_) => AuthorityError::Damaged,
        })
    }

    /// [`Self::issue`] for a caller that holds the folder's lock.
    pub(crate) fn issue_locked(
        &self,
        request: Request<'_>,
        overwrite: Overwrite,
    ) -> Result<Identity, IssueError> {
        request.check()?;
        let (cert, key) = identity_files(&self.dir, request.name);
        for path in [&cert, &key] {
            if overwrite == Overwrite::Never && path.exists() {
                return Err(FileError::Exists { path: path.clone() }.into());
            }
        }
        let identity = self.sign(&request)?;
        let mut index = Index::load(&self.dir)?;
        index.issued.push(identity.issued.clone());
        // The index first: a certificate that it does not know could never be revoked.
        index.save(&self.dir)?;
        files::write(&key, &identity.key_pem, Secrecy::OwnerOnly, overwrite)?;
        files::write(&cert, &identity.cert_pem, Secrecy::Public, overwrite)?;
        Ok(identity)
    }

    fn sign(&self, request: &Request<'_>) -> Result<Identity, IssueError> {
        let now = SystemTime::now();
        let expires = (now + days_long(request.days)).min(self.expires);
        let mut params = CertificateParams::default();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = expires.into();
        params.distinguished_name = common_name(request.name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match request.role {
            Role::Gateway => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Role::Device | Role::Operator => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.subject_alt_names = request.alternative_names()?;
        let key_pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key_pair, &self.issuer)?;
        let (_, parsed) = X509Certificate::from_der(certificate.der())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issued = Issued {
            serial: hex(parsed.raw_serial()),
            role: request.role,
            name: request.name.to_owned(),
            sans: request.sans.to_vec(),
            issued_ms: millis(now),
            expires_ms: millis(expires),
            revoked_ms: None,
        };
        Ok(Identity { cert_pem: certificate.pem(), key_pem: key_pair.serialize_pem(), issued })
    }

    fn write_crl(&self, index: &Index) -> Result<(), RevokeError> {
        let now = SystemTime::now();
        let revoked = index.issued.iter().filter_map(|entry| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from(unhex(&entry.serial)?),
                revocation_time: (UNIX_EPOCH + Duration::from_millis(entry.revoked_ms?)).into(),
                reason_code: Some(RevocationReason::Unspecified),
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: (now - CLOCK_SKEW).into(),
            next_update: (now + days_long(CRL_DAYS)).into(),
            crl_number: SerialNumber::from(index.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer)?.pem()?;
        Ok(files::write(&self.dir.join(CRL), &pem, Secrecy::Public, Overwrite::Replace)?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issued", &self.issued).finish_non_exhaustive()
    }
}

/// What to issue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) role: Role,
    pub(crate) name: &'a str,
    pub(crate) sans: &'a [String],
    pub(crate) days: u32,
}

impl Request<'_> {
    fn check(&self) -> Result<(), IssueError> {
        self.role.check_name(self.name)?;
        if !(1..=MAX_DAYS).contains(&self.days) {
            return Err(IssueError::Days(self.days));
        }
        Ok(())
    }

    fn alternative_names(&self) -> Result<Vec<SanType>, IssueError> {
        let uri = self.role.uri(self.name);
        let refused = |text: &str| IssueError::AlternativeName(text.to_owned());
        let mut names = vec![SanType::URI(uri.as_str().try_into().map_err(|_| refused(&uri))?)];
        match (self.role, self.sans.first()) {
            (Role::Gateway, _) => {}
            (Role::Device | Role::Operator, Some(san)) => return Err(refused(san)),
            (Role::Device | Role::Operator, None) => return Ok(names),
        }
        let local = "localhost".try_into().map_err(|_| refused("localhost"))?;
        names.push(SanType::DnsName(local));
        names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        for san in self.sans {
            let name = match san.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if is_dns_name(san) => {
                    SanType::DnsName(san.as_str().try_into().map_err(|_| refused(san))?)
                }
                Err(_) => return Err(refused(san)),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// The certificate and key files of a name.
pub(crate) fn identity_files(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

/// Takes the lock that [`Authority::create_locked`] and the others ask for.
pub(crate) fn lock(dir: &Path) -> Result<File, FileError> {
    files::lock(dir)
}

fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253 && text.strip_prefix("*.").unwrap_or(text).split('.').all(label)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // X.520 allows 64 characters here; the whole name always stands in the URI.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn days_long(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const CRL: &str = "crl.pem";
const CA_DAYS: u32 = 3_652;
const MAX_DAYS: u32 = 3_650;
/// How long readers may trust a list before they should ask for a newer one.
const CRL_DAYS: u32 = 365;
/// How far behind the clock of a device may be.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
