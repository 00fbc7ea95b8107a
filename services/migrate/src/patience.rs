//! Waiting for stores that are still starting, and knowing when waiting will not help.

use std::{error::Error, future::Future, time::Duration};

use anyhow::{Context, bail};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two attempts at a store that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a step did not succeed.
pub enum Failure {
    /// The store may only not be ready yet.
    Transient(anyhow::Error),
    /// Somebody has to act.
    Permanent(anyhow::Error),
}

impl Failure {
    pub fn transient(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Transient(error.into())
    }

    pub fn permanent(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Permanent(error.into())
    }
}

/// One deadline for all steps together.
pub struct Patience {
    deadline: Instant,
    pause: Duration,
    shutdown: CancellationToken,
}

impl Patience {
    pub fn until(deadline: Duration, shutdown: CancellationToken) -> Self {
        Self { deadline: Instant::now() + deadline, pause: PAUSE, shutdown }
    }

    /// Repeats `attempt` until it succeeds, fails for good, or time is up. A reason is logged when it is a new one.
    pub async fn step<F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = Result<String, Failure>>,
    {
        let mut said = String::new();
        loop {
            let reason = match attempt().await {
                Ok(changed) => {
                    tracing::info!(step = what, "{changed}");
                    return Ok(());
                }
                Err(Failure::Permanent(error)) => return Err(error.context(what.to_owned())),
                Err(Failure::Transient(error)) => error,
            };
            let text = format!("{reason:#}");
            if text != said {
                tracing::warn!(step = what, reason = text, "not yet");
                said = text;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => bail!("{what}: stopped while waiting: {said}"),
                () = tokio::time::sleep_until(self.deadline) => return Err(reason).with_context(|| format!("{what}: time is up")),
                () = tokio::time::sleep(self.pause) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn patience(deadline: Duration) -> Patience {
        Patience { pause: Duration::from_millis(2), ..Patience::until(deadline, CancellationToken::new()) }
    }

    fn failing() -> std::io::Error {
        std::io::Error::other("refused")
    }

    #[tokio::test]
    async fn a_store_that_starts_late_is_waited_for() {
        let attempts = AtomicUsize::new(0);
        let patience = patience(Duration::from_secs(60));
        let step = patience.step("store", async || match attempts.fetch_add(1, Ordering::Relaxed) {
            0..5 => Err(Failure::transient(failing())),
            _ => Ok("made".to_owned()),
        });
        step.await.unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 6);
    }

    #[tokio::test]
    async fn a_store_that_never_comes_ends_at_the_deadline_with_its_reason() {
        let patience = patience(Duration::from_millis(40));
        let error = patience.step("store", async || Err(Failure::transient(failing()))).await.unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }

    #[tokio::test]
    async fn what_waiting_cannot_cure_ends_at_once() {
        let attempts = AtomicUsize::new(0);
        let patience = patience(Duration::from_secs(60));
        let step = patience.step("store", async || {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err(Failure::permanent(failing()))
        });
        assert!(step.await.is_err());
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }
}
