//! Idempotency keys: the same POST with the same key is carried out once, and answered the same ever after.
//!
//! A key is claimed before the work and finished after it. A process that dies in between leaves a claim, which the next
//! attempt takes over once it is stale; the claim's seed decides the ids of what the work makes, so the second attempt
//! finds what the first one made instead of making it twice.

use std::time::Duration;

use sqlx::{Row, types::Uuid};

use crate::{
    Records, TenantRecords,
    error::{Doing, StoreError},
    scope::begin_for_every_tenant,
};

/// Longest that a request may take; an older claim belongs to a process that is gone.
const CLAIM_STALE_AFTER: Duration = Duration::from_secs(60);

/// What to do with a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Do it; make ids from the seed; then finish, forget or release the claim.
    Run { seed: Uuid },
    /// It was done: give this answer.
    Replay { status: u16, response: String },
    /// Another attempt is at it right now.
    InProgress,
    /// The key belongs to a different request.
    OtherRequest,
}

impl TenantRecords {
    /// `request_hash` stands for the method, path and body.
    pub async fn claim_idempotency_key(&self, key: &str, request_hash: &str) -> Result<Claim, StoreError> {
        const DOING: &str = "claiming an idempotency key";
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let inserted: Option<Uuid> = sqlx::query_scalar(
            "INSERT INTO idempotency_keys (tenant, key, request_hash, seed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant, key) DO NOTHING RETURNING seed",
        )
        .bind(tenant)
        .bind(key)
        .bind(request_hash)
        .bind(Uuid::now_v7())
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        if let Some(seed) = inserted {
            transaction.commit().await.doing(DOING)?;
            return Ok(Claim::Run { seed });
        }
        let row = sqlx::query(
            "SELECT request_hash, seed, status, response, claimed_at < now() - make_interval(secs => $3) AS stale
             FROM idempotency_keys WHERE tenant = $1 AND key = $2 FOR UPDATE",
        )
        .bind(tenant)
        .bind(key)
        .bind(CLAIM_STALE_AFTER.as_secs_f64())
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        // Forgotten between the two statements by the attempt that held it: that attempt is over, this one asks again.
        let Some(row) = row else { return Ok(Claim::InProgress) };
        if row.try_get::<&str, _>("request_hash").doing(DOING)? != request_hash {
            return Ok(Claim::OtherRequest);
        }
        if let Some(status) = row.try_get::<Option<i16>, _>("status").doing(DOING)? {
            let status = u16::try_from(status).map_err(|error| StoreError::unreadable(DOING, error))?;
            return Ok(Claim::Replay { status, response: row.try_get("response").doing(DOING)? });
        }
        if !row.try_get::<bool, _>("stale").doing(DOING)? {
            return Ok(Claim::InProgress);
        }
        sqlx::query("UPDATE idempotency_keys SET claimed_at = now() WHERE tenant = $1 AND key = $2")
            .bind(tenant)
            .bind(key)
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        Ok(Claim::Run { seed: row.try_get("seed").doing(DOING)? })
    }

    /// The work is done; this is its answer from now on.
    pub async fn finish_idempotency_key(
        &self,
        key: &str,
        status: u16,
        response: &str,
    ) -> Result<(), StoreError> {
        self.settle(
            "UPDATE idempotency_keys SET status = $3, response = $4, finished_at = now()
             WHERE tenant = $1 AND key = $2 AND status IS NULL",
            key,
            Some((status as i16, response)),
        )
        .await
    }

    /// The request was refused and made nothing: the key is free for a corrected one.
    pub async fn forget_idempotency_key(&self, key: &str) -> Result<(), StoreError> {
        self.settle(
            "DELETE FROM idempotency_keys WHERE tenant = $1 AND key = $2 AND status IS NULL",
            key,
            None,
        )
        .await
    }

    /// The work failed half-way, perhaps: the next attempt may start at once, with the same seed.
    pub async fn release_idempotency_key(&self, key: &str) -> Result<(), StoreError> {
        self.settle(
            "UPDATE idempotency_keys SET claimed_at = 'epoch' WHERE tenant = $1 AND key = $2 AND status IS NULL",
            key,
            None,
        )
        .await
    }

    async fn settle(
        &self,
        statement: &'static str,
        key: &str,
        answer: Option<(i16, &str)>,
    ) -> Result<(), StoreError> {
        const DOING: &str = "settling an idempotency key";
        let mut transaction = self.scope.begin(&self.pool).await?;
        let query = sqlx::query(statement).bind(self.scope.tenant().as_str()).bind(key);
        let query = match answer {
            Some((status, response)) => query.bind(status).bind(response),
            None => query,
        };
        query.execute(&mut *transaction).await.doing(DOING)?;
        transaction.commit().await.doing(DOING)
    }
}

impl Records {
    /// Forgets keys older than that, of every tenant. Returns how many.
    pub async fn purge_idempotency_keys(&self, older_than: Duration) -> Result<u64, StoreError> {
        const DOING: &str = "purging idempotency keys";
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        let purged =
            sqlx::query("DELETE FROM idempotency_keys WHERE claimed_at < now() - make_interval(secs => $1)")
                .bind(older_than.as_secs_f64())
                .execute(&mut *transaction)
                .await
                .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        Ok(purged.rows_affected())
    }
}
