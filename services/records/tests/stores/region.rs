//! A region of one test: a fresh schema with the migrations run, and short ways to fill it.

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, TenantSpec},
    ids::{MeterName, PlanName, TenantId},
    invoice::{Computation, PriceUsage},
    ledger::GrantSpec,
    subscription::{BillingAnchor, CustomTerms},
};
use meridian_records::{
    ApiKeyHash, By, Customer, Grant, Invoice, InvoiceDraft, NewCustomer, NewSubscription, PeriodTerms,
    PostgresOptions, Records, Scope, Source, Subscription, TenantRecords, TenantRequest, connect,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub struct Region {
    pub records: Records,
    pub schema: String,
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run e2e/stores/up postgres and eval \"$(e2e/stores/env)\" before these tests"
        )
    })
}

pub fn options(schema: &str) -> PostgresOptions {
    let port = variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port");
    let mut options = PostgresOptions::new(
        &variable("MERIDIAN_POSTGRES_HOST"),
        port,
        &variable("MERIDIAN_POSTGRES_DATABASE"),
        &variable("MERIDIAN_POSTGRES_USER"),
        &variable("MERIDIAN_POSTGRES_PASSWORD"),
    );
    options.schema = Some(schema.to_owned());
    options
}

/// The owner's own connection, past every type of this crate: what somebody with psql could do.
pub async fn raw_connection(schema: &str) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&variable("MERIDIAN_POSTGRES_HOST"))
        .port(variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"))
        .database(&variable("MERIDIAN_POSTGRES_DATABASE"))
        .username(&variable("MERIDIAN_POSTGRES_USER"))
        .password(&variable("MERIDIAN_POSTGRES_PASSWORD"))
        .options([("search_path", schema)]);
    PgConnection::connect_with(&options).await.expect("Postgres answers")
}

pub fn by() -> By {
    By::new("test", "because the test says so")
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant's name")
}

pub fn source(uid: &str, generation: i64) -> Source {
    Source { uid: uid.to_owned(), generation }
}

pub fn meter_spec(more: Value) -> MeterSpec {
    MeterSpec::from_json(&merged(
        json!({"regionRef": {"name": "test"}, "eventType": "api.call", "aggregation": "Count"}),
        more,
    ))
    .expect("a meter")
}

