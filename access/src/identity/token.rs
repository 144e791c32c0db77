//! Tokens: JSON Web Tokens signed with a key of a JWKS file.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use protocol::{TopicFilter, Wall};
use serde_json::Value;

use super::Claims;

/// What a token must say, and where it says who its bearer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRule {
    /// The only issuer that is trusted; none: any that signs with a known key.
    pub issuer: Option<String>,
    /// Who a token must be meant for; none: anybody.
    pub audience: Option<String>,
    /// Seconds that clocks may differ.
    pub leeway_s: u32,
    /// The claim that holds the user; a token without it is refused.
    pub user_claim: Option<String>,
    /// The claim that holds the client id, which the client must use; a token without it is refused.
    pub client_id_claim: Option<String>,
}

/// Checks tokens.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    rule: TokenRule,
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.algorithm, self.id)
    }
}

/// Why a JWKS file cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not a set of keys.
    #[error("is not a json web key set: {0}")]
    Json(#[from] serde_json::Error),
    /// None of its keys is for ES256, RS256 with 2,048 bits or more, or `EdDSA` with Ed25519.
    #[error("has no key for ES256, RS256 (2,048 bits or more) or EdDSA (Ed25519)")]
    NoKey,
}

/// Why a token is refused. Its bearer is at fault, or the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts that decode, or larger than 16 KiB.
    #[error("it is not a token")]
    Malformed,
    /// Signed in a way that is not taken.
    #[error("its algorithm is not ES256, RS256 or EdDSA")]
    Algorithm,
    /// It must not be taken by whom its extensions are unknown to.
    #[error("it has critical extensions, of which none is known here")]
    Critical,
    /// No key of the file is the one it names.
    #[error("its key is not known")]
    UnknownKey,
    /// The signature does not fit.
    #[error("its signature is wrong")]
    Signature,
    /// Its time is over, or it says none.
    #[error("it has expired, or does not say when it does")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// Somebody else issued it.
    #[error("its issuer is another one")]
    Issuer,
    /// Meant for somebody else.
    #[error("its audience is another one")]
    Audience,
    /// A claim that the rule asks for is missing or no text, or a claimed right is no list of topic filters.
    #[error("a claim is missing or of the wrong kind")]
    Claim,
}

/// Who a token says its bearer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// The user.
    pub user: Option<Arc<str>>,
    /// The client id that its bearer must use.
    pub client: Option<String>,
    /// The rights it carries.
    pub claims: Option<Arc<Claims>>,
    /// When it is no longer valid, leeway included.
    pub expires: Wall,
}

/// The largest token, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The most filters that a token may claim, of each kind.
const MAX_FILTERS: usize = 256;
/// Keys that a token without a key id is tried with.
const MAX_TRIES: usize = 8;

/// Whether a password has the form of a token: three parts in base64, the first of which is a JSON object.
pub fn looks_like_a_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

