//! Credit grants of one customer in one currency, as an append-only ledger in double entry. No balance is stored anywhere:
//! each is a fold over entries, so it can be explained, and computed again as of any instant.
//!
//! The chart of accounts ([`Account`]); each [`Entry`] moves amounts between accounts and sums to zero:
//!
//! | account              | its balance is                                          |
//! |----------------------|---------------------------------------------------------|
//! | Granted(grant)       | what was given, negative: where credits come from       |
//! | Available(grant)     | what is left to spend                                   |
//! | Consumed(grant)      | what paid for lines of invoices                         |
//! | Expired(grant)       | what its end took                                       |
//! | RolledOver(grant)    | what went on to the grant's next recurrence             |
//! | Receivable(invoice, price) | usage that no grant covered, to be paid by the next ones |
//! | Overage(invoice, price)    | the same, negative: where that debt comes from    |
//!
//! So `used + expired + rolled over + remaining = granted` for each grant, at any time. No balance but Granted's and Overage's is
//! ever negative, at any instant, in whatever order entries came.
//!
//! Two times: `seq` is when an entry was appended, `at` when what it says took effect, and balances ask for the second one. So
//! an invoice that is late (a grace window, another subscription's period) burns as of its own period's last instant, from
//! what was there then and is not spent since; if that has expired in between, the expiry is taken back by as much
//! ([`EntryKind::Reopen`]).
//!
//! Reading order: grant.rs (what is given) → entry.rs → due.rs (what time does: expiry, rollover, debts paid) → burn.rs, give_back.rs →
//! void.rs → balance.rs. Every command is idempotent: its key is derived from what it is about, the same command again
//! changes nothing and returns the first outcome, another one under the same key is an error. A command that fails may have
//! appended what was due before it; that is sound and due anyway.
//!
//! Nothing here reads a store: load the entries, run a command, append `entries()[before..]` under a unique (ledger, seq) and a unique
//! (ledger, key): of two workers that ran at once, one is refused and loads again.

mod balance;
mod burn;
mod due;
mod entry;
mod give_back;
mod grant;
mod void;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use balance::{Balance, Debt};
pub use burn::{Burn, BurnRequest, BurnableLine, Burned, CreditShare, Overage};
pub use entry::{Account, Entry, EntryKind, Posting};
pub use grant::{GrantError, GrantId, GrantSpec, GrantTerms, RolloverSpec, materialise};

use crate::{
    decimal::{Amount, Overflow},
    ids::InvoiceId,
    money::Currency,
};

/// The ledger of one customer in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    currency: Currency,
    entries: Vec<Entry>,
    /// Where the entry of each key is.
    keys: BTreeMap<String, usize>,
    /// The terms of each grant in the entries.
    grants: BTreeMap<GrantId, GrantTerms>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("{key} is in the ledger already, with other content")]
    KeyConflict { key: String },
    #[error("the ledger is in {expected}, not in {given}")]
    Currency { given: Currency, expected: Currency },
    #[error("line {index} has an amount that was not rounded: {amount}")]
    UnroundedLine { index: usize, amount: Amount },
    #[error("grant {grant}: {problem}")]
    InvalidGrant { grant: GrantId, problem: &'static str },
    #[error(
        "what is left of grant {grant} rolls over to {successor}, which is not in the ledger: issue it first"
    )]
    SuccessorMissing { grant: GrantId, successor: GrantId },
    #[error("invoice {0} burned nothing in this ledger")]
    UnknownInvoice(InvoiceId),
    #[error("invoice {0} is void, it burns nothing more")]
    Voided(InvoiceId),
    #[error("invoice {invoice} burned as of {burned_at}, it cannot be void as of {at} already")]
    VoidBeforeBurn { invoice: InvoiceId, burned_at: Timestamp, at: Timestamp },
    #[error("entry {seq}: {problem}")]
    Corrupt { seq: u64, problem: &'static str },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Ledger {
    pub fn new(currency: Currency) -> Self {
        Self { currency, entries: Vec::new(), keys: BTreeMap::new(), grants: BTreeMap::new() }
    }

    /// From stored entries, in the order of `seq`. An entry that does not balance, or is out of order, is an error.
    pub fn from_entries(
        currency: Currency,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Self::new(currency);
        for entry in entries {
            let corrupt = |problem| LedgerError::Corrupt { seq: entry.seq, problem };
            if entry.seq != ledger.next_seq() {
                return Err(corrupt("its number does not follow the one before"));
            }
            if ledger.keys.contains_key(&entry.key) {
                return Err(corrupt("its key was used before"));
            }
            ledger.push(entry)?;
        }
        Ok(ledger)
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// All entries, by `seq`.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Puts a grant into the ledger; it can be spent from its `effective_at` on. Issuing the same grant again changes nothing.
    pub fn issue(&mut self, terms: GrantTerms) -> Result<(), LedgerError> {
        terms
            .check(self.currency)
            .map_err(|problem| LedgerError::InvalidGrant { grant: terms.grant.clone(), problem })?;
        let (grant, amount) = (terms.grant.clone(), terms.amount);
        let postings = vec![
            Posting { account: Account::Granted(grant.clone()), amount: amount.negated() },
            Posting { account: Account::Available(grant.clone()), amount },
        ];
        self.append(format!("grant/{grant}"), grant.effective_at, EntryKind::Grant { terms }, postings)
    }

    /// Appends an entry, unless the same one is there; another one under its key is an error.
    fn append(
        &mut self,
        key: String,
        at: Timestamp,
        kind: EntryKind,
        postings: Vec<Posting>,
    ) -> Result<(), LedgerError> {
        let postings = postings.into_iter().filter(|posting| !posting.amount.is_zero()).collect();
        let entry = Entry { seq: self.next_seq(), key, at, kind, postings };
        match self.entry(&entry.key) {
            Some(existing) if existing.says_the_same_as(&entry) => Ok(()),
            Some(_) => Err(LedgerError::KeyConflict { key: entry.key }),
            None => self.push(entry),
        }
    }

    fn push(&mut self, entry: Entry) -> Result<(), LedgerError> {
        let corrupt = |problem| LedgerError::Corrupt { seq: entry.seq, problem };
        if !Amount::checked_sum(entry.postings.iter().map(|posting| posting.amount))?.is_zero() {
            return Err(corrupt("its postings do not sum to zero"));
        }
        if let EntryKind::Grant { terms } = &entry.kind {
            self.grants.insert(terms.grant.clone(), terms.clone());
        }
        let known =
            |posting: &Posting| posting.account.grant().is_none_or(|grant| self.grants.contains_key(grant));
        if !entry.postings.iter().all(known) {
            return Err(corrupt("it posts to a grant that was not issued"));
        }
        self.keys.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
        Ok(())
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.keys.get(key).map(|index| &self.entries[*index])
    }

    fn next_seq(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// The grants in the order in which they burn: priority, then the soonest expiry (none last), then the earlier one, then
    /// the name.
    fn burn_order(&self) -> Vec<GrantTerms> {
        let mut grants: Vec<GrantTerms> = self.grants.values().cloned().collect();
        grants.sort_by(|a, b| a.burn_rank().cmp(&b.burn_rank()));
        grants
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
