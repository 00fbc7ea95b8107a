//! Around every pass: time taken, failures counted, the next try further away each time.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use crate::context::Context;

/// The first retry comes after this long, each further one after twice as long, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// A pass that failed, with how long to wait before the next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    message: String,
    pub retry_after: Duration,
}

/// Runs one pass over an object that may not even be readable.
pub async fn pass<K, E, F>(
    ctx: Arc<Context>,
    kind: &'static str,
    object: Arc<DeserializeGuard<K>>,
    run: impl FnOnce(Arc<Context>, K) -> F,
) -> Result<Action, Failed>
where
    K: Resource<DynamicType = ()> + Clone,
    E: StdError,
    F: Future<Output = Result<Action, E>>,
{
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let uid = object.uid().unwrap_or_default();
    let start = Instant::now();
    let result = match &object.0 {
        Ok(object) => run(ctx.clone(), object.clone()).await.map_err(|error| chain(&error)),
        // An object under an older schema, or edited past the API server. Its next version comes as an event.
        Err(invalid) => {
            tracing::error!(
                kind,
                namespace,
                name,
                error = invalid.error,
                "the object cannot be read: mend or delete it"
            );
            ctx.metrics.pass(kind, "unreadable", start.elapsed());
            return Ok(Action::await_change());
        }
    };
    let outcome = match result {
        Ok(action) => {
            ctx.memory.succeeded(&uid);
            ctx.metrics.pass(kind, "ok", start.elapsed());
            Ok(action)
        }
        Err(message) => {
            let attempt = ctx.memory.failed(&uid, kind);
            let retry_after = backoff(attempt);
            tracing::warn!(kind, namespace, name, attempt, ?retry_after, error = message, "a pass failed");
            ctx.metrics.pass(kind, "error", start.elapsed());
            Err(Failed { message, retry_after })
        }
    };
    ctx.metrics.in_backoff(kind, ctx.memory.failing(kind));
    outcome
}

/// An error with its causes, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Doubling, with up to a quarter more so that what failed together does not come back together.
fn backoff(attempt: u32) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(BACKOFF_MAX).mul_f64(1.0 + rand::random::<f64>() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        for (attempt, seconds) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (4_000_000_000, 300)] {
            let wait = backoff(attempt);
            let least = Duration::from_secs(seconds);
            assert!(wait >= least && wait <= least.mul_f64(1.25), "attempt {attempt}: {wait:?}");
        }
    }
}