impl TokenVerifier {
    /// Reads the keys of a JWKS file; keys of other kinds are passed over.
    ///
    /// # Errors
    /// [`JwksError`], when there is none to be used.
    pub fn new(rule: TokenRule, jwks: &str) -> Result<Self, JwksError> {
        let set: JwkSet = serde_json::from_str(jwks)?;
        let keys: Vec<_> = set.keys.iter().filter_map(Key::of).collect();
        if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(Self { rule, keys }) }
    }

    /// Checks a token at a moment.
    ///
    /// # Errors
    /// [`TokenError`], by what is wrong.
    pub fn verify(&self, token: &[u8], now: Wall) -> Result<TokenIdentity, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        // Who signed it forbids to take it without knowing these extensions (RFC 7515, section 4.1.11). We know none.
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        // A key serves its own algorithm only: what a token says cannot change how it is checked.
        let fits = |key: &&Key| {
            key.algorithm == header.alg
                && header.kid.as_ref().is_none_or(|id| key.id.as_ref() == Some(id))
        };
        let mut candidates = self.keys.iter().filter(fits).take(MAX_TRIES).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        // Times are looked at below: this room has no clock.
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let found = candidates
            .find_map(|key| jsonwebtoken::decode::<Value>(token, &key.key, &validation).ok());
        self.judge(&found.ok_or(TokenError::Signature)?.claims, now)
    }

    fn judge(&self, claims: &Value, now: Wall) -> Result<TokenIdentity, TokenError> {
        let rule = &self.rule;
        let leeway_ms = u64::from(rule.leeway_s) * 1000;
        let expires = claims.get("exp").and_then(milliseconds).ok_or(TokenError::Expired)?;
        let expires = Wall(expires.saturating_add(leeway_ms));
        if expires <= now {
            return Err(TokenError::Expired);
        }
        if let Some(not_before) = claims.get("nbf") {
            let from = milliseconds(not_before).ok_or(TokenError::Claim)?;
            if from > now.0.saturating_add(leeway_ms) {
                return Err(TokenError::NotYet);
            }
        }
        if let Some(issuer) = &rule.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &rule.audience
            && !claims.get("aud").is_some_and(|aud| is_or_has(aud, audience))
        {
            return Err(TokenError::Audience);
        }
        let text = |name: &Option<String>| match name {
            None => Ok(None),
            Some(name) => {
                let found = claims.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
                found.map(Some).ok_or(TokenError::Claim)
            }
        };
        Ok(TokenIdentity {
            user: text(&rule.user_claim)?.map(Arc::from),
            client: text(&rule.client_id_claim)?.map(str::to_owned),
            claims: rights(claims)?.map(Arc::new),
            expires,
        })
    }
}

const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
/// Base64 characters of the smallest modulus that is taken: 2,048 bits.
const LEAST_MODULUS: usize = 341;

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        let algorithm = if let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm
            && key.curve == EllipticCurve::P256
        {
            Algorithm::ES256
        } else if let AlgorithmParameters::RSA(key) = &jwk.algorithm
            && key.n.trim_start_matches('A').len() >= LEAST_MODULUS
        {
            Algorithm::RS256
        } else if let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm
            && key.curve == EllipticCurve::Ed25519
        {
            Algorithm::EdDSA
        } else {
            return None;
        };
        let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        let named =
            jwk.common.key_algorithm.is_none_or(|it| it.to_string() == format!("{algorithm:?}"));
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (signs && named).then(|| Self { id: jwk.common.key_id.clone(), algorithm, key })
    }
}

/// A date in a token: seconds since 1970, maybe with a fraction.
fn milliseconds(date: &Value) -> Option<u64> {
    let seconds = date.as_u64().or_else(|| {
        let seconds = date.as_f64().filter(|it| (0.0..MAX_SECONDS).contains(it))?;
        // The fraction does not matter.
        format!("{:.0}", seconds.floor()).parse().ok()
    });
    seconds.map(|seconds| seconds.saturating_mul(1000))
}

/// Beyond this a floating point number of seconds is no date.
const MAX_SECONDS: f64 = 1e15;

