//! What people read of a ledger: how its grants stand as of an instant, and its entries.

use jiff::Timestamp;
use meridian_billing::{
    ledger::{Balance, Debt, Entry},
    money::Currency,
};

use super::{CreditError, LedgerKey, entries, held::Loaded};
use crate::{Listed, Page, StoreError, TenantRecords};

/// How the grants of a customer stand in one currency, as of an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of each grant that has begun by then.
    pub balances: Vec<Balance>,
    /// What invoices carried and no grant has paid by then.
    pub debts: Vec<Debt>,
}

impl TenantRecords {
    /// All that is due by `at` counts, whether or not it is in the ledger yet. A customer that was never given anything has
    /// nothing, and owes nothing.
    pub async fn credit_standing(
        &self,
        customer_id: &str,
        currency: Currency,
        at: Timestamp,
    ) -> Result<Standing, CreditError> {
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        let mut loaded = Loaded::read(&mut transaction, self.ledger_key(customer_id, currency)).await?;
        loaded.bring_to(at)?;
        Ok(Standing { balances: loaded.ledger.balances(at)?, debts: loaded.ledger.debts(at)? })
    }

    /// The entries behind `after`, in the order in which they were appended.
    pub async fn ledger_entries(
        &self,
        customer_id: &str,
        currency: Currency,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Listed<Entry>, StoreError> {
        let page = Page::first(limit);
        let mut transaction = self.scope.begin(&self.pool).await?;
        let key = self.ledger_key(customer_id, currency);
        let after = after.map_or(0, i64::from);
        let entries = entries::behind(&mut transaction, &key, after, page.fetch()).await?;
        Ok(page.cut(entries, |entry| entry.seq.to_string()))
    }

    pub(super) fn ledger_key(&self, customer_id: &str, currency: Currency) -> LedgerKey {
        LedgerKey { tenant: self.scope.tenant().clone(), customer_id: customer_id.to_owned(), currency }
    }
}
