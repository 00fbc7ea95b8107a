//! Balances: folds over the entries of a ledger, as of any instant.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Account, EntryKind, GrantId, Ledger, LedgerError};
use crate::{
    decimal::{Amount, Overflow},
    ids::{InvoiceId, PriceName},
};

/// How a grant stands. `used + expired + rolled_over + remaining = granted`, and none of them is negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balance {
    pub grant: GrantId,
    /// What was given, with what rolled over from the recurrence before.
    pub granted: Amount,
    pub used: Amount,
    pub expired: Amount,
    pub rolled_over: Amount,
    pub remaining: Amount,
}

/// What an invoice carried and no grant has paid yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Debt {
    pub invoice: InvoiceId,
    pub price: PriceName,
    pub amount: Amount,
}

impl Ledger {
    /// How each grant that has taken effect stands at an instant, by name and time. All that was due by then counts, whether or
    /// not it was appended yet.
    pub fn balances(&self, at: Timestamp) -> Result<Vec<Balance>, LedgerError> {
        let accounts = self.accounts_at(at)?;
        let of = |account: Account| accounts.get(&account).copied().unwrap_or_default();
        let in_effect = self.grants.keys().filter(|grant| grant.effective_at <= at);
        let balance = |grant: &GrantId| Balance {
            grant: grant.clone(),
            granted: of(Account::Granted(grant.clone())).negated(),
            used: of(Account::Consumed(grant.clone())),
            expired: of(Account::Expired(grant.clone())),
            rolled_over: of(Account::RolledOver(grant.clone())),
            remaining: of(Account::Available(grant.clone())),
        };
        Ok(in_effect.map(balance).collect())
    }

    /// What is owed at an instant, by invoice and price.
    pub fn debts(&self, at: Timestamp) -> Result<Vec<Debt>, LedgerError> {
        let debt = |(account, amount): (Account, Amount)| match account {
            Account::Receivable { invoice, price } if !amount.is_zero() => {
                Some(Debt { invoice, price, amount })
            }
            Account::Receivable { .. }
            | Account::Granted(_)
            | Account::Available(_)
            | Account::Consumed(_)
            | Account::Expired(_)
            | Account::RolledOver(_)
            | Account::Overage { .. } => None,
        };
        Ok(self.accounts_at(at)?.into_iter().filter_map(debt).collect())
    }

    /// Every account's balance at an instant, with all that was due by then.
    pub fn accounts_at(&self, at: Timestamp) -> Result<BTreeMap<Account, Amount>, LedgerError> {
        let mut ledger = self.clone();
        ledger.advance(at)?;
        let mut accounts: BTreeMap<Account, Amount> = BTreeMap::new();
        for posting in ledger.entries.iter().filter(|entry| entry.at <= at).flat_map(|entry| &entry.postings)
        {
            let sum = accounts.entry(posting.account.clone()).or_default();
            *sum = sum.checked_add(posting.amount)?;
        }
        Ok(accounts)
    }

    /// An account over all entries.
    pub(super) fn balance(&self, account: &Account) -> Result<Amount, Overflow> {
        let postings = self.entries.iter().flat_map(|entry| &entry.postings);
        Amount::checked_sum(
            postings.filter(|posting| posting.account == *account).map(|posting| posting.amount),
        )
    }

    /// What may be taken from a grant as of an instant: the least that it holds, expired or not, at any time from then on. What
    /// was spent later is spent, and what rolled over has gone on; what merely expired later was there.
    pub(super) fn usable(&self, grant: &GrantId, at: Timestamp) -> Result<Amount, Overflow> {
        self.least(&[Account::Available(grant.clone()), Account::Expired(grant.clone())], at)
    }

    /// The least that accounts hold together at any time from an instant on; not negative.
    pub(super) fn least(&self, accounts: &[Account], at: Timestamp) -> Result<Amount, Overflow> {
        let mut changes: BTreeMap<Timestamp, Amount> = BTreeMap::from([(at, Amount::ZERO)]);
        for entry in &self.entries {
            for posting in &entry.postings {
                if accounts.contains(&posting.account) {
                    let change = changes.entry(entry.at.max(at)).or_default();
                    *change = change.checked_add(posting.amount)?;
                }
            }
        }
        least(changes.into_values())
    }

    /// As of when an invoice burned; of its two parts the later one.
    pub fn burned_at(&self, invoice: &InvoiceId) -> Option<Timestamp> {
        self.burned().get(invoice).copied()
    }

    fn burned(&self) -> BTreeMap<&InvoiceId, Timestamp> {
        let mut burned = BTreeMap::new();
        for entry in &self.entries {
            if let EntryKind::Burn { request, outcome: _ } = &entry.kind {
                let latest = burned.entry(&request.invoice).or_insert(entry.at);
                *latest = entry.at.max(*latest);
            }
        }
        burned
    }

    /// The debts of invoices up to an instant that are there from then on and not paid in any entry, the oldest first.
    pub(super) fn outstanding(&self, at: Timestamp) -> Result<Vec<Debt>, Overflow> {
        let mut invoices: Vec<(Timestamp, &InvoiceId)> =
            self.burned().into_iter().map(|(invoice, burned_at)| (burned_at, invoice)).collect();
        invoices.retain(|(burned_at, _)| *burned_at <= at);
        // By invoice where the time is the same, so that the order of appending does not matter.
        invoices.sort();
        let mut changes: BTreeMap<(&InvoiceId, &PriceName), BTreeMap<Timestamp, Amount>> = BTreeMap::new();
        for entry in &self.entries {
            for posting in &entry.postings {
                if let Account::Receivable { invoice, price } = &posting.account {
                    let of_debt =
                        changes.entry((invoice, price)).or_insert_with(|| [(at, Amount::ZERO)].into());
                    let change = of_debt.entry(entry.at.max(at)).or_default();
                    *change = change.checked_add(posting.amount)?;
                }
            }
        }
        let owed = changes.into_iter().map(|(debt, changes)| Ok((debt, least(changes.into_values())?)));
        let owed: BTreeMap<(&InvoiceId, &PriceName), Amount> = owed.collect::<Result<_, Overflow>>()?;
        Ok(invoices
            .iter()
            .flat_map(|(_, of)| {
                owed.iter().filter(move |((invoice, _), amount)| invoice == of && !amount.is_zero())
            })
            .map(|((invoice, price), amount)| Debt {
                invoice: (*invoice).clone(),
                price: (*price).clone(),
                amount: *amount,
            })
            .collect())
    }
}

/// The least that changes, one after the other, come to; not negative.
fn least(changes: impl Iterator<Item = Amount>) -> Result<Amount, Overflow> {
    let mut held = Amount::ZERO;
    let mut least: Option<Amount> = None;
    for change in changes {
        held = held.checked_add(change)?;
        least = Some(least.map_or(held, |least| least.min(held)));
    }
    Ok(least.unwrap_or_default().max(Amount::ZERO))
}
