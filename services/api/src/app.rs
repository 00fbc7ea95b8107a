//! What a handler is given: the stores, the key cache and the way to Temporal. One instance for both ports.

use std::sync::Arc;

use meridian_billing::ids::TenantId;
use meridian_rating::Rating;
use meridian_records::Records;
use meridian_usage_store::UsageStore;

use crate::{auth::KeyCache, billing_runs::BillingRuns, config::Limits, metrics::RequestMetrics};

#[derive(Clone)]
pub struct App {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub records: Records,
    pub usage: UsageStore,
    pub billing_runs: BillingRuns,
    pub keys: KeyCache,
    pub limits: Limits,
    pub metrics: RequestMetrics,
    pub control_token_hash: [u8; 32],
    pub dedicated_tenant: Option<TenantId>,
}

/// What an [`App`] is made of.
pub struct AppOptions {
    pub records: Records,
    pub usage: UsageStore,
    pub billing_runs: BillingRuns,
    pub limits: Limits,
    pub control_token: String,
    pub dedicated_tenant: Option<TenantId>,
}

impl App {
    pub fn new(options: AppOptions, registry: &mut prometheus_client::registry::Registry) -> Self {
        let AppOptions { records, usage, billing_runs, limits, control_token, dedicated_tenant } = options;
        let parts = Parts {
            keys: KeyCache::new(records.clone(), limits.api_key_cache),
            records,
            usage,
            billing_runs,
            limits,
            metrics: RequestMetrics::register(registry),
            control_token_hash: crate::auth::sha256(control_token.as_bytes()),
            dedicated_tenant,
        };
        Self { parts: Arc::new(parts) }
    }

    pub(crate) fn records(&self) -> &Records {
        &self.parts.records
    }

    pub(crate) fn rating(&self) -> Rating<'_> {
        Rating { records: &self.parts.records, usage: &self.parts.usage }
    }

    pub(crate) fn usage(&self) -> &UsageStore {
        &self.parts.usage
    }
}
