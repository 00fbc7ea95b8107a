//! A tenant's customers: whom it bills. The customer with the empty key is the tenant itself (ruling C11); the operator
//! keeps that one and the API leaves it alone. Customers are archived, never deleted: their invoices stay.

use jiff::Timestamp;
use meridian_billing::ids::CustomerKey;
use serde_json::{Value, json};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    By, Listed, Page, TenantRecords, audit, catalogue,
    error::{Doing, StoreError},
    id::{self, Kind},
    instant::{self, Instant},
    subscriptions::ManagedBy,
};

#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// `cus_…`
    pub id: String,
    /// What the tenant's events call it.
    pub key: CustomerKey,
    pub name: String,
    /// IANA zone in which its periods begin and end.
    pub time_zone: String,
    pub metadata: Value,
    pub managed_by: ManagedBy,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub archived_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewCustomer {
    pub key: CustomerKey,
    pub name: String,
    pub time_zone: String,
    /// A JSON object.
    pub metadata: Value,
}

/// What is None stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomerChange {
    pub name: Option<String>,
    pub time_zone: Option<String>,
    pub metadata: Option<Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    #[error("there is no such customer")]
    NotFound,
    #[error("a customer with the key {0:?} exists")]
    KeyTaken(String),
    #[error("the customer is kept by the operator: change the Tenant object instead")]
    ManagedByKubernetes,
    #[error("the customer has a subscription that is not over: cancel it first")]
    Subscribed,
    #[error("the customer is archived")]
    Archived,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) fn read(row: &PgRow) -> Result<Customer, StoreError> {
    const DOING: &str = "reading a customer";
    let key: String = row.try_get("key").doing(DOING)?;
    Ok(Customer {
        id: row.try_get("customer_id").doing(DOING)?,
        key: CustomerKey::new(key).map_err(|error| StoreError::unreadable(DOING, error))?,
        name: row.try_get("name").doing(DOING)?,
        time_zone: row.try_get("time_zone").doing(DOING)?,
        metadata: row.try_get("metadata").doing(DOING)?,
        managed_by: ManagedBy::read(row, DOING)?,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
        updated_at: row.try_get::<Instant, _>("updated_at").doing(DOING)?.0,
        archived_at: instant::read_optional(row, "archived_at").doing(DOING)?,
    })
}

