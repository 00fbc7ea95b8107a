//! Whose credential a request carries. Only the SHA-256 of a key is ever looked up, kept or logged.
//!
//! A grant is remembered for `FRESH_FOR` here and as long in Redis, so that a revoked key is dead within ten seconds
//! in every replica. While neither Redis nor Postgres can be asked, a grant that was good within the last hour goes
//! on being good: events of known tenants are not lost because a database restarts. A key that was never seen good
//! is not admitted on trust.

mod lookup;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, header};
use meridian_billing::{
    event::EventOrigin,
    ids::{ProjectId, TenantId},
};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{metrics::Metrics, refusal::Refusal};

pub use lookup::RedisThenPostgres;

/// Half of the ten seconds within which a revocation takes effect; the other half is Redis's.
pub const FRESH_FOR: Duration = Duration::from_secs(5);
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// While keys cannot be checked, one request in so long tries again in the background.
const RETRY_EVERY_MS: u64 = 1_000;
const REMEMBERED_KEYS: u64 = 100_000;

const KEY_PREFIX: &str = "mrd_";
const KEY_RANDOM_CHARS: usize = 43;

/// What the region knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Grant(Arc<EventOrigin>),
    Revoked,
    Unknown,
}

/// Somebody who can be asked about a key's hash.
pub trait Directory: Send + Sync + 'static {
    fn find<'a>(&'a self, hash_hex: &'a str) -> BoxFuture<'a, Result<Known, Away>>;
}

/// Nobody could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be checked")]
pub struct Away;

#[derive(Clone)]
pub struct Keys {
    directory: Arc<dyn Directory>,
    fresh: Cache<KeyHash, Known>,
    /// Grants that were good within the last hour.
    good: Cache<KeyHash, Arc<EventOrigin>>,
    outage: Arc<Outage>,
    metrics: Arc<Metrics>,
}

type KeyHash = [u8; 32];

/// Whether the directory was away when it was last asked, and when that was.
struct Outage {
    away: AtomicBool,
    started: Instant,
    tried_ms: AtomicU64,
}

impl Keys {
    pub fn new(directory: Arc<dyn Directory>, metrics: Arc<Metrics>) -> Keys {
        Keys {
            directory,
            fresh: Cache::builder().max_capacity(REMEMBERED_KEYS).time_to_live(FRESH_FOR).build(),
            good: Cache::builder().max_capacity(REMEMBERED_KEYS).time_to_live(GOOD_FOR).build(),
            outage: Arc::new(Outage {
                away: AtomicBool::new(false),
                started: Instant::now(),
                tried_ms: AtomicU64::new(0),
            }),
            metrics,
        }
    }

    /// The tenant, project and source that a request's key stands for.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Arc<EventOrigin>, Refusal> {
        let hash: KeyHash = Sha256::digest(bearer(headers)?).into();
        match self.known(hash).await {
            Ok(Known::Grant(origin)) => Ok(origin),
            Ok(Known::Revoked) => Err(Refusal::RevokedApiKey),
            Ok(Known::Unknown) => Err(Refusal::InvalidApiKey),
            Err(Away) => Err(Refusal::KeysUnavailable),
        }
    }

    /// Whether there are grants to go on with while the directory is away.
    pub fn has_good_grants(&self) -> bool {
        self.good.iter().next().is_some()
    }

    async fn known(&self, hash: KeyHash) -> Result<Known, Away> {
        if let Some(known) = self.fresh.get(&hash).await {
            return Ok(known);
        }
        if self.outage.away.load(Ordering::Relaxed)
            && let Some(origin) = self.good.get(&hash).await
        {
            // Not waiting for databases that are away keeps the acknowledgement quick.
            self.retry_in_background(hash);
            self.metrics.stale_grant();
            return Ok(Known::Grant(origin));
        }
        match self.ask(hash).await {
            Ok(known) => Ok(known),
            Err(Away) => {
                let origin = self.good.get(&hash).await.ok_or(Away)?;
                self.metrics.stale_grant();
                Ok(Known::Grant(origin))
            }
        }
    }

    /// Asks the directory; requests with the same key wait for one answer.
    async fn ask(&self, hash: KeyHash) -> Result<Known, Away> {
        let asked = self.fresh.try_get_with(hash, async {
            let known = self.directory.find(&hex::encode(hash)).await?;
            match &known {
                Known::Grant(origin) => self.good.insert(hash, origin.clone()).await,
                Known::Revoked | Known::Unknown => self.good.invalidate(&hash).await,
            }
            Ok::<Known, Away>(known)
        });
        let known = asked.await.map_err(|away| *away);
        let was_away = self.outage.away.swap(known.is_err(), Ordering::Relaxed);
        if was_away != known.is_err() {
            match &known {
                Ok(_) => tracing::info!("API keys can be checked again"),
                Err(Away) => tracing::warn!("API keys cannot be checked: grants of the last hour stay good"),
            }
        }
        known
    }

    fn retry_in_background(&self, hash: KeyHash) {
        let now_ms = self.outage.started.elapsed().as_millis() as u64;
        let tried_ms = self.outage.tried_ms.load(Ordering::Relaxed);
        let mine = now_ms >= tried_ms + RETRY_EVERY_MS
            && self
                .outage
                .tried_ms
                .compare_exchange(tried_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let keys = self.clone();
            tokio::spawn(async move { keys.ask(hash).await });
        }
    }
}

/// The key itself. One that cannot be ours costs no lookup.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::MissingApiKey)?;
    let value = value.to_str().map_err(|_| Refusal::InvalidApiKey)?;
    let (scheme, key) = value.split_once(' ').ok_or(Refusal::MissingApiKey)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::MissingApiKey);
    }
    let key = key.trim();
    let random = key.strip_prefix(KEY_PREFIX).ok_or(Refusal::InvalidApiKey)?;
    let well_formed = random.len() == KEY_RANDOM_CHARS && random.bytes().all(|b| b.is_ascii_alphanumeric());
    if well_formed { Ok(key) } else { Err(Refusal::InvalidApiKey) }
}

/// The origin of a key's events: its name is their source unless they name another.
pub fn origin(tenant: TenantId, project: ProjectId, key_name: String) -> Arc<EventOrigin> {
    Arc::new(EventOrigin { tenant, project, default_source: key_name })
}

#[cfg(test)]
mod tests;
