//! How far the pipeline is known to have processed each source of events: the gate that no period may be closed before.
//! Sources are `kafka/<partition>` (the consumer) and `outbox/<shard>` (ingest's drainer). Not a tenant's data.

use jiff::Timestamp;
use sqlx::Row;

use crate::{
    Records,
    error::{Doing, StoreError},
    instant::Instant,
    scope::begin_for_every_tenant,
};

impl Records {
    /// Every event of `source` that was received before this instant is processed. It only grows: of two replicas that
    /// report the same source, the later knowledge stands.
    pub async fn report_progress(&self, source: &str, processed_through_us: i64) -> Result<(), StoreError> {
        const DOING: &str = "reporting how far a source is processed";
        let instant = Timestamp::from_microsecond(processed_through_us)
            .map_err(|error| StoreError::unreadable(DOING, format!("{processed_through_us} µs: {error}")))?;
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        sqlx::query(
            "INSERT INTO pipeline_progress (source, processed_through) VALUES ($1, $2)
             ON CONFLICT (source) DO UPDATE SET updated_at = now(),
                 processed_through = greatest(pipeline_progress.processed_through, excluded.processed_through)",
        )
        .bind(source)
        .bind(Instant(instant))
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)
    }

    /// The least of the expected sources, in microseconds. None while any of them has never reported: not knowing is
    /// never the same as being done.
    pub async fn processed_through(&self, expected: &[String]) -> Result<Option<i64>, StoreError> {
        const DOING: &str = "reading how far every source is processed";
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        let row = sqlx::query(
            "SELECT min(processed_through) AS least, count(*) AS known FROM pipeline_progress WHERE source = ANY($1)",
        )
        .bind(expected)
        .fetch_one(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        let known: i64 = row.try_get("known").doing(DOING)?;
        let least: Option<Instant> = row.try_get("least").doing(DOING)?;
        let distinct: std::collections::BTreeSet<&String> = expected.iter().collect();
        Ok(least.filter(|_| known == distinct.len() as i64).map(|instant| instant.0.as_microsecond()))
    }
}
