//! The connection: an HTTP client with LZ4, its time limits, and the check that it is alive.

use std::time::Duration;

use clickhouse::{Client, Compression};

use crate::{
    error::{Doing, UsageStoreError},
    insert::ServerClock,
};

/// Longest that a question may run on the server before it gives up, in seconds.
const QUERY_SECONDS_MAX: u32 = 60;
/// Longest wait for an answer to a question; a little more than the server's own limit, so that its reason arrives.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(65);

/// Where ClickHouse is.
#[derive(Clone)]
pub struct ClickHouseOptions {
    /// `http://host:8123`, or `https://host:8443`: the server's certificate must be signed by one of the system's authorities.
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for ClickHouseOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClickHouse {} database {} user {}", self.url, self.database, self.user)
    }
}

/// The store of usage. Cheap to clone; connects when first used.
#[derive(Clone)]
pub struct UsageStore {
    pub(crate) client: Client,
    pub(crate) database: String,
    pub(crate) clock: ServerClock,
}

impl UsageStore {
    pub fn connect(options: &ClickHouseOptions) -> Self {
        let client = Client::default()
            .with_url(&options.url)
            .with_database(&options.database)
            .with_user(&options.user)
            .with_password(&options.password)
            .with_compression(Compression::Lz4)
            // Our inserts are hand-made Native blocks and our reads name their columns: the client's own schema
            // look-ups would be one more question per insert.
            .with_validation(false)
            .with_setting("max_execution_time", QUERY_SECONDS_MAX.to_string());
        Self { client, database: options.database.clone(), clock: ServerClock::unknown() }
    }

    /// Answers, with our user. For readiness that is reported and never gates.
    pub async fn ping(&self) -> Result<(), UsageStoreError> {
        let one: u8 = answered(
            "asking whether ClickHouse is alive",
            self.client.query("SELECT toUInt8(1)").fetch_one(),
        )
        .await?;
        debug_assert_eq!(one, 1);
        Ok(())
    }
}

/// A question with its limit: a server that accepts a connection and says nothing is as away as one that refuses.
pub(crate) async fn answered<T>(
    doing: &'static str,
    question: impl Future<Output = clickhouse::error::Result<T>>,
) -> Result<T, UsageStoreError> {
    match tokio::time::timeout(ANSWER_WAIT_MAX, question).await {
        Ok(answer) => answer.doing(doing),
        Err(_) => Err(UsageStoreError::Away { doing, source: clickhouse::error::Error::TimedOut }),
    }
}
