//! An invoice is voided: what it burned goes back to the grants.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Account, Entry, EntryKind, GrantId, Ledger, LedgerError, Posting};
use crate::{
    decimal::Amount,
    ids::{InvoiceId, PriceName},
};

impl Ledger {
    /// Takes back all that an invoice burned, and what grants have paid of its debt since. What came from a grant that has
    /// ended by then goes to Expired: a void is no way to make credits live longer. What was carried and not yet paid is
    /// forgiven. What the invoice gave back is taken again, and owed as far as it is not there any more; a debt that it forgave is owed
    /// again. The same void again changes nothing.
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
        let mut net = net;
        let (mut taken_again, mut owed) = (Vec::new(), Vec::new());
        for (account, amount) in &mut net {
            let Account::Consumed(grant) = account else { continue };
            if amount.is_negative() {
                let there = self.usable(grant, effective)?;
                let spent = amount.negated().checked_sub(there)?.max(Amount::ZERO);
                *amount = amount.checked_add(spent)?;
                owed.extend(self.price_given_back(invoice, grant).map(|price| (price, spent)));
                taken_again.push(grant.clone());
            } else {
                // Another invoice may have given some of it back already.
                *amount = (*amount).min(self.least(std::slice::from_ref(account), effective)?);
            }
        }
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
            .chain(owed.into_iter().flat_map(|(price, amount)| {
                let (invoice, of) = (invoice.clone(), price.clone());
                [
                    Posting { account: Account::Receivable { invoice: invoice.clone(), price }, amount },
                    Posting { account: Account::Overage { invoice, price: of }, amount: amount.negated() },
                ]
            }))
            .collect();
        self.append(key, effective, kind, postings)?;
        for grant in taken_again {
            self.reopen_if_expired(invoice, &grant, effective)?;
        }
        Ok(())
    }

    /// The first price of the invoice of which something went back to the grant.
    fn price_given_back(&self, invoice: &InvoiceId, grant: &GrantId) -> Option<PriceName> {
        self.entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::Burn { request, outcome } if request.invoice == *invoice => {
                let burn =
                    outcome.burns.iter().find(|burn| burn.grant == *grant && burn.amount.is_negative())?;
                let index = burn.shares.iter().position(|share| share.is_negative())?;
                request.lines.get(index).map(|line| line.price.clone())
            }
            EntryKind::Grant { .. }
            | EntryKind::Burn { .. }
            | EntryKind::Settle { .. }
            | EntryKind::Expire { .. }
            | EntryKind::Reopen { .. }
            | EntryKind::Void { .. } => None,
        })
    }

    /// What the invoice and the payments of its debt moved in all, and when they did last.
    fn trail(
        &self,
        invoice: &InvoiceId,
    ) -> Result<(BTreeMap<Account, Amount>, Option<Timestamp>), LedgerError> {
        let is_its_own = |entry: &&Entry| match &entry.kind {
            EntryKind::Burn { request, outcome: _ } => request.invoice == *invoice,
            EntryKind::Settle { invoice: of, price: _, grant: _ } => of == invoice,
            EntryKind::Grant { terms: _ }
            | EntryKind::Expire { grant: _ }
            | EntryKind::Reopen { invoice: _, grant: _ }
            | EntryKind::Void { invoice: _, at: _ } => false,
        };
        let (own, others): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(is_its_own);
        // What other invoices forgave of its debt.
        let of_its_debt = |posting: &&Posting| match &posting.account {
            Account::Receivable { invoice: of, price: _ } => of == invoice,
            Account::Granted(_)
            | Account::Available(_)
            | Account::Consumed(_)
            | Account::Expired(_)
            | Account::RolledOver(_)
            | Account::Overage { .. } => false,
        };
        let forgiven = others.iter().flat_map(|entry| &entry.postings).filter(of_its_debt);
        let last_of_others =
            others.iter().filter(|entry| entry.postings.iter().any(|posting| of_its_debt(&posting)));
        let last = own.iter().chain(last_of_others).map(|entry| entry.at).max();
        let mut net: BTreeMap<Account, Amount> = BTreeMap::new();
        for posting in own.iter().flat_map(|entry| &entry.postings).chain(forgiven) {
            let sum = net.entry(posting.account.clone()).or_default();
            *sum = sum.checked_add(posting.amount)?;
        }
        Ok((net, last))
    }
}
