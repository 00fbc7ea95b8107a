//! An invoice is voided: what it burned goes back to the grants.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Account, Entry, EntryKind, Ledger, LedgerError, Posting};
use crate::{decimal::Amount, ids::InvoiceId};

impl Ledger {
    /// Takes back all that an invoice burned, and what grants have paid of its debt since. What came from a grant that has
    /// ended by then goes to Expired: a void is no way to make credits live longer. What was carried and not yet paid is
    /// forgiven. The same void again changes nothing.
    pub fn void(&mut self, invoice: &InvoiceId, at: Timestamp) -> Result<(), LedgerError> {
        let key = format!("void/{invoice}");
        let kind = EntryKind::Void { invoice: invoice.clone(), at };
        if let Some(entry) = self.entry(&key) {
            return if entry.kind == kind { Ok(()) } else { Err(LedgerError::KeyConflict { key }) };
        }
        let burned_at =
            self.burned_at(invoice).ok_or_else(|| LedgerError::UnknownInvoice(invoice.clone()))?;
        if at < burned_at {
            return Err(LedgerError::VoidBeforeBurn { invoice: invoice.clone(), burned_at, at });
        }
        self.advance(at)?;
        let (net, last) = self.trail(invoice)?;
        // A debt may have been paid later than the void says: it is given back when it was there to give.
        let effective = last.map_or(at, |last| last.max(at));
        let postings = net
            .into_iter()
            .flat_map(|(account, amount)| {
                let back_to = match &account {
                    Account::Consumed(grant) => {
                        let ended = self.grants.get(grant).is_some_and(|terms| terms.has_ended(effective));
                        Some(if ended {
                            Account::Expired(grant.clone())
                        } else {
                            Account::Available(grant.clone())
                        })
                    }
                    Account::Receivable { invoice, price } => {
                        Some(Account::Overage { invoice: invoice.clone(), price: price.clone() })
                    }
                    Account::Granted(_)
                    | Account::Available(_)
                    | Account::Expired(_)
                    | Account::RolledOver(_)
                    | Account::Overage { invoice: _, price: _ } => None,
                };
                back_to.map(|back_to| {
                    [Posting { account, amount: amount.negated() }, Posting { account: back_to, amount }]
                })
            })
            .flatten()
            .collect();
        self.append(key, effective, kind, postings)
    }

    /// What the invoice and the payments of its debt moved in all, and when they did last.
    fn trail(
        &self,
        invoice: &InvoiceId,
    ) -> Result<(BTreeMap<Account, Amount>, Option<Timestamp>), LedgerError> {
        let entries: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| match &entry.kind {
                EntryKind::Burn { request, outcome: _ } => request.invoice == *invoice,
                EntryKind::Settle { invoice: of, price: _, grant: _ } => of == invoice,
                EntryKind::Grant { terms: _ }
                | EntryKind::Expire { grant: _ }
                | EntryKind::Reopen { invoice: _, grant: _ }
                | EntryKind::Void { invoice: _, at: _ } => false,
            })
            .collect();
        let mut net: BTreeMap<Account, Amount> = BTreeMap::new();
        for posting in entries.iter().flat_map(|entry| &entry.postings) {
            let sum = net.entry(posting.account.clone()).or_default();
            *sum = sum.checked_add(posting.amount)?;
        }
        Ok((net, entries.iter().map(|entry| entry.at).max()))
    }
}
