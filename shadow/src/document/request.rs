//! What devices and applications ask, read and checked without knowing the document that it is about.

use super::refusal::NodeName;
use super::section::MAX_SECTION_NESTING;
use super::{Refusal, Rejection, ShadowLimits};
use crate::json::{Json, Object, Unreadable, put_json, read};

/// The requester's own mark, which comes back in the answer: at most [`ShadowLimits::token_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientToken(Box<str>);

/// A change of a document, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRequest {
    /// `null`, or an object with nothing but desired and reported, which are objects or `null`.
    pub(super) state: Json,
    /// The version that the document must have.
    pub(super) version: Option<u64>,
    pub(super) token: Option<ClientToken>,
}

impl ClientToken {
    /// The text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    fn of(members: &Object, limits: &ShadowLimits) -> Result<Option<Self>, Refusal> {
        match members.get("clientToken") {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Text(text)) if text.len() <= limits.token_bytes => {
                Ok(Some(Self(text.clone())))
            }
            Some(
                Json::Text(_) | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_),
            ) => Err(Refusal::InvalidToken),
        }
    }
}

impl UpdateRequest {
    /// Reads the payload of an `update`, or the body of a POST.
    ///
    /// # Errors
    /// [`Rejection`], with the token if that could be read.
    pub fn parse(payload: &[u8], limits: &ShadowLimits) -> Result<Self, Rejection> {
        let mut members = read_members(payload, limits).map_err(Refusal::without_token)?;
        let token = ClientToken::of(&members, limits).map_err(Refusal::without_token)?;
        match read_change(&mut members, limits) {
            Ok((state, version)) => Ok(Self { state, version, token }),
            Err(refusal) => Err(Rejection { refusal, token }),
        }
    }

    /// The requester's mark.
    pub const fn token(&self) -> Option<&ClientToken> {
        self.token.as_ref()
    }

    pub(super) fn reject(&self, refusal: Refusal) -> Rejection {
        Rejection { refusal, token: self.token.clone() }
    }
}

/// Reads the payload of a `get`: nothing, or an object that may have a token.
///
/// # Errors
/// [`Rejection`], by what cannot be read.
pub fn read_get(payload: &[u8], limits: &ShadowLimits) -> Result<Option<ClientToken>, Rejection> {
    if payload.is_empty() {
        return Ok(None);
    }
    let members = read_members(payload, limits).map_err(Refusal::without_token)?;
    ClientToken::of(&members, limits).map_err(Refusal::without_token)
}

/// Reads the payload of a `delete`, of which nothing matters but a token.
///
/// # Errors
/// [`Rejection`] if there is a token that is too long or no text.
pub fn read_delete(
    payload: &[u8],
    limits: &ShadowLimits,
) -> Result<Option<ClientToken>, Rejection> {
    match read_members(payload, limits) {
        Ok(members) => ClientToken::of(&members, limits).map_err(Refusal::without_token),
        Err(_) => Ok(None),
    }
}

fn read_members(payload: &[u8], limits: &ShadowLimits) -> Result<Object, Refusal> {
    if payload.len() > limits.request_bytes {
        return Err(Refusal::TooLarge);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Refusal::NoUtf8)?;
    match read(text) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_))
        | Err(Unreadable::NoJson) => Err(Refusal::InvalidJson),
        Err(Unreadable::TooDeep) => Err(Refusal::TooDeep { maximum: limits.nesting }),
    }
}

fn read_change(
    members: &mut Object,
    limits: &ShadowLimits,
) -> Result<(Json, Option<u64>), Refusal> {
    let state = members.remove("state").ok_or(Refusal::MissingState)?;
    match &state {
        Json::Null => {}
        Json::Object(sections) => check_sections(sections, limits)?,
        Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
            return Err(Refusal::NoObject(NodeName::State));
        }
    }
    let version = match members.get("version") {
        None | Some(Json::Null) => None,
        Some(Json::Number(number)) => Some(number.as_u64().ok_or(Refusal::InvalidVersion)?),
        Some(Json::Bool(_) | Json::Text(_) | Json::Array(_) | Json::Object(_)) => {
            return Err(Refusal::InvalidVersion);
        }
    };
    Ok((state, version))
}

fn check_sections(sections: &Object, limits: &ShadowLimits) -> Result<(), Refusal> {
    let maximum = limits.nesting.min(MAX_SECTION_NESTING);
    let mut bytes = 0_usize;
    for (name, section) in sections {
        let node = match &**name {
            "desired" => NodeName::Desired,
            "reported" => NodeName::Reported,
            _ => {
                return Err(Refusal::InvalidNode(name.chars().take(64).collect::<String>().into()));
            }
        };
        match section {
            Json::Null => continue,
            Json::Object(_) => {}
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                return Err(Refusal::NoObject(node));
            }
        }
        // The section itself is no level: what is counted lies in it.
        if section.nesting() > maximum.saturating_add(1) {
            return Err(Refusal::TooDeep { maximum });
        }
        if section.has_null_in_array() {
            return Err(Refusal::NullInArray);
        }
        let mut compact = String::new();
        put_json(&mut compact, section);
        bytes = bytes.saturating_add(compact.len());
    }
    if bytes > limits.document_bytes { Err(Refusal::TooLarge) } else { Ok(()) }
}
