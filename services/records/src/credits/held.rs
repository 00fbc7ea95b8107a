//! A ledger as one transaction has it: loaded, brought up to an instant, and what is new of it stored.

use jiff::Timestamp;
use meridian_billing::ledger::{Ledger, materialise};
use sqlx::{Postgres, Transaction};

use super::{CreditError, Grant, LedgerKey, entries, grants};
use crate::{
    error::{Doing, StoreError},
    instant::optional,
};

/// Says that this transaction holds the ledger's row.
pub(super) struct LedgerLock(LedgerKey);

/// The ledger with its grants. Made from a [`LedgerLock`] it may be stored.
pub(crate) struct HeldLedger {
    pub(super) loaded: Loaded,
}

/// A ledger as it was read. Nothing of it is stored.
pub(super) struct Loaded {
    pub key: LedgerKey,
    pub ledger: Ledger,
    grants: Vec<Grant>,
    /// How many of its entries are rows.
    stored: usize,
}

/// Locks the ledger, making it if the customer has none in this currency yet.
pub(super) async fn lock_or_make(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
) -> Result<LedgerLock, StoreError> {
    const DOING: &str = "making a ledger";
    sqlx::query(
        "INSERT INTO ledgers (tenant, customer_id, currency) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    lock(transaction, key).await?.ok_or_else(|| StoreError::unreadable(DOING, "it is not there"))
}

/// None: the customer has no ledger in this currency. That look is all that it costs.
async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
) -> Result<Option<LedgerLock>, StoreError> {
    let row = sqlx::query(
        "SELECT currency FROM ledgers WHERE tenant = $1 AND customer_id = $2 AND currency = $3 FOR UPDATE",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .fetch_optional(&mut **transaction)
    .await
    .doing("locking a ledger")?;
    Ok(row.map(|_| LedgerLock(key.clone())))
}

impl LedgerLock {
    pub async fn load(self, transaction: &mut Transaction<'_, Postgres>) -> Result<HeldLedger, CreditError> {
        Ok(HeldLedger { loaded: Loaded::read(transaction, self.0).await? })
    }
}

impl HeldLedger {
    /// The ledger under its lock, until the transaction ends; None where the customer has none in this currency.
    pub async fn hold(
        transaction: &mut Transaction<'_, Postgres>,
        key: &LedgerKey,
    ) -> Result<Option<Self>, CreditError> {
        match lock(transaction, key).await? {
            Some(lock) => Ok(Some(lock.load(transaction).await?)),
            None => Ok(None),
        }
    }

    pub(super) fn bring_to(&mut self, until: Timestamp) -> Result<(), CreditError> {
        self.loaded.bring_to(until)
    }

    /// Appends what is new, and notes when the ledger is due next, given that it was brought to `until`. Returns how many
    /// entries that were.
    pub(super) async fn store(
        self,
        transaction: &mut Transaction<'_, Postgres>,
        until: Timestamp,
    ) -> Result<usize, CreditError> {
        let due_at = self.loaded.next_due(until)?;
        let Loaded { key, ledger, grants: _, stored } = self.loaded;
        let new = &ledger.entries()[stored..];
        entries::append(transaction, &key, new).await?;
        sqlx::query(
            "UPDATE ledgers SET due_at = $4 WHERE tenant = $1 AND customer_id = $2 AND currency = $3",
        )
        .bind(key.tenant.as_str())
        .bind(&key.customer_id)
        .bind(key.currency.code())
        .bind(optional(due_at))
        .execute(&mut **transaction)
        .await
        .doing("noting when a ledger is due")?;
        Ok(new.len())
    }
}

impl Loaded {
    /// Without a lock: for who only looks, in a snapshot.
    pub async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        key: LedgerKey,
    ) -> Result<Self, CreditError> {
        let grants = grants::of_ledger(transaction, &key).await?;
        let entries = entries::all(transaction, &key).await?;
        let stored = entries.len();
        Ok(Self { ledger: Ledger::from_entries(key.currency, entries)?, key, grants, stored })
    }

    /// Whether the customer was never given anything in this currency.
    pub fn has_no_grants(&self) -> bool {
        self.grants.is_empty()
    }

    /// Issues what of the grants has begun by then, and does what time does. Every command needs the first, for what rolls
    /// over goes to the next recurrence.
    pub fn bring_to(&mut self, until: Timestamp) -> Result<(), CreditError> {
        for grant in &self.grants {
            let spec = std::slice::from_ref(&grant.spec);
            for terms in materialise(spec, self.key.currency, &grant.time_zone, until)? {
                self.ledger.issue(terms)?;
            }
        }
        Ok(self.ledger.advance(until)?)
    }

    /// When time alone changes something after `until`, up to which all was done.
    fn next_due(&self, until: Timestamp) -> Result<Option<Timestamp>, CreditError> {
        let mut next = self.ledger.next_end(until);
        for grant in &self.grants {
            let given = grant.spec.next_given(&grant.time_zone, until)?;
            next = next.into_iter().chain(given).min();
        }
        Ok(next)
    }
}
