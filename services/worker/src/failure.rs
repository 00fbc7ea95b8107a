//! What a step's failure means for its workflow: try again until it works, or stop and show it.
//!
//! A store that is away comes back, and one that answers nonsense is mended by somebody: retrying a read or an idempotent
//! write loses nothing and goes on by itself, and the failure is visible all the while (Temporal's pending activities,
//! `meridian_worker_step_failures_total`). Only what the data itself forbids stops a workflow: an unknown subscription, a plan
//! that cannot be rated. Its code is the failure's type in Temporal and stable.

use meridian_billing::invoice as billing;
use meridian_rating::RatingError;
use meridian_records::{InvoiceError, StoreError, SubscriptionError};
use meridian_usage_store::{PriceUsageError, UsageStoreError};
use temporalio_common::ActivityError;
use temporalio_sdk::ApplicationFailure;

#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Trying again cannot help.
    #[error("{error:#}")]
    Permanent { code: &'static str, error: anyhow::Error },
    /// Trying again may help.
    #[error("{0:#}")]
    Retry(anyhow::Error),
}

impl StepError {
    pub fn permanent(code: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::Permanent { code, error: error.into() }
    }

    /// The worker is stopping, or the workflow was cancelled. A failure that may be retried is right for both: another worker
    /// goes on, and the server retries no step of a cancelled workflow.
    pub fn stopped() -> Self {
        Self::Retry(anyhow::anyhow!("the worker is stopping or the workflow was cancelled"))
    }

    /// A store is away or busy: it would fail whoever asks, whatever they ask for.
    pub fn is_of_a_store_that_is_away(&self) -> bool {
        let Self::Retry(error) = self else { return false };
        let records = error.downcast_ref::<StoreError>().is_some_and(StoreError::is_transient);
        records || matches!(error.downcast_ref(), Some(UsageStoreError::Away { .. }))
    }

    /// For the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permanent { code, error: _ } => code,
            Self::Retry(_) => "Retried",
        }
    }
}

impl StepError {
    /// What Temporal is told.
    pub fn into_activity_error(self) -> ActivityError {
        match self {
            Self::Permanent { code, error } => ActivityError::application(
                ApplicationFailure::builder(anyhow::anyhow!("{error:#}"))
                    .type_name(code.to_owned())
                    .non_retryable(true)
                    .build(),
            ),
            Self::Retry(error) => {
                ActivityError::application(ApplicationFailure::new(anyhow::anyhow!("{error:#}")))
            }
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.into())
    }
}

impl From<UsageStoreError> for StepError {
    fn from(error: UsageStoreError) -> Self {
        Self::Retry(error.into())
    }
}

impl From<SubscriptionError> for StepError {
    fn from(error: SubscriptionError) -> Self {
        let code = match error {
            SubscriptionError::Store(error) => return error.into(),
            SubscriptionError::NotFound => "NoSuchSubscription",
            SubscriptionError::NoSuchPeriod(_) => "NoSuchPeriod",
            SubscriptionError::NothingToBill => "NothingToBill",
            SubscriptionError::NoSuchCustomer
            | SubscriptionError::NoSuchPlan(_)
            | SubscriptionError::ManagedByKubernetes
            | SubscriptionError::EndsBeforeStart
            | SubscriptionError::OutOfRange { .. }
            | SubscriptionError::Terms(_)
            | SubscriptionError::Unbillable(_)
            | SubscriptionError::AlreadyBilled { .. }
            | SubscriptionError::ChargedAhead { .. }
            | SubscriptionError::NoSuchChange(_)
            | SubscriptionError::ChangeInForce(_)
            | SubscriptionError::Timeline(_)
            | SubscriptionError::Period(_) => "SubscriptionNotBillable",
        };
        Self::permanent(code, error)
    }
}

