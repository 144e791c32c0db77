//! Answers: a document, or a refusal as AWS writes it, from which its SDKs raise typed exceptions.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use protocol::mqtt::ReasonCode;
use shadow::{CallFault, Refusal};

use crate::authentication::NotIdentified;
use crate::control::ControlError;

/// An answer on its way.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a call is refused: the status, AWS's name for it, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallRefusal {
    status: u16,
    kind: &'static str,
    message: Cow<'static, str>,
    /// Whether the connection ends with it.
    closes: bool,
}

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl CallRefusal {
    const fn new(status: u16, kind: &'static str, message: Cow<'static, str>) -> Self {
        Self { status, kind, message, closes: false }
    }

    /// The request is not what it should be.
    pub(super) fn invalid(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidRequestException", why.into())
    }

    /// Whoever asks has no right to it.
    pub(super) fn forbidden(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, "ForbiddenException", why.into())
    }

    /// It is not known who asks, or not any more; the connection ends.
    pub(super) fn unauthorized(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(401, "UnauthorizedException", why.into()).closing()
    }

    /// There is no such thing.
    pub(super) fn missing(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, "ResourceNotFoundException", why.into())
    }

    /// The body does not come.
    pub(super) fn late() -> Self {
        let why = "the body did not come in time";
        Self::new(408, "RequestTimeoutException", Cow::Borrowed(why)).closing()
    }

    /// The body is too large; the rest of it is not read.
    pub(super) fn too_large() -> Self {
        let why = "The payload exceeds the maximum size allowed";
        Self::new(413, "RequestEntityTooLargeException", Cow::Borrowed(why)).closing()
    }

    /// There is too much of it, or no room.
    pub(super) fn throttled(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(429, "ThrottlingException", why.into())
    }

    /// Our own fault.
    pub(super) fn internal(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(500, "InternalFailureException", why.into())
    }

    /// Not now.
    pub(super) fn unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, "ServiceUnavailableException", why.into())
    }

    /// Who was to acknowledge has not.
    pub(super) fn unconfirmed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(504, "GatewayTimeoutException", why.into())
    }

    /// A message that its receiver does not take for its size.
    pub(super) fn too_large_for_receiver() -> Self {
        let why = "the client takes no packet of that size";
        Self::new(413, "RequestEntityTooLargeException", Cow::Borrowed(why))
    }

    /// The connection ends with it.
    pub(super) const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The status.
    #[cfg(test)]
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Why a worker refused a publication.
    pub(super) fn of_reason(reason: ReasonCode) -> Self {
        let words = reason.words().unwrap_or("the publication is refused");
        if reason == ReasonCode::NotAuthorized {
            Self::forbidden("topics that begin with $ are not published to")
        } else if reason == ReasonCode::QuotaExceeded {
            Self::throttled(words)
        } else {
            Self::invalid(words)
        }
    }

    /// As it is sent.
    pub(super) fn into_answer(self) -> Answer {
        let body = serde_json::json!({ "message": self.message }).to_string();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = with_body(status, body);
        let headers = answer.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.kind));
        if matches!(self.status, 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

impl From<CallFault> for CallRefusal {
    fn from(fault: CallFault) -> Self {
        Self::new(fault.code(), fault.error_type(), fault.to_string().into())
    }
}

impl From<Refusal> for CallRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.error_type(), refusal.to_string().into())
    }
}

impl From<ControlError> for CallRefusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Missing(why) => Self::missing(why),
            ControlError::Invalid(why) => Self::invalid(why),
            ControlError::Forbidden(why) => Self::forbidden(why),
            ControlError::Refused(why)
            | ControlError::WrongState(why)
            | ControlError::Outdated(why)
            | ControlError::Unavailable(why)
            | ControlError::Unfinished(why) => Self::unavailable(why),
        }
    }
}

impl From<NotIdentified> for CallRefusal {
    fn from(why: NotIdentified) -> Self {
        match why {
            // It may be let in with its next connection.
            NotIdentified::HookDown | NotIdentified::Busy => {
                Self::unavailable(why.to_string()).closing()
            }
            NotIdentified::Certificate(_)
            | NotIdentified::Token(_)
            | NotIdentified::Password
            | NotIdentified::Scram(_)
            | NotIdentified::Hook
            | NotIdentified::Nothing
            | NotIdentified::Method
            | NotIdentified::ClientId
            | NotIdentified::SomebodyElse
            | NotIdentified::Rounds => {
                Self::unauthorized("the certificate is not one of a device that is let in")
            }
        }
    }
}

/// A document of JSON.
pub(super) fn document(body: String) -> Answer {
    with_body(StatusCode::OK, body)
}

/// That what was asked is done; AWS answers with these two members.
pub(super) fn done() -> Answer {
    let id = request_id();
    let mut answer = with_body(
        StatusCode::OK,
        serde_json::json!({ "message": "OK", "traceId": id }).to_string(),
    );
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

fn with_body(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

/// What an answer is known by; without randomness all have the same.
fn request_id() -> String {
    let mut random = [0; 12];
    let _ = aws_lc_rs::rand::fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_exception() {
        let answer = CallRefusal::throttled("slower").into_answer();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()[ERROR_TYPE], "ThrottlingException");
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        assert!(!answer.headers().contains_key(CONNECTION));
        let answer = CallRefusal::too_large().into_answer();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[CONNECTION]),
            (413, &HeaderValue::from_static("close"))
        );
        let refusal = CallRefusal::from(Refusal::VersionConflict);
        assert_eq!((refusal.status(), refusal.kind), (409, "ConflictException"));
        let refusal = CallRefusal::from(ControlError::Missing("none".into()));
        assert_eq!((refusal.status(), refusal.kind), (404, "ResourceNotFoundException"));
        let fault = CallRefusal::from(CallFault::Method);
        assert_eq!((fault.status(), fault.kind), (405, "MethodNotAllowedException"));
    }

    #[test]
    fn who_cannot_be_judged_now_shall_come_again_and_who_is_refused_shall_not() {
        for (why, status) in [
            (NotIdentified::HookDown, 503),
            (NotIdentified::Busy, 503),
            (NotIdentified::Hook, 401),
            (NotIdentified::Nothing, 401),
        ] {
            let answer = CallRefusal::from(why).into_answer();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), status == 503);
            assert!(answer.headers().contains_key(CONNECTION), "it is who it is for its time");
        }
    }

    #[test]
    fn what_a_worker_refuses_has_the_status_that_fits() {
        for (reason, status) in [
            (ReasonCode::NotAuthorized, 403),
            (ReasonCode::QuotaExceeded, 429),
            (ReasonCode::TopicNameInvalid, 400),
            (ReasonCode::PayloadFormatInvalid, 400),
        ] {
            assert_eq!(CallRefusal::of_reason(reason).status(), status);
        }
    }
}
