//! What can go wrong with ClickHouse, told apart by what the caller should do: wait and retry, or look.

use clickhouse::error::Error as ClientError;

/// A failed call. The text names what was being done; it never holds a row or a password.
#[derive(Debug, thiserror::Error)]
pub enum UsageStoreError {
    /// No answer, or the answer was lost: the same call again is right (inserts carry their token).
    #[error("ClickHouse did not answer while {doing}")]
    Away { doing: &'static str, source: ClientError },
    /// ClickHouse answered with an exception: too many parts, memory, a missing table, a refused user.
    #[error("ClickHouse refused {doing}: {reason}")]
    Refused { doing: &'static str, code: Option<u32>, reason: String },
    /// The insert came after its own deadline and was refused by the server's clock (see `insert.rs`).
    #[error(
        "the insert into {table} arrived after its deadline and was refused; if it repeats, the clocks of this machine and ClickHouse differ"
    )]
    TooLate { table: &'static str },
    /// The store's schema is newer or older than this program knows.
    #[error("the ClickHouse schema is at version {found}, this program knows {known}: {advice}")]
    SchemaVersion { found: u32, known: u32, advice: &'static str },
    /// An answer that this program cannot read: a bug or a foreign table.
    #[error("an answer of ClickHouse while {doing} could not be read: {problem}")]
    Unreadable { doing: &'static str, problem: String },
}

/// Adds what was being done to the client's error.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, UsageStoreError>;
}

impl<T> Doing<T> for Result<T, ClientError> {
    fn doing(self, doing: &'static str) -> Result<T, UsageStoreError> {
        self.map_err(|error| match error {
            ClientError::BadResponse(reason) => {
                UsageStoreError::Refused { doing, code: exception_code(&reason), reason: first_line(&reason) }
            }
            source => UsageStoreError::Away { doing, source },
        })
    }
}

/// ClickHouse begins every exception with `Code: 395. DB::Exception: …`.
pub(crate) fn exception_code(reason: &str) -> Option<u32> {
    let digits = reason.split("Code: ").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// An exception may quote the data that it stumbled over; logs get the head of it only.
fn first_line(reason: &str) -> String {
    reason.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_tells_its_code() {
        assert_eq!(exception_code("Code: 252. DB::Exception: Too many parts"), Some(252));
        assert_eq!(exception_code("upstream connect error"), None);
    }
}
