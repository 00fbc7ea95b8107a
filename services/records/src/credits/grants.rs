//! Grants as they are given: written once, never changed. What becomes of one is in the ledger.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{SpecError, SpecErrorCode},
    ids::CustomerKey,
    ledger::{GrantError, GrantSpec, materialise},
    money::Currency,
};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{CreditError, LedgerKey, held};
use crate::{
    By, Listed, Page, TenantRecords, audit,
    catalogue::parsed,
    error::{Doing, StoreError},
    id::{self, Kind},
    instant::{self, Instant},
    subscriptions::{BILLED_FROM, BILLED_UNTIL},
};

/// Most recurrences that a new grant may have behind it: each becomes entries at once.
const RECURRENCES_BEHIND_MAX: usize = 1_000;

/// A grant of a customer. A recurring one stands here once.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// `grant_…`
    pub id: String,
    /// `cus_…`
    pub customer_id: String,
    pub currency: Currency,
    /// The zone in which it recurs: the customer's when it was given.
    pub time_zone: String,
    pub spec: GrantSpec,
    pub created_at: Timestamp,
}

impl TenantRecords {
    /// Gives a customer (`cus_…`) credits, and puts into the ledger what of it has begun by `now`. `seed` decides the id: the
    /// same seed again returns the grant that it made.
    pub async fn create_grant(
        &self,
        customer_id: &str,
        spec: &GrantSpec,
        now: Timestamp,
        seed: Uuid,
        by: &By,
    ) -> Result<Grant, CreditError> {
        let tenant = self.scope.tenant().as_str();
        let id = id::from_seed(Kind::Grant, seed);
        let mut transaction = self.scope.begin(&self.pool).await?;
        if let Some(made_before) = find(&mut transaction, tenant, &id).await? {
            return Ok(made_before);
        }
        let (customer, time_zone) = customer(&mut transaction, tenant, customer_id).await?;
        let currency = check(spec, &time_zone, now)?;
        let key = self.ledger_key(customer_id, currency);
        let lock = held::lock_or_make(&mut transaction, &key).await?;
        let Some(grant) = insert(&mut transaction, &key, &id, spec, &time_zone).await? else {
            // The same request may have run beside this one; the lock made us wait for it.
            let made_before = find(&mut transaction, tenant, &id).await?;
            return made_before.ok_or_else(|| CreditError::NameTaken(spec.name.to_string()));
        };
        let mut ledger = lock.load(&mut transaction).await?;
        ledger.bring_to(now)?;
        ledger.store(&mut transaction, now).await?;
        let detail = json!({
            "customer": customer, "customer_id": customer_id, "spec": spec, "time_zone": time_zone,
        });
        audit::record(&mut transaction, Some(tenant), by, "grant.create", &id, detail).await?;
        transaction.commit().await.doing("creating a grant")?;
        Ok(grant)
    }

    /// The grants of a customer (`cus_…`), in order of making.
    pub async fn grants(&self, customer_id: &str, page: &Page) -> Result<Listed<Grant>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT * FROM credit_grants WHERE tenant = $1 AND customer_id = $2 AND grant_id > $3
             ORDER BY grant_id LIMIT $4",
        )
        .bind(self.scope.tenant().as_str())
        .bind(customer_id)
        .bind(page.after_id())
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing grants")?;
        let grants = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(grants, |grant| grant.id.clone()))
    }
}

/// What a spec must be beyond what the core asks of every grant. Returns its currency.
fn check(spec: &GrantSpec, time_zone: &str, now: Timestamp) -> Result<Currency, CreditError> {
    spec.validate()?;
    let currency =
        spec.currency.ok_or_else(|| SpecError::missing("currency", "say which currency the amount is in"))?;
    for (field, instant) in [("effectiveAt", Some(spec.effective_at)), ("expiresAt", spec.expires_at)] {
        if instant.is_some_and(|instant| instant.subsec_nanosecond() % 1_000 != 0) {
            return Err(out_of_range(field, "instants are kept to the microsecond").into());
        }
        if instant.is_some_and(|instant| !(BILLED_FROM..=BILLED_UNTIL).contains(&instant)) {
            let detail = format!("must be between {BILLED_FROM} and {BILLED_UNTIL}");
            return Err(out_of_range(field, &detail).into());
        }
    }
    // Its first recurrence is made now even where it lies ahead: what cannot be made must not be found out by an invoice.
    match materialise(std::slice::from_ref(spec), currency, time_zone, now.max(spec.effective_at)) {
        Ok(made) if made.len() <= RECURRENCES_BEHIND_MAX => Ok(currency),
        Ok(_) | Err(GrantError::TooManyRecurrences(_)) => {
            let detail = "it would have recurred more than 1,000 times by now: let it begin later";
            Err(out_of_range("effectiveAt", detail).into())
        }
        Err(error @ GrantError::Period { .. }) => Err(out_of_range("effectiveAt", &error.to_string()).into()),
        Err(GrantError::Spec { name: _, source }) => Err(source.into()),
        Err(error @ GrantError::Duplicate(_)) => Err(error.into()),
    }
}