impl TenantRecords {
    /// `seed` decides the id: the same seed again returns the customer that it made.
    pub async fn create_customer(
        &self,
        new: &NewCustomer,
        seed: Uuid,
        by: &By,
    ) -> Result<Customer, CustomerError> {
        const DOING: &str = "creating a customer";
        let id = id::from_seed(Kind::Customer, seed);
        let mut transaction = self.scope.begin(&self.pool).await?;
        let inserted = sqlx::query(
            "INSERT INTO customers (customer_id, tenant, key, name, time_zone, metadata, managed_by)
             VALUES ($1, $2, $3, $4, $5, $6, 'api') ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(&id)
        .bind(self.scope.tenant().as_str())
        .bind(new.key.as_str())
        .bind(&new.name)
        .bind(&new.time_zone)
        .bind(&new.metadata)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        let Some(row) = inserted else {
            transaction.rollback().await.doing(DOING)?;
            return self.customer(&id).await?.ok_or_else(|| CustomerError::KeyTaken(new.key.to_string()));
        };
        let customer = read(&row)?;
        let detail = json!({"key": customer.key, "name": customer.name, "time_zone": customer.time_zone});
        audit::record(
            &mut transaction,
            Some(self.scope.tenant().as_str()),
            by,
            "customer.create",
            &id,
            detail,
        )
        .await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing(DOING)?;
        Ok(customer)
    }

    pub async fn customer(&self, id: &str) -> Result<Option<Customer>, StoreError> {
        self.find_customer("SELECT * FROM customers WHERE tenant = $1 AND customer_id = $2", id).await
    }

    pub async fn customer_by_key(&self, key: &CustomerKey) -> Result<Option<Customer>, StoreError> {
        self.find_customer("SELECT * FROM customers WHERE tenant = $1 AND key = $2", key.as_str()).await
    }

    async fn find_customer(&self, query: &'static str, value: &str) -> Result<Option<Customer>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row = sqlx::query(query)
            .bind(self.scope.tenant().as_str())
            .bind(value)
            .fetch_optional(&mut *transaction)
            .await
            .doing("finding a customer")?;
        row.as_ref().map(read).transpose()
    }

    /// In order of making; archived ones are included and say so.
    pub async fn customers(&self, page: &Page) -> Result<Listed<Customer>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT * FROM customers WHERE tenant = $1 AND customer_id > $2 ORDER BY customer_id LIMIT $3",
        )
        .bind(self.scope.tenant().as_str())
        .bind(page.after_id())
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing customers")?;
        let customers = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(customers, |customer| customer.id.clone()))
    }

    pub async fn update_customer(
        &self,
        id: &str,
        change: &CustomerChange,
        by: &By,
    ) -> Result<Customer, CustomerError> {
        const DOING: &str = "changing a customer";
        let mut transaction = self.scope.begin(&self.pool).await?;
        let before = self.lock_editable(&mut transaction, id).await?;
        if before.archived_at.is_some() {
            return Err(CustomerError::Archived);
        }
        let row = sqlx::query(
            "UPDATE customers SET name = coalesce($3, name), time_zone = coalesce($4, time_zone),
                 metadata = coalesce($5, metadata), updated_at = now()
             WHERE tenant = $1 AND customer_id = $2 RETURNING *",
        )
        .bind(self.scope.tenant().as_str())
        .bind(id)
        .bind(&change.name)
        .bind(&change.time_zone)
        .bind(&change.metadata)
        .fetch_one(&mut *transaction)
        .await
        .doing(DOING)?;
        let after = read(&row)?;
        let detail = json!({
            "before": {"name": before.name, "time_zone": before.time_zone, "metadata": before.metadata},
            "after": {"name": after.name, "time_zone": after.time_zone, "metadata": after.metadata},
        });
        audit::record(
            &mut transaction,
            Some(self.scope.tenant().as_str()),
            by,
            "customer.update",
            id,
            detail,
        )
        .await?;
        transaction.commit().await.doing(DOING)?;
        Ok(after)
    }

    /// Archiving again changes nothing. Refused while a subscription of it runs.
    pub async fn archive_customer(&self, id: &str, by: &By) -> Result<Customer, CustomerError> {
        const DOING: &str = "archiving a customer";
        let mut transaction = self.scope.begin(&self.pool).await?;
        let before = self.lock_editable(&mut transaction, id).await?;
        if before.archived_at.is_some() {
            return Ok(before);
        }
        let subscribed: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM subscriptions WHERE tenant = $1 AND customer_id = $2 AND state = 'active')",
        )
        .bind(self.scope.tenant().as_str())
        .bind(id)
        .fetch_one(&mut *transaction)
        .await
        .doing(DOING)?;
        if subscribed {
            return Err(CustomerError::Subscribed);
        }
        let row = sqlx::query(
            "UPDATE customers SET archived_at = now(), updated_at = now()
             WHERE tenant = $1 AND customer_id = $2 RETURNING *",
        )
        .bind(self.scope.tenant().as_str())
        .bind(id)
        .fetch_one(&mut *transaction)
        .await
        .doing(DOING)?;
        audit::record(
            &mut transaction,
            Some(self.scope.tenant().as_str()),
            by,
            "customer.archive",
            id,
            json!({}),
        )
        .await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing(DOING)?;
        read(&row).map_err(CustomerError::from)
    }

    async fn lock_editable(
        &self,
        transaction: &mut sqlx::Transaction<'_, sqlx::Postgres>,
        id: &str,
    ) -> Result<Customer, CustomerError> {
        let row = sqlx::query("SELECT * FROM customers WHERE tenant = $1 AND customer_id = $2 FOR UPDATE")
            .bind(self.scope.tenant().as_str())
            .bind(id)
            .fetch_optional(&mut **transaction)
            .await
            .doing("locking a customer")?;
        let customer = read(&row.ok_or(CustomerError::NotFound)?)?;
        match customer.managed_by {
            ManagedBy::Kubernetes => Err(CustomerError::ManagedByKubernetes),
            ManagedBy::Api => Ok(customer),
        }
    }
}
