//! Asks Redis, then Postgres, and tells Redis what Postgres said. Redis being away only makes it slower.

use std::time::Duration;

use futures::future::BoxFuture;
use meridian_billing::ids::{ProjectId, TenantId};
use meridian_records::{ApiKeyGrant, Records};
use redis::{AsyncCommands, aio::ConnectionManager};
use serde::{Deserialize, Serialize};

use super::{Away, Directory, FRESH_FOR, Known, origin};

/// Redis answers in well under a millisecond, or is not worth waiting for.
const REDIS_WITHIN: Duration = Duration::from_millis(100);
const POSTGRES_WITHIN: Duration = Duration::from_millis(1_500);

pub struct RedisThenPostgres {
    redis: ConnectionManager,
    records: Records,
    /// Regions may share a Redis.
    prefix: String,
}

/// What Redis holds of a key: never the key, only what its hash stands for.
#[derive(Serialize, Deserialize)]
struct Remembered {
    tenant: TenantId,
    project: ProjectId,
    name: String,
    revoked: bool,
}

impl RedisThenPostgres {
    pub fn new(redis: ConnectionManager, records: Records, region: &str) -> RedisThenPostgres {
        RedisThenPostgres { redis, records, prefix: format!("meridian:{region}:api-key:") }
    }

    pub async fn check_redis(&self) -> Result<(), String> {
        let mut redis = self.redis.clone();
        let asked = tokio::time::timeout(REDIS_WITHIN * 5, redis.ping::<String>()).await;
        asked.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|error| error.to_string())
    }

    /// Asks Postgres for a hash that no key has.
    pub async fn check_postgres(&self) -> Result<(), String> {
        let asked = tokio::time::timeout(POSTGRES_WITHIN, self.records.api_key("readiness")).await;
        asked.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|error| error.to_string())
    }

    async fn ask_redis(&self, hash_hex: &str) -> Option<Remembered> {
        let mut redis = self.redis.clone();
        let asked = redis.get::<_, Option<Vec<u8>>>(format!("{}{hash_hex}", self.prefix));
        let bytes = tokio::time::timeout(REDIS_WITHIN, asked).await.ok()?.ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    async fn ask_postgres(&self, hash_hex: &str) -> Result<Option<ApiKeyGrant>, Away> {
        let asked = tokio::time::timeout(POSTGRES_WITHIN, self.records.api_key(hash_hex)).await;
        asked.map_err(|_| Away)?.map_err(|error| {
            tracing::debug!(%error, "an API key could not be looked up");
            Away
        })
    }

    /// Not waited for: a grant is good whether or not Redis remembers it.
    fn remember(&self, hash_hex: &str, remembered: &Remembered) {
        let (mut redis, key) = (self.redis.clone(), format!("{}{hash_hex}", self.prefix));
        let value = serde_json::to_vec(remembered).expect("strings and a bool always serialize");
        tokio::spawn(async move {
            let told = redis.set_ex::<_, _, ()>(key, value, FRESH_FOR.as_secs());
            if let Ok(Err(error)) = tokio::time::timeout(REDIS_WITHIN, told).await {
                tracing::debug!(%error, "Redis did not take a grant");
            }
        });
    }
}

impl Directory for RedisThenPostgres {
    fn find<'a>(&'a self, hash_hex: &'a str) -> BoxFuture<'a, Result<Known, Away>> {
        Box::pin(async move {
            if let Some(remembered) = self.ask_redis(hash_hex).await {
                return Ok(known(remembered));
            }
            let Some(grant) = self.ask_postgres(hash_hex).await? else {
                // Unknown keys are not remembered in Redis: guesses would fill it.
                return Ok(Known::Unknown);
            };
            let ApiKeyGrant { tenant, project, key_name, revoked } = grant;
            let remembered = Remembered { tenant, project, name: key_name, revoked };
            self.remember(hash_hex, &remembered);
            Ok(known(remembered))
        })
    }
}

fn known(remembered: Remembered) -> Known {
    let Remembered { tenant, project, name, revoked } = remembered;
    if revoked { Known::Revoked } else { Known::Grant(origin(tenant, project, name)) }
}
