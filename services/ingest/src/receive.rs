//! One request of events, from its head to its answer. Everything here refuses early or goes on; the rules are in
//! the modules that it calls.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::HeaderMap;

use crate::{
    admission::Admission,
    body,
    config::Limits,
    decode::{self, Decoded, Route},
    drain::{ACK_LONGEST, now_us},
    judge::{self, Circumstances},
    keys::Keys,
    metrics::Metrics,
    openapi,
    refusal::Refusal,
    reply::{self, Tally},
    stores::Stores,
    throttle::Throttle,
};

/// A body from this size on is decoded off the runtime's workers, which serve all other requests meanwhile.
const DECODE_APART_BYTES: usize = 256 << 10;

/// What a request needs.
pub struct Receiver {
    pub limits: Limits,
    pub admission: Admission,
    pub keys: Keys,
    pub throttle: Throttle,
    pub stores: Stores,
    pub metrics: Arc<Metrics>,
}

pub fn router(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route("/v1/events", post(events))
        .route("/api/v1/events", post(events))
        .route("/api/v1/ingest", post(metric))
        .route("/api/track", post(track))
        .route("/openapi.json", get(openapi::document))
        .with_state(receiver)
}

async fn events(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    receiver.answer(Route::Events, request).await
}

async fn metric(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    receiver.answer(Route::Metric, request).await
}

async fn track(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    receiver.answer(Route::Track, request).await
}

impl Receiver {
    async fn answer(&self, route: Route, request: Request) -> Response {
        let started = Instant::now();
        let response = self.receive(route, request).await.unwrap_or_else(|refusal| {
            self.metrics.request_refused(&refusal);
            refusal.into_response()
        });
        self.metrics.request_answered(started.elapsed());
        response
    }

    async fn receive(&self, route: Route, request: Request) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let headers = head.headers;
        let _request = self.admission.request()?;
        // The credential comes before the body: nobody unknown makes us read one.
        let origin = self.keys.admit(&headers).await?;
        let dialect = decode::dialect(route, &headers)?;
        let key = idempotency_key(&headers)?;
        let (decoded, _room) = self.decode(dialect, headers, body).await?;
        self.throttle.admit(&origin.tenant, decoded.drafts.len())?;

        let received = Instant::now();
        let circumstances = Circumstances {
            origin: &origin,
            limits: &self.limits.event,
            received_at_us: now_us(),
            idempotency_key: key.as_deref(),
        };
        let judged = judge::judge(decoded, &circumstances, || uuid::Uuid::now_v7().to_string());
        let _events = self.admission.events(judged.records.len())?;
        let kept = self.stores.write(&judged.records).await;
        // This process may have been stopped in between. The outbox's progress counts on no later acknowledgement.
        if received.elapsed() >= ACK_LONGEST {
            return Err(Refusal::NotStored);
        }
        let tally = Tally::of(&judged, &kept);
        self.metrics.events(&judged, &tally);
        Ok(reply::respond(&judged, &kept, &tally))
    }

    async fn decode(
        &self,
        dialect: decode::Dialect,
        headers: HeaderMap,
        body: Body,
    ) -> Result<(Decoded, crate::admission::BodyRoom), Refusal> {
        let room = self.admission.body();
        let Limits { body_bytes_max, body_within, events_per_request_max, .. } = self.limits;
        let body::Received { bytes, room } =
            body::read(&headers, body, room, body_bytes_max, body_within).await?;
        let decode = move || decode::decode(dialect, &headers, &bytes, events_per_request_max);
        let decoded = if room.held_bytes() < DECODE_APART_BYTES {
            decode()
        } else {
            tokio::task::spawn_blocking(decode).await.unwrap_or(Err(Refusal::Overloaded))
        };
        Ok((decoded?, room))
    }
}

const IDEMPOTENCY_KEY_BYTES_MAX: usize = 200;

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let bad = || {
        let what =
            format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters");
        Refusal::BadHeader(what)
    };
    let text = value.to_str().map_err(|_| bad())?.trim();
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        Err(bad())
    } else {
        Ok(Some(text.to_owned()))
    }
}
