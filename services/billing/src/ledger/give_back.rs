//! What an invoice gives back goes back the way it was paid: to the grants, as a void would ([`super::Ledger::void`]), and what was carried is
//! owed no more. So credits never become money, and nobody is paid for what they still owe.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Account, Burn, BurnableLine, CreditShare, Debt, EntryKind, GrantId, Ledger};
use crate::{
    decimal::{Amount, Overflow},
    ids::PriceName,
};

/// Where the amounts of an invoice's negative lines go, as of an instant.
pub(super) struct GivenBack<'a> {
    ledger: &'a Ledger,
    at: Timestamp,
    lines: usize,
    /// Of each line, what goes back to a grant; positive.
    to_grants: BTreeMap<GrantId, Vec<Amount>>,
    /// Of each line, what is owed no more; positive.
    pub owed_no_more: Vec<Amount>,
    pub forgiven: Vec<Debt>,
}

impl<'a> GivenBack<'a> {
    pub fn plan(ledger: &'a Ledger, lines: &[BurnableLine], at: Timestamp) -> Result<Self, Overflow> {
        let mut planned = Self {
            ledger,
            at,
            lines: lines.len(),
            to_grants: BTreeMap::new(),
            owed_no_more: vec![Amount::ZERO; lines.len()],
            forgiven: Vec::new(),
        };
        for (index, BurnableLine { price, amount: _, given_back }) in lines.iter().enumerate() {
            for CreditShare { grant, amount } in given_back {
                match grant {
                    // What it did not pay, or has back already, is not its own.
                    Some(grant) => {
                        planned.repay(index, grant, *amount)?;
                    }
                    None => planned.carried(index, price, *amount)?,
                }
            }
        }
        Ok(planned)
    }

    /// One for each grant that has something back; negative.
    pub fn burns(self) -> Result<Vec<Burn>, Overflow> {
        let burn = |(grant, back): (GrantId, Vec<Amount>)| {
            let shares: Vec<Amount> = back.into_iter().map(Amount::negated).collect();
            Ok(Burn { grant, amount: Amount::checked_sum(shares.iter().copied())?, shares })
        };
        let burns = self.to_grants.into_iter().map(burn).collect::<Result<Vec<_>, Overflow>>()?;
        Ok(burns.into_iter().filter(|burn| !burn.amount.is_zero()).collect())
    }

    /// What was carried is owed no more. Where it was paid since, the grants have it back that paid it; what then is left, as of a
    /// debt that is void by now, other debts are lower by.
    fn carried(&mut self, line: usize, price: &PriceName, amount: Amount) -> Result<(), Overflow> {
        let left = self.off_debts(line, amount, |debt| debt.price == *price)?;
        let left = self.repay_who_settled(line, price, left)?;
        self.off_debts(line, left, |_| true)?;
        Ok(())
    }

    /// Says what is left, like the ones below.
    fn off_debts(
        &mut self,
        line: usize,
        amount: Amount,
        of: impl Fn(&Debt) -> bool,
    ) -> Result<Amount, Overflow> {
        let mut left = amount;
        for Debt { invoice, price, amount } in self.ledger.outstanding(self.at)?.into_iter().filter(of) {
            let before = self.forgiven.iter().filter(|debt| debt.invoice == invoice && debt.price == price);
            let before = Amount::checked_sum(before.map(|debt| debt.amount))?;
            let amount = amount.checked_sub(before)?.min(left).max(Amount::ZERO);
            if !amount.is_zero() {
                left = left.checked_sub(amount)?;
                self.owed_no_more[line] = self.owed_no_more[line].checked_add(amount)?;
                self.forgiven.push(Debt { invoice, price, amount });
            }
        }
        Ok(left)
    }

    /// The latest payments first.
    fn repay_who_settled(
        &mut self,
        line: usize,
        price: &PriceName,
        amount: Amount,
    ) -> Result<Amount, Overflow> {
        let ledger = self.ledger;
        let settled = ledger.entries.iter().rev().filter_map(|entry| match &entry.kind {
            EntryKind::Settle { invoice: _, price: of, grant } if of == price => Some((entry, grant)),
            EntryKind::Settle { .. }
            | EntryKind::Grant { .. }
            | EntryKind::Burn { .. }
            | EntryKind::Expire { .. }
            | EntryKind::Reopen { .. }
            | EntryKind::Void { .. } => None,
        });
        let mut left = amount;
        for (entry, grant) in settled {
            let account = Account::Consumed(grant.clone());
            let paid = entry.postings.iter().filter(|posting| posting.account == account);
            let back = Amount::checked_sum(paid.map(|posting| posting.amount))?.min(left);
            let rest = self.repay(line, grant, back)?;
            left = left.checked_sub(back)?.checked_add(rest)?;
        }
        Ok(left)
    }

    /// A grant has back at most what it paid.
    fn repay(&mut self, line: usize, grant: &GrantId, amount: Amount) -> Result<Amount, Overflow> {
        let consumed = self.ledger.least(&[Account::Consumed(grant.clone())], self.at)?;
        let back = self.to_grants.entry(grant.clone()).or_insert_with(|| vec![Amount::ZERO; self.lines]);
        let there = consumed.checked_sub(Amount::checked_sum(back.iter().copied())?)?.max(Amount::ZERO);
        let taken = amount.min(there);
        back[line] = back[line].checked_add(taken)?;
        amount.checked_sub(taken)
    }
}
