//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the server's side, without channel binding.
//!
//! ```text
//!  client-first ──► ScramServer::begin ──► server-first
//!  client-final ──► ScramServer::finish ──► server-final, and who it is
//! ```

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The method's name in CONNECT and AUTH.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// What a server keeps of a password: enough to check a proof, not enough to make one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Why an exchange fails. The client is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not what RFC 5802 allows here.
    #[error("the message is not one of scram")]
    Malformed,
    /// It wants channel binding, or an extension that we do not know.
    #[error("channel binding and extensions are not supported")]
    Unsupported,
    /// Not the nonce or the header of this exchange.
    #[error("the message belongs to another exchange")]
    OtherExchange,
    /// Wrong password, or no such user.
    #[error("the proof is wrong")]
    WrongProof,
}

/// The most iterations that a line of a file may ask for.
pub(super) const MAX_ITERATIONS: u32 = 10_000_000;

impl ScramVerifier {
    /// From a password, prepared as RFC 4013 says where it is UTF-8.
    pub(super) fn new(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&hmac_of(&salted, b"Client Key")),
            server_key: hmac_of(&salted, b"Server Key"),
        }
    }

    /// Reads `iterations$salt$stored key$server key`, base64 but for the number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let iterations: NonZeroU32 = parts.next()?.parse().ok()?;
        let salt = STANDARD.decode(parts.next()?).ok()?;
        let mut key = || STANDARD.decode(parts.next()?).ok()?.try_into().ok();
        let (stored_key, server_key) = (key()?, key()?);
        let sound = iterations.get() <= MAX_ITERATIONS && !salt.is_empty();
        (sound && parts.next().is_none()).then_some(Self {
            iterations,
            salt,
            stored_key,
            server_key,
        })
    }

    /// The text of [`Self::parse`].
    pub(super) fn text(&self) -> String {
        let (stored, server) = (STANDARD.encode(self.stored_key), STANDARD.encode(self.server_key));
        format!("{}${}${stored}${server}", self.iterations, STANDARD.encode(&self.salt))
    }

    /// Whether this is the password; costs the iterations.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let salted = salted(password, &self.salt, self.iterations);
        let stored = sha256(&hmac_of(&salted, b"Client Key"));
        constant_time::verify_slices_are_equal(&stored, &self.stored_key).is_ok()
    }

    /// What made-up verifiers come from where this one stands first; says nothing of this one.
    pub(super) fn made_up_secret(&self) -> [u8; 32] {
        hmac_of(&self.server_key, b"made up")
    }

    /// A verifier that nobody has the password of, always the same for one user: strangers cannot tell it from a real one.
    pub(super) fn made_up(user: &str, secret: &[u8], like: Option<&Self>) -> Self {
        let derived = hmac_of(secret, user.as_bytes());
        let salt_len = like.map_or(16, |like| like.salt.len());
        let mut salt = derived.to_vec();
        while salt.len() < salt_len {
            salt.extend(hmac_of(secret, &salt));
        }
        salt.truncate(salt_len);
        Self {
            iterations: like.map_or(DEFAULT_ITERATIONS, |like| like.iterations),
            salt,
            stored_key: hmac_of(secret, &derived),
            server_key: derived,
        }
    }
}

/// Iterations of a new line: as many as RFC 7677 asks for at least.
pub(super) const DEFAULT_ITERATIONS: NonZeroU32 = match NonZeroU32::new(4096) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};

/// The server between its two messages.
#[derive(Debug, Clone)]
pub struct ScramServer {
    user: Arc<str>,
    verifier: ScramVerifier,
    known: bool,
    /// The header that channel binding would protect.
    header: String,
    nonce: String,
    /// What both sides sign, as far as it is known.
    signed: String,
}

