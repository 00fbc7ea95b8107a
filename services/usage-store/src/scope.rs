//! Whose usage a query may see. A `Scope` comes from a credential, never from a request's body or path.

use clickhouse::Client;
use meridian_billing::ids::TenantId;

/// The tables that hold tenants' rows: each is filtered by the server for a scoped query.
const TENANT_TABLES: [&str; 5] =
    ["raw_events", "processed_events", "usage_by_minute", "quarantined_events", "event_conflicts"];

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    tenant: TenantId,
}

impl Scope {
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The second wall: a client whose every query is filtered by the server, whatever its text says.
    ///
    /// ClickHouse's own row policies need a user for each tenant, or custom settings, and neither exists in every server
    /// that we run on; `additional_table_filters` does the same for each query and is part of every server.
    pub(crate) fn client(&self, client: &Client) -> Client {
        client.clone().with_setting("additional_table_filters", self.table_filters())
    }

    /// A map literal, `{'raw_events': 'tenant = \'acme\'', …}`. A tenant is a DNS name (`TenantId` checks it), so that
    /// nothing in it could need escaping.
    fn table_filters(&self) -> String {
        let filters: Vec<String> =
            TENANT_TABLES.iter().map(|table| format!(r"'{table}': 'tenant = \'{}\''", self.tenant)).collect();
        format!("{{{}}}", filters.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_filters_every_table_that_holds_rows_of_tenants() {
        let filters = Scope::of(TenantId::new("acme").expect("a tenant")).table_filters();
        assert!(filters.starts_with(r"{'raw_events': 'tenant = \'acme\'', "), "{filters}");
        assert_eq!(filters.matches(r"tenant = \'acme\'").count(), TENANT_TABLES.len());
    }
}
