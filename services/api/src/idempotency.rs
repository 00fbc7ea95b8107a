//! `Idempotency-Key` on every POST: the same request with the same key is carried out once and answered the same.
//!
//! A success is kept and given again (`Idempotency-Replayed: true`). A refusal made nothing, so its key stays free for a
//! corrected request. A failure half-way hands its seed to the next attempt, which makes the same ids and therefore finds
//! what the first one made. The work goes on when the client hangs up: a key must not be left half-done by a broken line.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use meridian_records::{Claim, TenantRecords};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, sha256},
    extract::too_large,
    problem::{Code, Problem, chain},
};

pub(crate) const HEADER: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
const KEY_BYTES_MAX: usize = 255;
/// How long a key is remembered. The same request with the same key later than that is a new one.
pub(crate) const REMEMBERED_DAYS: u64 = 30;
const REMEMBERED: Duration = Duration::from_secs(REMEMBERED_DAYS * 86_400);
/// Every replica sweeps: what one has forgotten, the others find gone.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Decides the ids of what a POST makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(pub Uuid);

impl Seed {
    /// When the request was first tried, to the millisecond: what it takes for "now" is the same in every attempt.
    pub fn first_tried_at(self) -> Timestamp {
        let at = self.0.get_timestamp().and_then(|at| {
            let (seconds, nanoseconds) = at.to_unix();
            Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
        });
        at.unwrap_or_else(Timestamp::now)
    }
}

impl<S: Sync> FromRequestParts<S> for Seed {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Without a key, every request is one of its own.
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_else(|| Self(Uuid::now_v7())))
    }
}

/// Forgets old keys, now and then, until the shutdown.
pub(crate) async fn forget_old_keys(app: App, shutdown: CancellationToken) {
    let sweep = async || loop {
        match app.records().purge_idempotency_keys(REMEMBERED).await {
            Ok(0) => {}
            Ok(keys) => tracing::info!(keys, "old idempotency keys are forgotten"),
            Err(error) => {
                tracing::warn!(error = chain(&error), "old idempotency keys could not be forgotten")
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    };
    shutdown.run_until_cancelled(sweep()).await;
}

pub(crate) async fn once(State(app): State<App>, caller: Caller, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let key = match key_of(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let (hash, request) = match hashed(request, app.parts.limits.body_bytes_max).await {
        Ok(hashed) => hashed,
        Err(problem) => return problem.into_response(),
    };
    let records = caller.records(&app);
    match records.claim_idempotency_key(&key, &hash).await {
        Ok(Claim::Run { seed }) => run(records, key, seed, request, next).await,
        Ok(Claim::Replay { status, response }) => replay(status, response),
        Ok(Claim::InProgress) => Problem::conflict(
            Code::IdempotencyKeyInProgress,
            "the first request with this Idempotency-Key is still running; try again shortly",
        )
        .into_response(),
        Ok(Claim::OtherRequest) => Problem::conflict(
            Code::IdempotencyKeyReused,
            "this Idempotency-Key belongs to a request with another path or body; use a new key",
        )
        .into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

fn key_of(request: &Request) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(HEADER) else { return Ok(None) };
    let wrong = || Problem::parameter("Idempotency-Key", "must be 1 to 255 visible ASCII characters");
    let text = value.to_str().map_err(|_| wrong())?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > KEY_BYTES_MAX || !visible {
        Err(wrong())
    } else {
        Ok(Some(text.to_owned()))
    }
}

/// What makes two requests the same: method, path with its query, and the body's bytes.
async fn hashed(request: Request, body_bytes_max: usize) -> Result<(String, Request), Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, body_bytes_max).await.map_err(|_| too_large())?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut text = format!("{} {target}\n", parts.method).into_bytes();
    text.extend_from_slice(&body);
    Ok((hex::encode(sha256(&text)), Request::from_parts(parts, Body::from(body))))
}

/// In a task of its own: a client that hangs up does not stop it.
async fn run(records: TenantRecords, key: String, seed: Uuid, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Seed(seed));
    let work = async move {
        let (parts, body) = next.run(request).await.into_parts();
        // Answers of this API are small; one that cannot be read whole is not one that we wrote.
        let body = match to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(error) => return Problem::internal(&error).into_response(),
        };
        let settled = if parts.status.is_success() {
            let text = String::from_utf8_lossy(&body);
            records.finish_idempotency_key(&key, parts.status.as_u16(), &text).await
        } else if parts.status.is_client_error() {
            records.forget_idempotency_key(&key).await
        } else {
            records.release_idempotency_key(&key).await
        };
        if let Err(error) = settled {
            // The work is done, or not, all the same: its claim runs out by itself, and its seed finds what was made.
            tracing::warn!(error = %crate::problem::chain(&error), "an idempotency key could not be settled");
        }
        Response::from_parts(parts, Body::from(body))
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(error) => Problem::internal(&error).into_response(),
    }
}

fn replay(status: u16, response: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, response).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str, body: &'static str) -> Request {
        Request::builder().method(Method::POST).uri(path).body(Body::from(body)).expect("a request")
    }

    async fn hash(request: Request) -> String {
        hashed(request, 100).await.expect("hashed").0
    }

    #[tokio::test]
    async fn a_request_is_the_same_by_path_query_and_body() {
        let base = hash(post("/v1/customers", "{}")).await;
        assert_eq!(hash(post("/v1/customers", "{}")).await, base);
        for other in [post("/v1/customers?a", "{}"), post("/v1/customer", "{}"), post("/v1/customers", "{ }")]
        {
            assert_ne!(hash(other).await, base);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_before_it_is_hashed() {
        let long: &'static str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        assert_eq!(hashed(post("/", long), 100).await.expect_err("refused").code, Code::BodyTooLarge);
    }

    #[test]
    fn keys_are_visible_and_bounded() {
        let keyed = |key: &str| {
            let request = Request::builder().header(HEADER, key).body(Body::empty()).expect("a request");
            key_of(&request)
        };
        assert_eq!(keyed("7f3a").expect("fine").as_deref(), Some("7f3a"));
        for wrong in ["", "a b", "a\tb", &"x".repeat(256)] {
            assert!(keyed(wrong).is_err(), "{wrong:?}");
        }
    }
}
