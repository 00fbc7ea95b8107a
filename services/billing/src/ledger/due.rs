//! What time alone does to a ledger: grants end and roll over, and grants that took effect pay the debts that were carried.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Account, EntryKind, GrantId, GrantTerms, Ledger, LedgerError, Posting};
use crate::{decimal::Amount, ids::InvoiceId};

impl Ledger {
    /// Appends all that was due at or before `until`, as of the instants at which it was. Doing so again changes nothing, and
    /// one step to `until` gives the same entries as many: at each instant grants end first (one that ends at an instant cannot be
    /// spent at it, and what rolls over can), then the ones in force pay debts, the oldest debt first.
    ///
    /// Recurrences that begin by `until` must have been issued, since rollovers go to them. Every command does this first.
    pub fn advance(&mut self, until: Timestamp) -> Result<(), LedgerError> {
        let instants: BTreeSet<Timestamp> = self
            .grants
            .values()
            .flat_map(|terms| [Some(terms.grant.effective_at), terms.expires_at])
            .flatten()
            .chain(self.entries.iter().map(|entry| entry.at))
            .filter(|instant| *instant <= until)
            .collect();
        let mut ends: Vec<GrantTerms> =
            self.grants.values().filter(|terms| terms.has_ended(until)).cloned().collect();
        ends.sort_by(|a, b| (a.expires_at, &a.grant).cmp(&(b.expires_at, &b.grant)));
        let mut ends = ends.into_iter().peekable();
        for instant in instants {
            while let Some(terms) = ends.next_if(|terms| terms.has_ended(instant)) {
                self.expire(&terms, instant)?;
            }
            self.settle(instant)?;
        }
        Ok(())
    }

    /// When the first of its grants ends after an instant. Between here and there [`Ledger::advance`] appends nothing, unless a
    /// grant is issued ([`super::GrantSpec::next_given`]) or a command is carried out.
    pub fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        self.grants.values().filter_map(|terms| terms.expires_at).filter(|end| *end > after).min()
    }

    /// Takes what is left of a grant that ended: a part to its next recurrence, the rest to Expired. What was put back since
    /// (by a void as of an earlier instant) is treated as if it had been there in time.
    fn expire(&mut self, terms: &GrantTerms, expires_at: Timestamp) -> Result<(), LedgerError> {
        let grant = &terms.grant;
        let left = self.balance(&Account::Available(grant.clone()))?;
        if left <= Amount::ZERO {
            return Ok(());
        }
        let mut postings =
            vec![Posting { account: Account::Available(grant.clone()), amount: left.negated() }];
        let mut rolled = Amount::ZERO;
        if let Some((successor, rollover)) = terms.successor() {
            if !self.grants.contains_key(&successor) {
                return Err(LedgerError::SuccessorMissing { grant: grant.clone(), successor });
            }
            let unused = self.taken_by_expiry(grant)?.checked_add(left)?;
            let before = self.balance(&Account::RolledOver(grant.clone()))?;
            let more = rollover.of(unused, self.currency)?.checked_sub(before)?;
            rolled = more.max(Amount::ZERO).min(left);
            postings.extend([
                Posting { account: Account::RolledOver(grant.clone()), amount: rolled },
                Posting { account: Account::Granted(successor.clone()), amount: rolled.negated() },
                Posting { account: Account::Available(successor), amount: rolled },
            ]);
        }
        postings
            .push(Posting { account: Account::Expired(grant.clone()), amount: left.checked_sub(rolled)? });
        let kind = EntryKind::Expire { grant: grant.clone() };
        let key = self.numbered_key(&format!("expire/{grant}"), &kind);
        self.append(key, expires_at, kind, postings)
    }

    /// What the ends of this grant took out of it so far, less what late invoices took back.
    fn taken_by_expiry(&self, grant: &GrantId) -> Result<Amount, LedgerError> {
        let available = Account::Available(grant.clone());
        let taken = self.entries.iter().filter(|entry| match &entry.kind {
            EntryKind::Expire { grant: of } | EntryKind::Reopen { invoice: _, grant: of } => of == grant,
            EntryKind::Grant { .. }
            | EntryKind::Burn { .. }
            | EntryKind::Settle { .. }
            | EntryKind::Void { .. } => false,
        });
        let postings = taken.flat_map(|entry| &entry.postings).filter(|posting| posting.account == available);
        Ok(Amount::checked_sum(postings.map(|posting| posting.amount))?.negated())
    }

    /// Lets the grants in force pay what was carried, the oldest debt first.
    fn settle(&mut self, at: Timestamp) -> Result<(), LedgerError> {
        for debt in self.outstanding(at)? {
            let mut left = debt.amount;
            for terms in self.burn_order() {
                if left.is_zero() || !terms.is_in_force(at) || !terms.covers(&debt.price) {
                    continue;
                }
                let amount = self.usable(&terms.grant, at)?.min(left);
                if amount.is_zero() {
                    continue;
                }
                left = left.checked_sub(amount)?;
                let (invoice, price) = (debt.invoice.clone(), debt.price.clone());
                let grant = terms.grant;
                let postings = vec![
                    Posting { account: Account::Available(grant.clone()), amount: amount.negated() },
                    Posting { account: Account::Consumed(grant.clone()), amount },
                    Posting {
                        account: Account::Receivable { invoice: invoice.clone(), price: price.clone() },
                        amount: amount.negated(),
                    },
                    Posting {
                        account: Account::Overage { invoice: invoice.clone(), price: price.clone() },
                        amount,
                    },
                ];
                let stem = format!("settle/{invoice}/{price}/{grant}");
                let kind = EntryKind::Settle { invoice: invoice.clone(), price, grant: grant.clone() };
                let key = self.numbered_key(&stem, &kind);
                self.append(key, at, kind, postings)?;
                self.reopen_if_expired(&invoice, &grant, at)?;
            }
        }
        Ok(())
    }

    /// After something was taken as of an instant before the grant's end, but the end was in the ledger already: the end took
    /// so much too much. What a void invoice gave back after the end is there from then on.
    pub(super) fn reopen_if_expired(
        &mut self,
        invoice: &InvoiceId,
        grant: &GrantId,
        taken_at: Timestamp,
    ) -> Result<(), LedgerError> {
        let missing = self.balance(&Account::Available(grant.clone()))?.negated();
        let end = self.grants.get(grant).and_then(|terms| terms.expires_at);
        let (Some(end), true) = (end, missing > Amount::ZERO) else { return Ok(()) };
        let postings = vec![
            Posting { account: Account::Expired(grant.clone()), amount: missing.negated() },
            Posting { account: Account::Available(grant.clone()), amount: missing },
        ];
        let kind = EntryKind::Reopen { invoice: invoice.clone(), grant: grant.clone() };
        let key = self.numbered_key(&format!("reopen/{invoice}/{grant}"), &kind);
        self.append(key, end.max(taken_at), kind, postings)
    }

    /// What is made from the state of the ledger, and not by a command, may happen more than once: it is numbered, so that of
    /// two workers who find the same due only one can append it.
    fn numbered_key(&self, stem: &str, kind: &EntryKind) -> String {
        let before = self.entries.iter().filter(|entry| entry.kind == *kind).count();
        format!("{stem}/{}", before + 1)
    }
}
