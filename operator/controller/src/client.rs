//! The connection to the API server, with two things in front of it: the fence, which every write must pass, and a meter.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::fence::Fence;
use crate::metrics::Metrics;

/// A write that the fence held back: this process is not, or no longer, the leader.
#[derive(Debug, thiserror::Error)]
#[error("not the leader: the write was held back")]
pub struct NotLeader;

/// The client of every reconcile: no write passes unless the fence is open.
pub fn fenced(config: Config, fence: Fence, metrics: Metrics) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(bounded(config))?.with_layer(&Guard::new(fence, metrics)).build())
}

/// The client of the elector. It goes through no fence.
pub fn unfenced(config: Config) -> Result<Client, kube::Error> {
    Client::try_from(bounded(config))
}

/// No request may hang for ever, and nobody but us decides when to try again: the library's own retries would repeat a write
/// for minutes, past the fence's deadline.
fn bounded(mut config: Config) -> Config {
    config.connect_timeout = Some(Duration::from_secs(10));
    // Above the server's timeout for a watch, which is the longest time that nothing may come.
    config.read_timeout = Some(Duration::from_secs(305));
    config.write_timeout = Some(Duration::from_secs(30));
    config.default_retry = false;
    config
}

/// Puts the fence and the meter in front of a connection.
#[derive(Clone)]
pub struct Guard {
    fence: Fence,
    metrics: Metrics,
}

impl Guard {
    pub fn new(fence: Fence, metrics: Metrics) -> Guard {
        Guard { fence, metrics }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && !self.guard.fence.is_open() {
            return Box::pin(async { Err(NotLeader.into()) });
        }
        let metrics = self.guard.metrics.clone();
        let verb = request.method().as_str().to_owned();
        // A watch lasts as long as it lasts: its duration would only hide the others.
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let start = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            if !watches {
                let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
                metrics.api_request(&verb, code, start.elapsed());
            }
            answer
        })
    }
}