/// Its key and zone. Held, so that it is not archived between this look and the insert.
async fn customer(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<(CustomerKey, String), CreditError> {
    const DOING: &str = "finding who is given a grant";
    let row = sqlx::query(
        "SELECT key, time_zone, archived_at FROM customers WHERE tenant = $1 AND customer_id = $2 FOR SHARE",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?
    .ok_or(CreditError::NoSuchCustomer)?;
    if instant::read_optional(&row, "archived_at").doing(DOING)?.is_some() {
        return Err(CreditError::CustomerArchived);
    }
    Ok((parsed(&row, "key")?, row.try_get("time_zone").doing(DOING)?))
}

/// None: the id or the name is there already.
async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
    id: &str,
    spec: &GrantSpec,
    time_zone: &str,
) -> Result<Option<Grant>, StoreError> {
    let row = sqlx::query(
        "INSERT INTO credit_grants (grant_id, tenant, customer_id, currency, name, time_zone, spec)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING *",
    )
    .bind(id)
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .bind(spec.name.as_str())
    .bind(time_zone)
    .bind(Json(spec))
    .fetch_optional(&mut **transaction)
    .await
    .doing("creating a grant")?;
    row.as_ref().map(read).transpose()
}

fn out_of_range(field: &str, detail: &str) -> SpecError {
    SpecError { field: field.to_owned(), code: SpecErrorCode::OutOfRange, detail: detail.to_owned() }
}

async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<Option<Grant>, StoreError> {
    let row = sqlx::query("SELECT * FROM credit_grants WHERE tenant = $1 AND grant_id = $2")
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await
        .doing("finding a grant")?;
    row.as_ref().map(read).transpose()
}

/// The grants that a ledger is made of, in order of making.
pub(super) async fn of_ledger(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM credit_grants WHERE tenant = $1 AND customer_id = $2 AND currency = $3 ORDER BY grant_id",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .fetch_all(&mut **transaction)
    .await
    .doing("reading the grants of a ledger")?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Grant, StoreError> {
    const DOING: &str = "reading a grant";
    Ok(Grant {
        id: row.try_get("grant_id").doing(DOING)?,
        customer_id: row.try_get("customer_id").doing(DOING)?,
        currency: parsed(row, "currency")?,
        time_zone: row.try_get("time_zone").doing(DOING)?,
        spec: row.try_get::<Json<GrantSpec>, _>("spec").doing(DOING)?.0,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(more: &str) -> String {
        let text = format!(r#"{{"name": "g", "amount": "10", "currency": "USD"{more}}}"#);
        let spec: GrantSpec = serde_json::from_str(&text).expect("a grant");
        match check(&spec, "UTC", "2026-08-01T00:00:00Z".parse().expect("an instant")) {
            Ok(currency) => currency.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_grant_that_the_rows_cannot_hold_exactly_or_at_once_is_refused() {
        assert_eq!(checked(r#", "effectiveAt": "2026-07-01T00:00:00.000001Z""#), "USD");
        assert_eq!(
            checked(r#", "effectiveAt": "2026-07-01T00:00:00.0000001Z""#),
            "the grant is not valid: effectiveAt: instants are kept to the microsecond"
        );
        let daily =
            |from: &str| checked(&format!(r#", "effectiveAt": "{from}", "every": {{"unit": "Day"}}"#));
        assert_eq!(daily("2024-01-01T00:00:00Z"), "USD");
        assert!(daily("2023-01-01T00:00:00Z").ends_with("let it begin later"));
        assert!(daily("1970-01-01T00:00:00Z").ends_with("let it begin later"));
        assert_eq!(
            checked(
                r#", "effectiveAt": "2027-01-01T00:00:00Z", "expiresAfter": {"unit": "Year", "count": 9000}"#
            ),
            "the grant is not valid: effectiveAt: grant g: the period lies outside the years that can be represented"
        );
    }

    #[test]
    fn a_grant_without_a_currency_belongs_to_no_ledger() {
        let text = r#"{"name": "g", "amount": "10", "effectiveAt": "2026-07-01T00:00:00Z"}"#;
        let spec: GrantSpec = serde_json::from_str(text).expect("a grant");
        let refused = check(&spec, "UTC", spec.effective_at).expect_err("refused");
        assert!(matches!(refused, CreditError::Spec(error) if error.field == "currency"));
    }
}