impl From<InvoiceError> for StepError {
    fn from(error: InvoiceError) -> Self {
        let code = match error {
            InvoiceError::Store(error) => return error.into(),
            InvoiceError::NotFound => "NoSuchInvoice",
            InvoiceError::NoSuchSubscription => "NoSuchSubscription",
            InvoiceError::Refused(_)
            | InvoiceError::Credited
            | InvoiceError::BuiltUpon
            | InvoiceError::LateUsageBilled
            | InvoiceError::ChargedAhead => "InvoiceNotIssuable",
            // The next sweep computes it anew.
            InvoiceError::LateUsageOutdated | InvoiceError::TermsOutdated => "DraftOutdated",
            InvoiceError::LinesDoNotAddUp { .. } | InvoiceError::Corrupt(_) => "LinesDoNotAddUp",
            InvoiceError::OtherEngine { .. } => "DraftOfAnotherEngine",
            InvoiceError::Unproven(_) => "DraftUnproven",
            InvoiceError::Credits(_) => "CreditsUnspendable",
        };
        Self::permanent(code, error)
    }
}

impl From<PriceUsageError> for StepError {
    fn from(error: PriceUsageError) -> Self {
        match error {
            PriceUsageError::Store(error) => error.into(),
            PriceUsageError::NoMeter { .. } => Self::permanent("CannotBeRated", error),
            PriceUsageError::Unmeasurable { .. } => Self::permanent("UsageUnreadable", error),
        }
    }
}

impl From<billing::InvoiceError> for StepError {
    fn from(error: billing::InvoiceError) -> Self {
        Self::permanent("CannotBeRated", error)
    }
}

impl From<RatingError> for StepError {
    fn from(error: RatingError) -> Self {
        match error {
            RatingError::Records(error) => error.into(),
            RatingError::Terms(error) => error.into(),
            RatingError::Usage(error) => error.into(),
            RatingError::Spec(error) => Self::permanent("CannotBeRated", error),
            RatingError::Uncomputable(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_billing::invoice_state::Refusal;
    use meridian_records::PostgresOptions;
    use meridian_usage_store::{ClickHouseOptions, UsageStore};

    use super::*;

    #[test]
    fn what_the_data_forbids_is_permanent_and_named() {
        for (error, code) in [
            (StepError::from(SubscriptionError::NotFound), "NoSuchSubscription"),
            (StepError::from(SubscriptionError::NothingToBill), "NothingToBill"),
            (StepError::from(InvoiceError::NotFound), "NoSuchInvoice"),
            (StepError::from(InvoiceError::Refused(Refusal::Void)), "InvoiceNotIssuable"),
            (StepError::from(billing::InvoiceError::EngineVersion(9)), "CannotBeRated"),
        ] {
            assert_eq!(error.code(), code);
            let ActivityError::Application(failure) = error.into_activity_error() else {
                panic!("an application failure")
            };
            assert!(failure.is_non_retryable());
            assert_eq!(failure.type_name(), Some(code));
        }
    }

    #[test]
    fn a_store_that_is_away_is_tried_again() {
        let away =
            UsageStoreError::Refused { doing: "reading", code: Some(202), reason: "too many queries".into() };
        let ActivityError::Application(failure) = StepError::from(away).into_activity_error() else {
            panic!("an application failure")
        };
        assert!(!failure.is_non_retryable());
        assert!(failure.source_error().to_string().contains("too many queries"));
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_told_from_one_that_refuses() {
        let nobody = ClickHouseOptions {
            url: "http://127.0.0.1:1".into(),
            database: String::new(),
            user: String::new(),
            password: String::new(),
        };
        let away = UsageStore::connect(&nobody).ping().await.expect_err("nobody listens");
        assert!(StepError::from(away).is_of_a_store_that_is_away());
        let options = PostgresOptions::new("127.0.0.1", 1, "none", "none", "none");
        let records = meridian_records::connect(&options).expect("options");
        let away = records.catalogue_version().await.expect_err("nobody listens");
        assert!(StepError::from(away).is_of_a_store_that_is_away());
        let refused = UsageStoreError::Refused { doing: "reading", code: None, reason: "no".into() };
        assert!(!StepError::from(refused).is_of_a_store_that_is_away());
        assert!(!StepError::from(SubscriptionError::NotFound).is_of_a_store_that_is_away());
    }
}
