//! Where the two stores are and how hard to push. Filled by each service from its settings.

use std::time::Duration;

use secrecy::SecretString;

/// The DynamoDB API. Credentials and region are given, never looked up: the metadata service would cost seconds
/// at every start outside AWS.
#[derive(Clone, Debug)]
pub struct BufferOptions {
    /// Absent: AWS's own endpoint for the region.
    pub endpoint: Option<String>,
    pub aws_region: String,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub table: String,
}

/// The S3 API. With an endpoint, buckets are addressed by path, as every S3 server but AWS's own expects.
#[derive(Clone, Debug)]
pub struct ObjectStoreOptions {
    pub endpoint: Option<String>,
    pub aws_region: String,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub bucket: String,
}

/// The bounds of the group commit.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// BatchWriteItem calls under way at once.
    pub batches_in_flight: usize,
    /// Events accepted and not yet answered; more are refused at once with `PutError::Overloaded`. Must be at
    /// least the largest request.
    pub events_queued_max: usize,
    /// How long a batch that is not full waits for company while another is under way. With nothing under way
    /// it leaves at once.
    pub linger: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { batches_in_flight: 16, events_queued_max: 20_000, linger: Duration::from_millis(2) }
    }
}
