//! The buffer's one table: two string keys, on-demand capacity, and time to live where the store has it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
        TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};

use crate::{BufferError, BufferOptions, client};

const ACTIVE_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// What `create_table` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableReport {
    pub created: bool,
    pub time_to_live: TimeToLive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    Enabled,
    /// The store has no time to live (dynalite): items carry `expires_at` all the same, and expiring them is the
    /// archiver's work.
    Unsupported,
}

/// Makes the table unless it is there, waits until it serves, and turns time to live on. Safe to repeat and to
/// run twice at once.
pub async fn create_table(options: &BufferOptions) -> Result<TableReport, BufferError> {
    let client = client::dynamodb(options);
    let created = create(&client, &options.table).await?;
    let description = wait_active(&client, &options.table).await?;
    if !has_our_keys(&description) {
        return Err(BufferError::OtherSchema { table: options.table.clone() });
    }
    let time_to_live = enable_time_to_live(&client, &options.table).await?;
    Ok(TableReport { created, time_to_live })
}

async fn create(client: &Client, table: &str) -> Result<bool, BufferError> {
    let text = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("name and type are set")
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("name and type are set")
    };
    let answer = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(text("pk"))
        .attribute_definitions(text("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .send()
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => Ok(false),
        Err(error) => Err(BufferError::of("creating the table", error)),
    }
}

async fn wait_active(client: &Client, table: &str) -> Result<TableDescription, BufferError> {
    let waited = tokio::time::timeout(ACTIVE_WITHIN, async {
        loop {
            let answer = client.describe_table().table_name(table).send().await;
            match answer {
                Ok(found) => match found.table {
                    Some(found) if found.table_status == Some(TableStatus::Active) => return Ok(found),
                    _ => {}
                },
                // Right after its creation a table may not be described yet.
                Err(error)
                    if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {}
                Err(error) => return Err(BufferError::of("describing the table", error)),
            }
            tokio::time::sleep(POLL).await;
        }
    });
    waited.await.unwrap_or_else(|_| {
        Err(BufferError::NotActive { table: table.to_owned(), seconds: ACTIVE_WITHIN.as_secs() })
    })
}

fn has_our_keys(table: &TableDescription) -> bool {
    let keys: Vec<_> =
        table.key_schema().iter().map(|k| (k.attribute_name(), k.key_type().clone())).collect();
    let strings = table.attribute_definitions().iter().all(|a| *a.attribute_type() == ScalarAttributeType::S);
    keys == [("pk", KeyType::Hash), ("sk", KeyType::Range)] && strings
}

async fn enable_time_to_live(client: &Client, table: &str) -> Result<TimeToLive, BufferError> {
    match client.describe_time_to_live().table_name(table).send().await {
        Ok(found) => {
            let status = found.time_to_live_description.and_then(|d| d.time_to_live_status);
            if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
                return Ok(TimeToLive::Enabled);
            }
        }
        Err(error) if is_unsupported(&error) => return Ok(TimeToLive::Unsupported),
        Err(error) => return Err(BufferError::of("reading the table's time to live", error)),
    }
    let wish = TimeToLiveSpecification::builder()
        .attribute_name("expires_at")
        .enabled(true)
        .build()
        .expect("attribute and switch are set");
    match client.update_time_to_live().table_name(table).time_to_live_specification(wish).send().await {
        Ok(_) => Ok(TimeToLive::Enabled),
        Err(error) if is_unsupported(&error) => Ok(TimeToLive::Unsupported),
        Err(error) => Err(BufferError::of("setting the table's time to live", error)),
    }
}

fn is_unsupported<E, R>(error: &aws_sdk_dynamodb::error::SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
{
    matches!(error.as_service_error().and_then(|e| e.code()), Some("UnknownOperationException"))
}