/// The client's first message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// Who wants in, prepared as RFC 4013 says.
    pub user: String,
    header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads a client-first message.
    ///
    /// # Errors
    /// [`ScramError::Malformed`] or [`ScramError::Unsupported`].
    pub fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let mut next = || parts.next().ok_or(ScramError::Malformed);
        let (binding, authorization, bare) = (next()?, next()?, next()?);
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::Unsupported),
            _ => return Err(ScramError::Malformed),
        }
        let header_len = text.len() - bare.len();
        let header = text.get(..header_len).ok_or(ScramError::Malformed)?;
        let mut attributes = bare.split(',');
        let name = attributes.next().ok_or(ScramError::Malformed)?;
        if name.starts_with("m=") {
            return Err(ScramError::Unsupported);
        }
        let user = user_name(name.strip_prefix("n=").ok_or(ScramError::Malformed)?)?;
        let nonce = attributes.next().and_then(|it| it.strip_prefix("r="));
        let nonce = nonce.filter(|it| is_nonce(it)).ok_or(ScramError::Malformed)?;
        match authorization.strip_prefix("a=") {
            None if authorization.is_empty() => {}
            // Speaking for somebody else is not offered.
            Some(other) if user_name(other)? == user => {}
            Some(_) => return Err(ScramError::Unsupported),
            None => return Err(ScramError::Malformed),
        }
        Ok(Self { user, header, bare, nonce })
    }
}

impl ScramServer {
    /// Answers a client-first message. `nonce` is fresh and random, printable without commas; an unknown user gets a
    /// verifier that no password fits.
    pub(super) fn begin(
        first: &ClientFirst<'_>,
        (verifier, known): (ScramVerifier, bool),
        nonce: &str,
    ) -> (Self, Vec<u8>) {
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let server = Self {
            user: first.user.as_str().into(),
            verifier,
            known,
            header: STANDARD.encode(first.header),
            signed: format!("{},{answer},", first.bare),
            nonce,
        };
        (server, answer.into_bytes())
    }