/// Base 100, 10,000 calls included, 0.01 beyond.
pub fn plan_spec(more: Value) -> PlanSpec {
    PlanSpec::from_json(&merged(
        json!({
            "regionRef": {"name": "test"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
            "prices": [
                {"name": "base", "flat": {"amount": "100"}},
                {"name": "calls", "meterRef": {"name": "api-calls"}, "included": "10000", "perUnit": {"amount": "0.01"}},
            ],
        }),
        more,
    ))
    .expect("a plan")
}

pub fn tenant_request(name: &str, generation: i64, more: Value, keys: &[(&str, char)]) -> TenantRequest {
    let keys: Vec<ApiKeyHash> = keys
        .iter()
        .map(|(name, digit)| ApiKeyHash { name: (*name).to_owned(), hash: digit.to_string().repeat(64) })
        .collect();
    let api_keys: Vec<Value> =
        keys.iter().map(|key| json!({"name": key.name, "secretRef": {"name": key.name}})).collect();
    TenantRequest {
        name: tenant(name),
        source: source(&format!("uid-{name}"), generation),
        spec: TenantSpec::from_json(&merged(
            json!({"regionRef": {"name": "test"}, "apiKeys": api_keys}),
            more,
        ))
        .expect("a tenant"),
        api_keys: keys,
        dedicated_to: None,
    }
}

fn merged(mut base: Value, more: Value) -> Value {
    let (Some(base_fields), Value::Object(more)) = (base.as_object_mut(), more) else {
        panic!("two objects")
    };
    base_fields.extend(more);
    base
}

impl Region {
    pub async fn start() -> Self {
        let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
        let mut admin = raw_connection("public").await;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
            .execute(&mut admin)
            .await
            .expect("schema");
        let records = connect(&options(&schema)).expect("options");
        records.migrate(VERSION).await.expect("the migrations run");
        Self { records, schema }
    }

    /// Only a test that passed tidies up: what a failed one left can be looked at.
    pub async fn end(self) {
        let mut admin = raw_connection("public").await;
        let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut admin).await.expect("schema");
    }

    pub async fn raw(&self) -> PgConnection {
        raw_connection(&self.schema).await
    }

    /// The owner's connection with the door to every tenant opened.
    pub async fn raw_over_all(&self) -> PgConnection {
        let mut connection = self.raw().await;
        sqlx::query("SET meridian.every_tenant = 'on'").execute(&mut connection).await.expect("set");
        connection
    }

    pub fn tenant(&self, name: &str) -> TenantRecords {
        self.records.tenant(Scope::of(tenant(name)))
    }

    /// Meter api-calls and plan starter.
    pub async fn with_catalogue(self) -> Self {
        let meter = MeterName::new("api-calls").expect("a name");
        let plan = PlanName::new("starter").expect("a name");
        self.records.put_meter(&meter, &source("m1", 1), &meter_spec(json!({})), &by()).await.expect("meter");
        self.records.put_plan(&plan, &source("p1", 1), &plan_spec(json!({})), &by()).await.expect("plan");
        self
    }

    /// A tenant that the platform bills from 1 July 2026 on, with one key whose hash is `digit` 64 times.
    pub async fn add_tenant(&self, name: &str, digit: char) -> Subscription {
        let more = json!({"planRef": {"name": "starter"}, "billingStart": "2026-07-01T00:00:00Z"});
        let request = tenant_request(name, 1, more, &[("default", digit)]);
        self.records.put_tenant(&request, &by()).await.expect("tenant");
        let listed =
            self.tenant(name).subscriptions(None, &meridian_records::Page::first(10)).await.expect("list");
        listed.items.into_iter().next().expect("the tenant's own subscription")
    }

    /// Tenant acme, with that many monthly subscriptions of customers from 1 July 2026 on.
    pub async fn subscribe(&self, count: usize, terms: &Value) -> Vec<Subscription> {
        self.add_tenant("acme", 'a').await;
        let acme = self.tenant("acme");
        let mut made = Vec::new();
        for number in 0..count {
            let new = NewCustomer {
                key: format!("customer-{number}").parse().expect("a key"),
                name: String::new(),
                time_zone: "Europe/Berlin".to_owned(),
                metadata: json!({}),
            };
            let customer = acme.create_customer(&new, Uuid::now_v7(), &by()).await.expect("customer");
            let starts_at = "2026-07-01T00:00:00Z".parse().expect("an instant");
            let new = NewSubscription {
                customer_id: customer.id,
                plan: "starter".parse().expect("a name"),
                starts_at,
                ends_at: None,
                anchor: BillingAnchor::Anniversary,
                time_zone: None,
                terms: CustomTerms::from_json(terms).expect("terms"),
            };
            made.push(acme.create_subscription(&new, Uuid::now_v7(), &by()).await.expect("subscription"));
        }
        made
    }

    /// The issued invoice of the subscription's first period, for that many calls.
    pub async fn issued(&self, subscription: &Subscription, calls: i64) -> Invoice {
        let tenant = self.tenant(subscription.tenant.as_str());
        let draft = draft(&self.terms(subscription, None).await, calls, "2026-08-02T00:00:00Z");
        let saved = tenant.save_invoice(&draft, &by()).await.expect("saved");
        let at = "2026-08-03T00:00:00Z".parse().expect("an instant");
        tenant.issue_invoice(&saved.invoice.id, at, &by()).await.expect("issued")
    }

    /// A customer of the tenant, which must be there.
    pub async fn add_customer(&self, tenant: &str, key: &str) -> Customer {
        let new = NewCustomer {
            key: key.parse().expect("a key"),
            name: String::new(),
            time_zone: "UTC".to_owned(),
            metadata: json!({}),
        };
        self.tenant(tenant).create_customer(&new, Uuid::now_v7(), &by()).await.expect("customer")
    }

    /// Subscribes a customer to plan starter from 1 July 2026 on.
    pub async fn subscribe_customer(&self, tenant: &str, customer: &Customer) -> Subscription {
        let new = NewSubscription {
            customer_id: customer.id.clone(),
            plan: PlanName::new("starter").expect("a name"),
            starts_at: "2026-07-01T00:00:00Z".parse().expect("an instant"),
            ends_at: None,
            anchor: BillingAnchor::Calendar,
            time_zone: None,
            terms: Default::default(),
        };
        self.tenant(tenant).create_subscription(&new, Uuid::now_v7(), &by()).await.expect("subscription")
    }

    /// A draft of July for that many calls: 100, and a cent for each beyond 10,000.
    pub async fn save_july(&self, subscription: &Subscription, calls: i64) -> Invoice {
        let terms = self.terms(subscription, Some("2026-07-01T00:00:00Z")).await;
        let tenant = self.tenant(subscription.tenant.as_str());
        let draft = draft(&terms, calls, "2026-08-02T00:00:00Z");
        tenant.save_invoice(&draft, &by()).await.expect("saved").invoice
    }

    /// Gives a customer credits, as JSON beside name and currency, as of `now`.
    pub async fn grant(&self, tenant: &str, customer_id: &str, name: &str, now: &str, more: Value) -> Grant {
        let spec =
            GrantSpec::from_json(&merged(json!({"name": name, "currency": "USD"}), more)).expect("a grant");
        let now = now.parse().expect("an instant");
        self.tenant(tenant)
            .create_grant(customer_id, &spec, now, Uuid::now_v7(), &by())
            .await
            .expect("granted")
    }

    pub async fn terms(&self, subscription: &Subscription, start: Option<&str>) -> PeriodTerms {
        let start = start.map(|text| text.parse().expect("an instant"));
        let tenant = self.tenant(subscription.tenant.as_str());
        tenant.period_terms(&subscription.id, start).await.expect("terms")
    }
}

/// The invoice of that period for that many calls, counted up to `stored_before`.
pub fn draft(terms: &PeriodTerms, calls: i64, stored_before: &str) -> InvoiceDraft {
    let quantity = meridian_billing::decimal::Quantity::from_integer(calls);
    let metered = terms.metered().expect("a plan");
    let usage = metered.iter().map(|price| PriceUsage::total(price, quantity, calls as u64, 1)).collect();
    let input = terms.invoice_input(usage, stored_before.parse().expect("an instant")).expect("an input");
    InvoiceDraft::of(&Computation::of(input).expect("it computes"), terms)
}
