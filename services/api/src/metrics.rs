//! Requests counted and timed by route: the route's template, never the path, so that ids make no new series.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::app::App;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

/// From 1 ms, the time of a key look-up, to 30 s, the time-out.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

#[derive(Clone)]
pub(crate) struct RequestMetrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, Seconds>,
}

impl RequestMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default(), seconds: Family::new_with_constructor(Seconds) };
        registry.register("api_requests", "Requests by route and status", metrics.requests.clone());
        registry.register_with_unit("api_request", "Time to answer", Unit::Seconds, metrics.seconds.clone());
        metrics
    }
}

pub(crate) async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let metrics = &app.parts.metrics;
    let status = response.status().as_u16();
    metrics.requests.get_or_create(&Answered { method: method.clone(), route: route.clone(), status }).inc();
    metrics.seconds.get_or_create(&Route { method, route }).observe(started.elapsed().as_secs_f64());
    response
}