    /// Checks the client-final message. Answers who it is and the server-final message.
    ///
    /// # Errors
    /// [`ScramError`]; the exchange is over.
    pub fn finish(self, message: &[u8]) -> Result<(Arc<str>, Vec<u8>), ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (unproved, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof: [u8; 32] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(ScramError::Malformed)?;
        let mut attributes = unproved.split(',');
        let binding = attributes.next().and_then(|it| it.strip_prefix("c="));
        let nonce = attributes.next().and_then(|it| it.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(ScramError::Malformed);
        };
        if binding != self.header || nonce != self.nonce {
            return Err(ScramError::OtherExchange);
        }
        let signed = format!("{}{unproved}", self.signed);
        let signature = hmac_of(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = [0; 32];
        for ((key, proof), signature) in client_key.iter_mut().zip(proof).zip(signature) {
            *key = proof ^ signature;
        }
        let proved = sha256(&client_key);
        let right = constant_time::verify_slices_are_equal(&proved, &self.verifier.stored_key);
        if right.is_err() || !self.known {
            return Err(ScramError::WrongProof);
        }
        let verifier = hmac_of(&self.verifier.server_key, signed.as_bytes());
        Ok((self.user, format!("v={}", STANDARD.encode(verifier)).into_bytes()))
    }
}

/// A password or user name as RFC 4013 prepares it; as it is where that is not possible.
pub(super) fn prepared(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// Undoes `=2C` and `=3D`, and prepares the name.
fn user_name(escaped: &str) -> Result<String, ScramError> {
    let mut parts = escaped.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = if let Some(rest) = part.strip_prefix("2C") {
            name.push(',');
            rest
        } else {
            name.push('=');
            part.strip_prefix("3D").ok_or(ScramError::Malformed)?
        };
        name.push_str(rest);
    }
    let name = stringprep::saslprep(&name).map_err(|_| ScramError::Malformed)?.into_owned();
    if name.is_empty() { Err(ScramError::Malformed) } else { Ok(name) }
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn salted(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; 32] {
    let prepared = std::str::from_utf8(password).map(prepared);
    let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
    let mut out = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut out);
    out
}

fn hmac_of(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    tag.as_ref().try_into().unwrap_or([0; 32])
}

fn sha256(data: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, data).as_ref().try_into().unwrap_or([0; 32])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example of RFC 7677, section 3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn verifier() -> ScramVerifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramVerifier::new(b"pencil", &salt, DEFAULT_ITERATIONS)
    }

    fn begun(known: bool) -> ScramServer {
        let first = ClientFirst::parse(FIRST).unwrap();
        assert_eq!(first.user, "user");
        let (server, answer) = ScramServer::begin(&first, (verifier(), known), NONCE);
        assert_eq!(answer, SERVER_FIRST.as_bytes());
        server
    }

    #[test]
    fn the_example_of_the_standard_comes_out() {
        let (user, answer) = begun(true).finish(FINAL).unwrap();
        assert_eq!(&*user, "user");
        assert_eq!(answer, SERVER_FINAL.as_bytes());
    }

    #[test]
    fn a_verifier_is_read_as_it_was_written_and_checks_the_password_itself() {
        let verifier = verifier();
        assert_eq!(ScramVerifier::parse(&verifier.text()).unwrap(), verifier);
        assert!(verifier.verify(b"pencil"));
        assert!(!verifier.verify(b"pencils"));
        for bad in
            ["", "0$YQ==$YQ==$YQ==", "4096$$x$y", "4096$YQ==$YQ==$YQ==", "99999999999$YQ==$$"]
        {
            assert!(ScramVerifier::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_right_proof_for_an_unknown_user_is_refused() {
        assert_eq!(begun(false).finish(FINAL), Err(ScramError::WrongProof));
    }

    #[test]
    fn what_is_changed_on_the_way_is_refused() {
        let changed = |from: &str, to: &str| {
            let text = std::str::from_utf8(FINAL).unwrap().replace(from, to);
            begun(true).finish(text.as_bytes()).unwrap_err()
        };
        assert_eq!(changed("k0,", "k1,"), ScramError::OtherExchange);
        assert_eq!(changed("c=biws", "c=eSws"), ScramError::OtherExchange);
        assert_eq!(changed("p=dHzb", "p=eHzb"), ScramError::WrongProof);
        assert_eq!(changed(",p=", ",q="), ScramError::Malformed);
        assert_eq!(changed("p=dHzbZapWI", "p="), ScramError::Malformed);
    }

    #[test]
    fn channel_binding_extensions_and_other_identities_are_refused() {
        let error = |text: &str| ClientFirst::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error("p=tls-exporter,,n=u,r=x"), ScramError::Unsupported);
        assert_eq!(error("n,,m=ext,n=u,r=x"), ScramError::Unsupported);
        assert_eq!(error("n,a=other,n=u,r=x"), ScramError::Unsupported);
        assert!(ClientFirst::parse(b"n,a=u,n=u,r=x").is_ok());
        for bad in
            ["", "n", "n,,", "n,,n=,r=x", "n,,n=u", "n,,n=u,r=", "n,,n=a=b,r=x", "x,,n=u,r=x"]
        {
            assert_eq!(error(bad), ScramError::Malformed, "{bad}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=a=2Cb=3Dc,r=x").unwrap().user, "a,b=c");
    }

    #[test]
    fn a_made_up_verifier_is_always_the_same_for_a_user() {
        let one = ScramVerifier::made_up("eve", b"secret", Some(&verifier()));
        assert_eq!(one, ScramVerifier::made_up("eve", b"secret", Some(&verifier())));
        assert_ne!(one.salt, ScramVerifier::made_up("eva", b"secret", None).salt);
        assert_eq!((one.salt.len(), one.iterations), (16, DEFAULT_ITERATIONS));
    }

    proptest! {
        #[test]
        fn no_message_does_harm(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ClientFirst::parse(&message);
            let _ = begun(true).finish(&message);
            if let Ok(text) = std::str::from_utf8(&message) {
                let _ = ScramVerifier::parse(text);
            }
        }
    }
}
