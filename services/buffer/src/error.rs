//! What can go wrong, in three sizes: one item, one call, one object.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// Why one item was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    #[error("the event and its keys take {bytes} bytes, the buffer takes {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("too many events wait for the buffer")]
    Overloaded,
    #[error("the buffer did not confirm in time")]
    Deadline,
    #[error("the buffer is throttling")]
    Throttled,
    #[error("the buffer cannot be reached: {0}")]
    Unavailable(String),
    #[error("the buffer refused the item: {0}")]
    Refused(String),
}

/// Why a call on the table failed.
#[derive(Debug, thiserror::Error)]
pub enum BufferError {
    #[error("cannot reach the buffer while {doing}: {reason}")]
    Unavailable { doing: &'static str, reason: String },
    #[error("the buffer throttles while {doing}")]
    Throttled { doing: &'static str },
    #[error("the buffer refused while {doing}: {reason}")]
    Refused { doing: &'static str, reason: String },
    #[error(
        "table {table} exists with other keys than pk (S) and sk (S): name another table, or remove that one"
    )]
    OtherSchema { table: String },
    #[error("table {table} is not active after {seconds} s")]
    NotActive { table: String, seconds: u64 },
    #[error("an item under {partition} has no readable attribute {attribute}")]
    Damaged { partition: String, attribute: &'static str },
    #[error("{0} outbox items were not deleted: they will be produced again, which is harmless")]
    NotDeleted(usize),
}

/// Why a call on the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectStoreError {
    #[error("cannot reach the object store while {doing}: {reason}")]
    Unavailable { doing: &'static str, reason: String },
    #[error("the object store refused while {doing}: {reason}")]
    Refused { doing: &'static str, reason: String },
}

impl BufferError {
    pub(crate) fn of<E, R>(doing: &'static str, error: SdkError<E, R>) -> BufferError
    where
        SdkError<E, R>: std::error::Error + 'static,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        match Fault::of(&error) {
            Fault::Throttled => BufferError::Throttled { doing },
            Fault::Refused => BufferError::Refused { doing, reason: reason(error) },
            Fault::Unavailable => BufferError::Unavailable { doing, reason: reason(error) },
        }
    }
}

impl ObjectStoreError {
    pub(crate) fn of<E, R>(doing: &'static str, error: SdkError<E, R>) -> ObjectStoreError
    where
        SdkError<E, R>: std::error::Error + 'static,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        match Fault::of(&error) {
            Fault::Refused => ObjectStoreError::Refused { doing, reason: reason(error) },
            Fault::Throttled | Fault::Unavailable => {
                ObjectStoreError::Unavailable { doing, reason: reason(error) }
            }
        }
    }
}

impl PutError {
    pub(crate) fn of<E, R>(error: SdkError<E, R>) -> PutError
    where
        SdkError<E, R>: std::error::Error + 'static,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        // Only a validation names the items. A missing table or a wrong credential is the store's state: as good as
        // away, and no reason to look for the one bad item in every batch.
        let items = error.as_service_error().is_some_and(|e| e.code() == Some("ValidationException"));
        match Fault::of(&error) {
            Fault::Throttled => PutError::Throttled,
            Fault::Refused if items => PutError::Refused(reason(error)),
            Fault::Refused | Fault::Unavailable => PutError::Unavailable(reason(error)),
        }
    }
}

/// The three answers that a caller treats differently: slow down, never send this again, try later.
enum Fault {
    Throttled,
    Refused,
    Unavailable,
}

impl Fault {
    fn of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Fault {
        let SdkError::ServiceError(service) = error else { return Fault::Unavailable };
        match service.err().code() {
            Some(
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "SlowDown",
            ) => Fault::Throttled,
            None | Some("InternalServerError" | "InternalError" | "ServiceUnavailable") => Fault::Unavailable,
            Some(_) => Fault::Refused,
        }
    }
}

/// The whole chain in one line: the SDK's own Display says only "dispatch failure".
fn reason<E, R>(error: SdkError<E, R>) -> String
where
    SdkError<E, R>: std::error::Error + 'static,
    E: ProvideErrorMetadata,
{
    if let SdkError::ServiceError(service) = &error {
        let error = service.err();
        return format!("{}: {}", error.code().unwrap_or("no code"), error.message().unwrap_or("no message"));
    }
    let mut line = String::new();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = source {
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}
