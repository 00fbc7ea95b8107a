//! What a consumer asks to count a meter's past: raw events of its type that were stored before the meter was known.
//! Like `recovery`, these questions span tenants, and only the consumer asks them.

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::instant,
    rows::RawPlace,
    store::{UsageStore, answered},
    stored_event::{COLUMNS, StoredEvent},
};

/// How far a meter's past is counted in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// `mtr_…`
    pub meter_id: String,
    /// Batches that are stored from this instant on count the meter themselves.
    pub begun_at_us: i64,
    /// Counted up to here, inclusive.
    pub through: RawPlace,
    pub done: bool,
}

/// Which raw events of a partition: of one type, in the places `(after, through]`, stored before the meter was begun, that
/// were not decided for a meter of this name and are not to be decided by a release from quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillQuery {
    pub topic: String,
    pub partition: i32,
    pub meter: String,
    /// `None`: of all tenants.
    pub tenant: Option<String>,
    pub event_type: String,
    pub begun_at_us: i64,
    pub after: RawPlace,
    /// `None`: to the end.
    pub through: Option<RawPlace>,
    /// `None`: all of them.
    pub limit: Option<u32>,
}

#[derive(Row, Deserialize)]
struct BackfillAnswer {
    meter_id: String,
    begun_at_us: i64,
    tenant: String,
    time_us: i64,
    identity: u128,
    done: u8,
}

impl UsageStore {
    /// Every meter that a partition's batches count, as it is or as it was before an instant.
    pub async fn backfills(
        &self,
        topic: &str,
        partition: i32,
        before_us: Option<i64>,
    ) -> Result<Vec<Backfill>, UsageStoreError> {
        let before = before_us.map(|us| format!("AND stored_at < {}", instant(us))).unwrap_or_default();
        let sql = format!(
            "SELECT meter_id, toUnixTimestamp64Micro(begun_at), toString(through_tenant),
                    toUnixTimestamp64Micro(through_time), through_identity, done
             FROM meter_backfills WHERE kafka_topic = ? AND kafka_partition = {partition} {before}
             ORDER BY meter_id, stored_at DESC LIMIT 1 BY meter_id"
        );
        let question = self.client.query(&sql).bind(topic).fetch_all::<BackfillAnswer>();
        let rows = answered("reading how far the past of meters is counted", question).await?;
        Ok(rows.into_iter().map(Backfill::from).collect())
    }

    /// Was anything of a partition stored before an instant?
    pub async fn has_raw_events(
        &self,
        topic: &str,
        partition: i32,
        before_us: i64,
    ) -> Result<bool, UsageStoreError> {
        let sql = format!(
            "SELECT toUInt8(1) FROM raw_events WHERE kafka_topic = ? AND kafka_partition = {partition} AND stored_at < {} LIMIT 1",
            instant(before_us)
        );
        let question = self.client.query(&sql).bind(topic).fetch_optional::<u8>();
        Ok(answered("asking whether a partition has raw events", question).await?.is_some())
    }

    /// In the order of their places. The answer is the same however often it is asked: nothing that it hangs on is stored
    /// under an instant before the meter was begun any more.
    pub async fn backfill_candidates(
        &self,
        query: &BackfillQuery,
    ) -> Result<Vec<StoredEvent>, UsageStoreError> {
        let sql = question(query);
        let mut question = self
            .client
            .query_raw(&sql)
            .param("topic", &query.topic)
            .param("partition", query.partition)
            .param("meter", &query.meter)
            .param("type", &query.event_type)
            .param("after_tenant", &query.after.tenant);
        if let Some(tenant) = &query.tenant {
            question = question.param("tenant", tenant);
        }
        if let Some(through) = &query.through {
            question = question.param("through_tenant", &through.tenant);
        }
        answered("reading a meter's past", question.fetch_all()).await
    }
}

/// The order and the limits are those of the table's key, so that a piece reads little more than itself. What is left out:
/// events that were processed or quarantined for a meter of this name before (it had another object, or a tenant's own meter
/// hid a shared one), and events that no meter counted and that were not released before: their release counts them.
fn question(query: &BackfillQuery) -> String {
    let begun = instant(query.begun_at_us);
    let tenant = if query.tenant.is_some() { "AND tenant = {tenant:String}" } else { "" };
    let partition = "kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}";
    let (after_time, after_identity) = (instant(query.after.time_us), query.after.identity);
    let through = match &query.through {
        Some(through) => format!(
            "AND (tenant, time, identity) <= ({{through_tenant:String}}, {}, toUInt128('{}'))",
            instant(through.time_us),
            through.identity
        ),
        None => String::new(),
    };
    let limit = query.limit.map(|limit| format!("LIMIT {limit}")).unwrap_or_default();
    format!(
        "SELECT {COLUMNS}
         FROM raw_events
         WHERE {partition} AND type = {{type:String}} {tenant} AND stored_at < {begun}
           AND tenant >= {{after_tenant:String}} AND (tenant > {{after_tenant:String}} OR time >= {after_time})
           AND (tenant, time, identity) > ({{after_tenant:String}}, {after_time}, toUInt128('{after_identity}')) {through}
           AND identity NOT IN (
               SELECT identity FROM processed_events
               WHERE meter = {{meter:String}} {tenant} AND {partition} AND stored_at < {begun})
           AND (tenant, source, id) NOT IN (
               SELECT tenant, source, id FROM quarantined_events
               WHERE type = {{type:String}} AND meter = {{meter:String}} {tenant} AND {partition} AND stored_at < {begun}
               UNION ALL
               SELECT q.tenant, q.source, q.id FROM quarantined_events AS q
               LEFT ANTI JOIN (SELECT * FROM quarantine_releases WHERE {partition} AND stored_at < {begun}) AS r
                 ON q.stored_at = r.quarantined_at AND q.kafka_offset = r.kafka_offset AND q.meter = r.meter
               WHERE q.type = {{type:String}} AND q.meter = '' {q_tenant} AND q.kafka_topic = {{topic:String}}
                 AND q.kafka_partition = {{partition:Int32}} AND q.stored_at < {begun})
         ORDER BY tenant, type, time, identity {limit}",
        q_tenant = tenant.replace("tenant =", "q.tenant ="),
    )
}

impl From<BackfillAnswer> for Backfill {
    fn from(row: BackfillAnswer) -> Self {
        let BackfillAnswer { meter_id, begun_at_us, tenant, time_us, identity, done } = row;
        Self { meter_id, begun_at_us, through: RawPlace { tenant, time_us, identity }, done: done != 0 }
    }
}
