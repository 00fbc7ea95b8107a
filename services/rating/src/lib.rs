//! What an invoice is computed from: the terms of a period (Postgres), what its prices are told of usage (ClickHouse), and what
//! became known of earlier periods since. Whoever bills a period and whoever previews it ask here, so that they get the same.

mod late;

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{MeterSpec, SpecError},
    ids::{MeterName, TenantId},
    invoice::{InvoiceError, InvoiceInput, Metered, PriceUsage},
};
use meridian_records::{PeriodTerms, Records, Scope, StoreError, SubscriptionError, TenantRecords};
use meridian_usage_store::{PriceUsageError, PriceUsageQuery, UsageStore, UsageStoreError};

pub use late::Late;

/// Why a period cannot be rated.
#[derive(Debug, thiserror::Error)]
pub enum RatingError {
    #[error(transparent)]
    Records(#[from] StoreError),
    #[error(transparent)]
    Terms(#[from] SubscriptionError),
    #[error(transparent)]
    Usage(#[from] PriceUsageError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Uncomputable(#[from] InvoiceError),
}

impl From<UsageStoreError> for RatingError {
    fn from(error: UsageStoreError) -> Self {
        Self::Usage(error.into())
    }
}

/// The stores that know.
#[derive(Clone, Copy)]
pub struct Rating<'a> {
    pub records: &'a Records,
    pub usage: &'a UsageStore,
}

/// What a period's prices ask of usage.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub metered: Vec<Metered>,
    pub meters: BTreeMap<MeterName, (MeterSpec, i32)>,
}

impl Asked {
    pub fn of(terms: &PeriodTerms) -> Result<Self, SubscriptionError> {
        Ok(Self { metered: terms.metered()?, meters: terms.meters() })
    }

    /// Of usage stored before the cutoff.
    pub fn query<'a>(&'a self, terms: &'a PeriodTerms, stored_before: Timestamp) -> PriceUsageQuery<'a> {
        PriceUsageQuery {
            tenant: terms.subscription.tenant.as_str(),
            customer: terms.subscription.customer.as_str(),
            time_zone: &terms.subscription.time_zone,
            metered: &self.metered,
            meters: &self.meters,
            stored_before_us: Some(stored_before.as_microsecond()),
        }
    }
}

impl Rating<'_> {
    /// What each metered price of a period is told: one question for all that totals answer.
    pub async fn price_usage(
        &self,
        terms: &PeriodTerms,
        stored_before: Timestamp,
    ) -> Result<Vec<PriceUsage>, RatingError> {
        let asked = Asked::of(terms)?;
        Ok(self.usage.price_usage(&asked.query(terms, stored_before)).await?)
    }

    /// What the invoice of a period is computed from, but for the customer's credits. The terms learn of the meters that the late
    /// usage counts.
    pub async fn invoice_input(
        &self,
        terms: &mut PeriodTerms,
        stored_before: Timestamp,
    ) -> Result<InvoiceInput, RatingError> {
        let usage = self.price_usage(terms, stored_before).await?;
        let Late { usage: late, charges } = self.late_usage(terms, stored_before).await?;
        terms.charges.extend(charges);
        Ok(InvoiceInput { late, ..terms.invoice_input(usage, stored_before)? })
    }

    fn tenant(&self, tenant: &TenantId) -> TenantRecords {
        self.records.tenant(Scope::of(tenant.clone()))
    }
}
