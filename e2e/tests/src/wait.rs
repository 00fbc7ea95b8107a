//! Waiting for a condition, with a limit. Tests never sleep for a fixed time and hope.

use std::time::{Duration, Instant};

/// How long a condition may take to become true.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub Duration);

impl Limit {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Asks until `probe` gives `Ok(value)`. The last reason why not is in the failure, so that a time-out explains itself.
pub async fn eventually<T, F, Fut>(what: &str, limit: Limit, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let start = Instant::now();
    loop {
        let reason = match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if start.elapsed() > limit.0 {
            return Err(reason.context(format!("{what}: not within {:?}", limit.0)));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
