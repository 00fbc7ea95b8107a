//! A request that is refused as a whole: status, stable code and a sentence, as RFC 9457 problem+json. Refusals of
//! single events are in `reply`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Every way in which a whole request can be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("send the header Authorization: Bearer mrd_…")]
    MissingApiKey,
    #[error("the API key is not known here")]
    InvalidApiKey,
    #[error("the API key has been revoked")]
    RevokedApiKey,
    #[error("the API key cannot be checked at this moment; nothing was stored")]
    KeysUnavailable,
    #[error("the tenant sends more than {events_per_second} events a second; nothing was stored")]
    RateLimited { events_per_second: u32, retry_after: Duration },
    #[error("more is under way than this server takes; nothing was stored")]
    Overloaded,
    #[error("no durable store confirmed the events; send them again with the same ids")]
    NotStored,
    #[error("the body did not arrive in time; nothing was stored")]
    BodyTooSlow,
    #[error("the body ended early or could not be read; nothing was stored")]
    BodyUnreadable,
    #[error("the body has more than {max} bytes (decompressed); split it")]
    BodyTooLarge { max: usize },
    #[error("the body is not valid gzip")]
    BadGzip,
    #[error("content-encoding {0} is not taken; send gzip or identity")]
    UnsupportedEncoding(String),
    #[error("content-type {0} is not taken here; see /openapi.json")]
    UnsupportedMediaType(String),
    #[error("the body is not the JSON that is expected here: {0}")]
    MalformedJson(String),
    #[error("the request has {count} events, at most {max} are taken; split it")]
    TooManyEvents { count: usize, max: usize },
    #[error("the request holds no event")]
    NoEvents,
    #[error("{0}")]
    BadHeader(String),
}

impl Refusal {
    /// Stable: clients branch on it.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::MissingApiKey => "missing_api_key",
            Refusal::InvalidApiKey => "invalid_api_key",
            Refusal::RevokedApiKey => "revoked_api_key",
            Refusal::KeysUnavailable => "keys_unavailable",
            Refusal::RateLimited { .. } => "rate_limited",
            Refusal::Overloaded => "overloaded",
            Refusal::NotStored => "not_stored",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyUnreadable => "body_unreadable",
            Refusal::BodyTooLarge { .. } => "body_too_large",
            Refusal::BadGzip => "bad_gzip",
            Refusal::UnsupportedEncoding(_) => "unsupported_encoding",
            Refusal::UnsupportedMediaType(_) => "unsupported_media_type",
            Refusal::MalformedJson(_) => "malformed_json",
            Refusal::TooManyEvents { .. } => "too_many_events",
            Refusal::NoEvents => "no_events",
            Refusal::BadHeader(_) => "bad_header",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::MissingApiKey | Refusal::InvalidApiKey | Refusal::RevokedApiKey => {
                StatusCode::UNAUTHORIZED
            }
            Refusal::KeysUnavailable | Refusal::Overloaded | Refusal::NotStored => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyTooLarge { .. } | Refusal::TooManyEvents { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::UnsupportedEncoding(_) | Refusal::UnsupportedMediaType(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Refusal::BodyUnreadable
            | Refusal::BadGzip
            | Refusal::MalformedJson(_)
            | Refusal::NoEvents
            | Refusal::BadHeader(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Whole seconds, at least one: what Retry-After can say.
    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Refusal::RateLimited { retry_after, .. } => Some(retry_after.as_secs() + 1),
            Refusal::KeysUnavailable | Refusal::Overloaded | Refusal::NotStored => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Refusal {
    /// One of each. The match below stops the build when a variant is missing here.
    pub(crate) fn examples() -> Vec<Refusal> {
        let text = String::new;
        let all = vec![
            Refusal::MissingApiKey,
            Refusal::InvalidApiKey,
            Refusal::RevokedApiKey,
            Refusal::KeysUnavailable,
            Refusal::RateLimited { events_per_second: 7, retry_after: Duration::ZERO },
            Refusal::Overloaded,
            Refusal::NotStored,
            Refusal::BodyTooSlow,
            Refusal::BodyUnreadable,
            Refusal::BodyTooLarge { max: 7 },
            Refusal::BadGzip,
            Refusal::UnsupportedEncoding(text()),
            Refusal::UnsupportedMediaType(text()),
            Refusal::MalformedJson(text()),
            Refusal::TooManyEvents { count: 8, max: 7 },
            Refusal::NoEvents,
            Refusal::BadHeader(text()),
        ];
        // An index for each variant: a new one needs a new arm, and then a new example.
        let index = |refusal: &Refusal| match refusal {
            Refusal::MissingApiKey => 0,
            Refusal::InvalidApiKey => 1,
            Refusal::RevokedApiKey => 2,
            Refusal::KeysUnavailable => 3,
            Refusal::RateLimited { .. } => 4,
            Refusal::Overloaded => 5,
            Refusal::NotStored => 6,
            Refusal::BodyTooSlow => 7,
            Refusal::BodyUnreadable => 8,
            Refusal::BodyTooLarge { .. } => 9,
            Refusal::BadGzip => 10,
            Refusal::UnsupportedEncoding(_) => 11,
            Refusal::UnsupportedMediaType(_) => 12,
            Refusal::MalformedJson(_) => 13,
            Refusal::TooManyEvents { .. } => 14,
            Refusal::NoEvents => 15,
            Refusal::BadHeader(_) => 16,
        };
        assert!(all.iter().enumerate().all(|(at, refusal)| index(refusal) == at));
        all
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("refused"),
            status: status.as_u16(),
            code: self.code(),
            detail: self.to_string(),
        };
        let body = serde_json::to_vec(&problem).expect("strings and numbers always serialize");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