fn is_or_has(audience: &Value, wanted: &str) -> bool {
    match audience {
        Value::String(one) => one == wanted,
        Value::Array(many) => many.iter().any(|one| one.as_str() == Some(wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// The rights that a JSON object claims: lists of topic filters under `publish` and `subscribe`. A token with one of the two
/// lists and not the other may not do the other.
pub(super) fn rights(claims: &Value) -> Result<Option<Claims>, TokenError> {
    let list = |name: &str| -> Result<Option<Vec<String>>, TokenError> {
        let Some(list) = claims.get(name) else { return Ok(None) };
        let list =
            list.as_array().filter(|list| list.len() <= MAX_FILTERS).ok_or(TokenError::Claim)?;
        let filter = |it: &Value| {
            let text = it.as_str().filter(|text| TopicFilter::new(text).is_ok())?;
            Some(text.to_owned())
        };
        list.iter().map(filter).collect::<Option<_>>().ok_or(TokenError::Claim).map(Some)
    };
    let (publish, subscribe) = (list("publish")?, list("subscribe")?);
    if publish.is_none() && subscribe.is_none() {
        return Ok(None);
    }
    Ok(Some(Claims {
        publish: publish.unwrap_or_default(),
        subscribe: subscribe.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Issuer {
        algorithm: Algorithm,
        key: EncodingKey,
        jwk: Value,
    }

    fn es256(id: &str) -> Issuer {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let alg = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        Issuer {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
            jwk: json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y}),
        }
    }

    fn eddsa(id: &str) -> Issuer {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Issuer {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(pkcs8.as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x, "alg": "EdDSA"}),
        }
    }

    fn rs256(id: &str, size: aws_lc_rs::rsa::KeySize) -> Issuer {
        use aws_lc_rs::encoding::AsDer as _;
        let pair = aws_lc_rs::rsa::KeyPair::generate(size).unwrap();
        let public = pair.public_key();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = encode(public.modulus().big_endian_without_leading_zero());
        let e = encode(public.exponent().big_endian_without_leading_zero());
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Issuer {
            algorithm: Algorithm::RS256,
            // What jsonwebtoken wants is the key inside PKCS #8: behind a head of 26 bytes.
            key: EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]),
            jwk: json!({"kty": "RSA", "kid": id, "n": n, "e": e, "use": "sig"}),
        }
    }

    impl Issuer {
        fn sign(&self, kid: Option<&str>, claims: &Value) -> Vec<u8> {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
            jsonwebtoken::encode(&header, claims, &self.key).unwrap().into_bytes()
        }
    }

    fn verifier(rule: TokenRule, issuers: &[&Issuer]) -> TokenVerifier {
        let keys: Vec<_> = issuers.iter().map(|it| it.jwk.clone()).collect();
        TokenVerifier::new(rule, &json!({"keys": keys}).to_string()).unwrap()
    }

    const NOW: Wall = Wall(1_000_000_000);

    fn claims() -> Value {
        json!({"exp": 1_000_100, "sub": "anna", "cid": "pump-7", "iss": "us", "aud": ["other", "mqtt"]})
    }

    fn rule() -> TokenRule {
        TokenRule {
            issuer: Some("us".to_owned()),
            audience: Some("mqtt".to_owned()),
            leeway_s: 10,
            user_claim: Some("sub".to_owned()),
            client_id_claim: Some("cid".to_owned()),
        }
    }

    #[test]
    fn tokens_of_all_three_kinds_are_taken() {
        let issuers = [es256("a"), eddsa("b"), rs256("c", aws_lc_rs::rsa::KeySize::Rsa2048)];
        let verifier = verifier(rule(), &[&issuers[0], &issuers[1], &issuers[2]]);
        for (issuer, kid) in issuers.iter().zip(["a", "b", "c"]) {
            for kid in [Some(kid), None] {
                let token = issuer.sign(kid, &claims());
                assert!(looks_like_a_token(&token));
                let identity = verifier.verify(&token, NOW).unwrap();
                assert_eq!(identity.user.as_deref(), Some("anna"));
                assert_eq!(identity.client.as_deref(), Some("pump-7"));
                assert_eq!((identity.claims, identity.expires), (None, Wall(1_000_110_000)));
            }
            let named_wrong = issuer.sign(Some("x"), &claims());
            assert_eq!(verifier.verify(&named_wrong, NOW), Err(TokenError::UnknownKey));
        }
    }

    #[test]
    fn a_token_with_critical_extensions_is_refused() {
        let issuer = eddsa("a");
        let verifier = verifier(rule(), &[&issuer]);
        let critical =
            Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(issuer.algorithm) };
        let token = jsonwebtoken::encode(&critical, &claims(), &issuer.key).unwrap();
        assert_eq!(verifier.verify(token.as_bytes(), NOW), Err(TokenError::Critical));
    }

    #[test]
    fn what_a_token_says_is_judged() {
        let issuer = es256("a");
        let verifier = verifier(rule(), &[&issuer]);
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            verifier.verify(&issuer.sign(None, &claims), NOW)
        };
        assert_eq!(with("exp", json!(999_990)), Err(TokenError::Expired));
        assert!(with("exp", json!(999_991.5)).is_ok(), "within the leeway");
        for no_date in [json!("soon"), json!(null), json!(-5), json!(1e300)] {
            assert_eq!(with("exp", no_date), Err(TokenError::Expired));
        }
        assert_eq!(with("nbf", json!(1_000_011)), Err(TokenError::NotYet));
        assert!(with("nbf", json!(1_000_010)).is_ok());
        assert_eq!(with("iss", json!("them")), Err(TokenError::Issuer));
        assert_eq!(with("aud", json!("them")), Err(TokenError::Audience));
        assert!(with("aud", json!("mqtt")).is_ok());
        assert_eq!(with("sub", json!(7)), Err(TokenError::Claim));
        assert_eq!(with("cid", json!("")), Err(TokenError::Claim));
        assert_eq!(with("publish", json!("a/b")), Err(TokenError::Claim));
        assert_eq!(with("publish", json!(["a/#/b"])), Err(TokenError::Claim));
        let rights = with("publish", json!(["a/+"])).unwrap().claims.unwrap();
        assert_eq!(*rights, Claims { publish: vec!["a/+".to_owned()], subscribe: Vec::new() });
    }

    #[test]
    fn a_token_of_a_stranger_or_a_changed_one_is_refused() {
        let (ours, theirs) = (es256("a"), es256("a"));
        let verifier = verifier(TokenRule::default(), &[&ours]);
        let stranger = theirs.sign(Some("a"), &claims());
        assert_eq!(verifier.verify(&stranger, NOW), Err(TokenError::Signature));
        let mut changed = ours.sign(Some("a"), &claims());
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(verifier.verify(&changed, NOW).is_err());
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        let issuer = es256("a");
        let verifier = verifier(TokenRule::default(), &[&issuer]);
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let none = format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode("{\"exp\":9999999999}"));
        assert_eq!(verifier.verify(none.as_bytes(), NOW), Err(TokenError::Malformed));
        // The public key as the secret of an HMAC: the oldest trick.
        let header = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(issuer.jwk["x"].as_str().unwrap().as_bytes());
        let token = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
        assert_eq!(verifier.verify(token.as_bytes(), NOW), Err(TokenError::Algorithm));
    }

    #[test]
    fn keys_that_cannot_be_used_are_passed_over() {
        let only = |keys: Value| {
            TokenVerifier::new(TokenRule::default(), &json!({ "keys": keys }).to_string())
        };
        assert!(matches!(only(json!([])), Err(JwksError::NoKey)));
        assert!(matches!(only(json!([{"kty": "oct", "k": "c2VjcmV0"}])), Err(JwksError::NoKey)));
        let mut encrypts = es256("a").jwk;
        encrypts["use"] = json!("enc");
        let mut other = es256("a").jwk;
        other["alg"] = json!("ES384");
        assert!(matches!(only(json!([encrypts, other])), Err(JwksError::NoKey)));
        let short = json!({"kty": "RSA", "n": "A".repeat(10) + &"x".repeat(171), "e": "AQAB"});
        assert!(matches!(only(json!([short])), Err(JwksError::NoKey)));
        assert!(matches!(TokenVerifier::new(TokenRule::default(), "{"), Err(JwksError::Json(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(token in "(eyJ)?[a-zA-Z0-9_.-]{0,80}", raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let issuer = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
            let verifier = TokenVerifier::new(TokenRule::default(), &issuer.to_string()).unwrap();
            prop_assert!(verifier.verify(token.as_bytes(), NOW).is_err());
            prop_assert!(verifier.verify(&raw, NOW).is_err());
        }
    }
}
