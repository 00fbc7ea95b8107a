//! What time does to ledgers: grants begin, recur, end and roll over, and pay what was carried. Nothing waits for it: whoever uses
//! a ledger brings it up to date first. The sweep is there so that the entries tell of it when it happens.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;

use super::{CreditError, HeldLedger, LedgerKey};
use crate::{
    By, Records, Scope, StoreError, audit,
    catalogue::parsed,
    error::Doing,
    instant::{Instant, optional},
    scope::begin_for_every_tenant,
};

/// A ledger in which something is due, and since when; also where a sweep goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueLedger {
    pub due_at: Timestamp,
    pub ledger: LedgerKey,
}

/// What one step of the sweep did.
#[derive(Debug)]
pub struct LedgerSweep {
    pub advanced: Vec<AdvancedLedger>,
    /// These stay due; the others are not kept from their turn by them.
    pub failed: Vec<FailedLedger>,
    /// The last one seen: ask for what lies behind it. None: nothing does.
    pub next: Option<DueLedger>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvancedLedger {
    pub ledger: LedgerKey,
    /// How many were appended; none where another one did it meanwhile, or where nothing was left to end.
    pub entries: usize,
}

#[derive(Debug)]
pub struct FailedLedger {
    pub ledger: LedgerKey,
    pub error: CreditError,
}

impl Records {
    /// Appends what time did by `now` to at most `limit` ledgers in which something is due, the longest due first; `after`
    /// goes on behind the last one seen. Each ledger is a transaction of its own, and done again it appends nothing.
    ///
    /// It sweeps over every tenant, because time does; what is then done runs in each tenant's own scope. A store that is
    /// away ends the step with an error, and what was done until then stays done.
    pub async fn advance_ledgers(
        &self,
        now: Timestamp,
        after: Option<&DueLedger>,
        limit: u32,
    ) -> Result<LedgerSweep, StoreError> {
        let due = self.due_ledgers(now, after, limit).await?;
        let full = due.len() >= limit as usize;
        let next = due.last().filter(|_| full).cloned();
        let mut sweep = LedgerSweep { advanced: Vec::new(), failed: Vec::new(), next };
        for DueLedger { due_at: _, ledger } in due {
            match self.advance_ledger(&ledger, now).await {
                Ok(entries) => sweep.advanced.push(AdvancedLedger { ledger, entries }),
                Err(CreditError::Store(error)) if error.is_transient() => return Err(error),
                Err(error) => sweep.failed.push(FailedLedger { ledger, error }),
            }
        }
        Ok(sweep)
    }

    async fn due_ledgers(
        &self,
        now: Timestamp,
        after: Option<&DueLedger>,
        limit: u32,
    ) -> Result<Vec<DueLedger>, StoreError> {
        const DOING: &str = "finding due ledgers";
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT due_at, tenant, customer_id, currency FROM ledgers
             WHERE due_at <= $1
               AND ($2::timestamptz IS NULL OR (due_at, tenant, customer_id, currency) > ($2, $3, $4, $5))
             ORDER BY due_at, tenant, customer_id, currency LIMIT $6",
        )
        .bind(Instant(now))
        .bind(optional(after.map(|due| due.due_at)))
        .bind(after.map_or("", |due| due.ledger.tenant.as_str()))
        .bind(after.map_or("", |due| due.ledger.customer_id.as_str()))
        .bind(after.map_or("", |due| due.ledger.currency.code()))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        rows.iter()
            .map(|row| {
                Ok(DueLedger {
                    due_at: row.try_get::<Instant, _>("due_at").doing(DOING)?.0,
                    ledger: LedgerKey {
                        tenant: parsed(row, "tenant")?,
                        customer_id: row.try_get("customer_id").doing(DOING)?,
                        currency: parsed(row, "currency")?,
                    },
                })
            })
            .collect()
    }

    async fn advance_ledger(&self, key: &LedgerKey, now: Timestamp) -> Result<usize, CreditError> {
        let mut transaction = Scope::of(key.tenant.clone()).begin(&self.pool).await?;
        let Some(mut ledger) = HeldLedger::hold(&mut transaction, key).await? else { return Ok(0) };
        ledger.bring_to(now)?;
        let entries = ledger.store(&mut transaction, now).await?;
        if entries > 0 {
            let by = By::new("ledger sweep", "grants began, ended, rolled over or paid debts");
            let detail = json!({"currency": key.currency, "entries": entries, "until": now});
            let tenant = Some(key.tenant.as_str());
            audit::record(&mut transaction, tenant, &by, "ledger.advance", &key.customer_id, detail).await?;
        }
        transaction.commit().await.doing("advancing a ledger")?;
        Ok(entries)
    }
}
