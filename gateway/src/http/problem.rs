//! Errors of the API, as RFC 9457 says: `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;

/// What went wrong, for programs (`type`, `status`) and for people (`title`, `detail`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This very case in words.
    pub detail: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:tidegate:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// No such path, or nothing there now.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "nothing there", detail)
    }

    /// The path is right, the method is not.
    pub fn method() -> Self {
        let detail = "this path has other methods; see /api/v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "method not allowed", detail)
    }

    /// The caller's role does not allow it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "not allowed", detail)
    }

    /// The request cannot be understood.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "request not understood", detail)
    }

    /// The body is not declared as JSON.
    pub fn media_type() -> Self {
        let detail = "send content-type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "not JSON", detail)
    }

    /// The body is larger than the limit.
    pub fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("the limit is {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "body too large", detail)
    }

    /// A request about a shadow is refused, with the code that a device is told.
    pub fn shadow(refusal: &shadow::Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "shadow", "request refused", refusal.to_string())
    }

    /// The gateway did not answer itself in time.
    pub fn timeout() -> Self {
        let detail = "the gateway is busy; ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "no answer in time", detail)
    }

    /// The gateway has begun what was asked of it, and did not end in time: it may be done.
    pub fn unfinished(detail: impl Into<String>) -> Self {
        let title = "may have been done";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unfinished", title, detail)
    }

    /// Whether what was asked may be done although the answer is no success.
    pub fn is_unfinished(&self) -> bool {
        self.kind == "urn:tidegate:problem:unfinished"
    }

    /// What was asked for is asked for too often.
    pub fn too_often() -> Self {
        let detail = "it was read too often; calendars need not be read more often than they say";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-often", "too often", detail)
    }

    /// As many as there may be are served now.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unavailable", detail)
    }

    /// Our own fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error", detail)
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(why) => {
                Self::new(StatusCode::CONFLICT, "refused", "refused", why)
            }
            ControlError::WrongState(why) => {
                Self::new(StatusCode::CONFLICT, "wrong-state", "wrong state", why)
            }
            ControlError::Invalid(why) => Self::invalid(why),
            ControlError::Missing(why) => Self::not_found(why),
            ControlError::Outdated(why) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "outdated", "changed meanwhile", why)
            }
            ControlError::Forbidden(why) => Self::forbidden(why),
            ControlError::Unavailable(why) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unavailable", why)
            }
            ControlError::Unfinished(why) => Self::unfinished(why),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        if status == StatusCode::FORBIDDEN {
            // Who may not has no reason to stay.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
