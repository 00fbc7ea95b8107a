//! What a ledger is made of: accounts, postings, entries and why they were made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BurnRequest, Burned, GrantId, GrantTerms};
use crate::{
    decimal::Amount,
    ids::{InvoiceId, PriceName},
};

/// See the table in the module's head. A debt has an account for each invoice and price: only grants that may pay for that
/// price pay it, and voiding the invoice finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Account {
    Granted(GrantId),
    Available(GrantId),
    Consumed(GrantId),
    Expired(GrantId),
    RolledOver(GrantId),
    Receivable { invoice: InvoiceId, price: PriceName },
    Overage { invoice: InvoiceId, price: PriceName },
}

impl Account {
    pub fn grant(&self) -> Option<&GrantId> {
        match self {
            Self::Granted(grant)
            | Self::Available(grant)
            | Self::Consumed(grant)
            | Self::Expired(grant)
            | Self::RolledOver(grant) => Some(grant),
            Self::Receivable { invoice: _, price: _ } | Self::Overage { invoice: _, price: _ } => None,
        }
    }
}

/// An amount into an account, or out of it where negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Posting {
    pub account: Account,
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// 1, 2, 3 … in the order in which they were appended.
    pub seq: u64,
    /// What the entry is about: there is one entry for each key.
    pub key: String,
    /// When it took effect.
    pub at: Timestamp,
    pub kind: EntryKind,
    /// They sum to zero; none of them is zero.
    pub postings: Vec<Posting>,
}

impl Entry {
    /// All but the number: what decides whether a key was used twice for the same thing.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let Self { seq: _, key, at, kind, postings } = self;
        *key == other.key && *at == other.at && *kind == other.kind && *postings == other.postings
    }
}

/// Why an entry was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum EntryKind {
    /// A grant was given.
    Grant { terms: GrantTerms },
    /// An invoice was paid by grants, or what they did not cover was carried.
    Burn { request: BurnRequest, outcome: Burned },
    /// A grant paid what an earlier invoice had carried.
    Settle { invoice: InvoiceId, price: PriceName, grant: GrantId },
    /// A grant ended; a part of it may have rolled over.
    Expire { grant: GrantId },
    /// An invoice that came late burned what had expired after it: the expiry is taken back by as much.
    Reopen { invoice: InvoiceId, grant: GrantId },
    /// An invoice was voided: what it burned goes back.
    Void { invoice: InvoiceId, at: Timestamp },
}
