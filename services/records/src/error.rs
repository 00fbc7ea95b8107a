//! What can go wrong between this crate and Postgres. Every module's own errors hold this one; rules that a module
//! enforces (a name is taken, an invoice is issued) are variants there, not here.

use std::fmt;

/// The SQLSTATE of our own trigger; MR001, a change of what is frozen, is a bug wherever it shows and has no name here.
pub(crate) const LINES_DO_NOT_ADD_UP: &str = "MR002";

/// The store did not do what was asked; the reason is in `source`.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct StoreError {
    pub doing: &'static str,
    #[source]
    pub source: Cause,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the database holds what this program cannot read: {0}")]
    Unreadable(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything: Postgres away, restarting, full, deadlocked.
    pub fn is_transient(&self) -> bool {
        match &self.source {
            Cause::Unreadable(_) => false,
            Cause::Database(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                // connection, transaction rollback, resources, operator intervention, system error
                ["08", "40", "53", "57", "58", "55P03"].iter().any(|class| code.starts_with(class))
            }
            Cause::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
                    | sqlx::Error::Protocol(_)
            ),
        }
    }

    pub(crate) fn unreadable(doing: &'static str, what: impl fmt::Display) -> Self {
        Self { doing, source: Cause::Unreadable(what.to_string()) }
    }

    /// The same for somebody else who asked for what could not be read.
    pub(crate) fn repeated(&self) -> Self {
        let Self { doing, source } = self;
        match source {
            Cause::Unreadable(what) => Self::unreadable(doing, what),
            Cause::Database(error) => Self::unreadable(doing, error),
        }
    }

    /// The SQLSTATE, when Postgres itself refused.
    pub(crate) fn sqlstate(&self) -> Option<String> {
        match &self.source {
            Cause::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }
}

/// Names what was being done when a query failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError { doing, source: Cause::Database(error) })
    }
}
