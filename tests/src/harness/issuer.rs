//! Somebody who issues tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Issues tokens signed with ES256.
pub struct Issuer {
    key: EncodingKey,
    jwks: Value,
}

impl Issuer {
    /// An issuer with a key of its own.
    pub fn new() -> Self {
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref()).expect("a key");
        // 0x04, then the coordinates.
        let point = pair.public_key().as_ref();
        let (x, y) = point.get(1..).expect("a point").split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y});
        Self { key: EncodingKey::from_ec_der(pkcs8.as_ref()), jwks: json!({"keys": [key]}) }
    }

    /// Its public keys, as gateways read them.
    pub fn jwks(&self) -> String {
        self.jwks.to_string()
    }

    /// A token for a user that expires so many seconds from now.
    pub fn token(&self, user: &str, expires_s: i64) -> Vec<u8> {
        self.sign(&json!({"sub": user}), expires_s)
    }

    /// A token with these claims that expires so many seconds from now.
    pub fn sign(&self, claims: &Value, expires_s: i64) -> Vec<u8> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("a clock after 1970").as_secs()).expect("a date");
        let mut claims = claims.clone();
        let object = claims.as_object_mut().expect("claims are an object");
        object.insert("exp".to_owned(), json!(now + expires_s));
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("a token").into_bytes()
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}
