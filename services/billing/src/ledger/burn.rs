//! Grants pay for the lines of an invoice.
//!
//! Grants burn in their order (priority, then the soonest expiry, then the earlier one, then the name), each from the first
//! line on. A grant pays for positive lines of the prices that it covers, usage and flat alike; exact, nothing is rounded.
//!
//! What an invoice gives back (a negative line): give_back.rs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Account, Debt, EntryKind, GrantId, GrantTerms, Ledger, LedgerError, Posting, give_back::GivenBack,
};
use crate::{
    catalogue::Billed,
    decimal::{Amount, Overflow},
    ids::{InvoiceId, PriceName},
    money::Currency,
};

/// An invoice that wants to be paid by grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BurnRequest {
    /// Another revision of an invoice is another invoice.
    pub invoice: InvoiceId,
    /// An invoice burns in two parts where it has both kinds of lines, for they are of two times.
    #[serde(default)]
    pub billed: Billed,
    /// Grants in force at this instant pay. In arrears it is the last instant of the period, so that a grant which ends with
    /// the period pays for its usage; in advance it is the first instant of the period that is paid for.
    pub at: Timestamp,
    pub currency: Currency,
    pub lines: Vec<BurnableLine>,
    #[serde(default)]
    pub overage: Overage,
    /// The void invoice that it is the next revision of. What that one gave back is its own to spend, from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<InvoiceId>,
}

/// A line of an invoice, as far as grants see it: the amount is rounded, discounts are off, exclusive taxes not yet on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BurnableLine {
    pub price: PriceName,
    pub amount: Amount,
    /// Of a negative amount: how much of what is given back was not paid in money. Together at most the amount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_back: Vec<CreditShare>,
}

/// A part of an amount that was not paid in money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreditShare {
    /// Which grant paid it; none: it was carried as a debt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// In minor units.
    pub amount: Amount,
}

/// What becomes of a line's rest that no grant covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overage {
    /// The invoice asks for it.
    #[default]
    Charge,
    /// It becomes a debt in the ledger, which the next grants pay first, if some grant that ever took effect may pay for the
    /// price. Lines of other prices are charged.
    Carry,
}

/// What one grant paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Burn {
    pub grant: GrantId,
    /// Positive, or negative where it is given back; a grant may have one of both.
    pub amount: Amount,
    /// Of each line, in their order; they sum to `amount`.
    pub shares: Vec<Amount>,
}

/// What the ledger took over of an invoice. The invoice asks for the rest of each line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Burned {
    /// In burn order; only grants that paid something.
    pub burns: Vec<Burn>,
    /// Of each line: what was carried as a debt; negative where so much is owed no more.
    pub carried: Vec<Amount>,
    /// The debts that are owed no more, by so much (positive).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgiven: Vec<Debt>,
}

impl BurnRequest {
    fn key(&self) -> String {
        let part = match self.billed {
            Billed::InArrears | Billed::OneTime => "in-arrears",
            Billed::InAdvance => "in-advance",
        };
        format!("burn/{}/{part}", self.invoice)
    }
}

impl Ledger {
    /// Pays the lines of an invoice from the grants, once: the same request again returns what the first one did, also after
    /// the invoice was voided.
    pub fn burn(&mut self, request: BurnRequest) -> Result<Burned, LedgerError> {
        let key = request.key();
        if let Some(entry) = self.entry(&key) {
            if let EntryKind::Burn { request: first, outcome } = &entry.kind
                && *first == request
            {
                return Ok(outcome.clone());
            }
            return Err(LedgerError::KeyConflict { key });
        }
        if self.entry(&format!("void/{}", request.invoice)).is_some() {
            return Err(LedgerError::Voided(request.invoice));
        }
        self.check_request(&request)?;
        let at = self.takes_effect(&request);
        self.advance(at)?;
        let outcome = self.plan_burn(&request, at)?;
        let postings = self.postings(&request, &outcome, at);
        let kind = EntryKind::Burn { request: request.clone(), outcome: outcome.clone() };
        self.append(key, at, kind, postings)?;
        for burn in outcome.burns.iter().filter(|burn| burn.amount > Amount::ZERO) {
            self.reopen_if_expired(&request.invoice, &burn.grant, at)?;
        }
        Ok(outcome)
    }

    /// The instant of the request, or when the invoice that it replaces gave back what it had spent.
    fn takes_effect(&self, request: &BurnRequest) -> Timestamp {
        let replaced = request.replaces.as_ref().and_then(|invoice| self.entry(&format!("void/{invoice}")));
        replaced.map_or(request.at, |void| void.at.max(request.at))
    }

    fn check_request(&self, request: &BurnRequest) -> Result<(), LedgerError> {
        if request.currency != self.currency {
            return Err(LedgerError::Currency { given: request.currency, expected: self.currency });
        }
        let mut lines = request.lines.iter().enumerate();
        match lines.find(|(_, line)| !self.currency.is_in_minor_units(line.amount)) {
            Some((index, line)) => Err(LedgerError::UnroundedLine { index, amount: line.amount }),
            None => Ok(()),
        }
    }

    /// Grants in force at the request's instant pay, by what is there when it takes effect.
    fn plan_burn(&self, request: &BurnRequest, at: Timestamp) -> Result<Burned, LedgerError> {
        let mut left: Vec<Amount> = request.lines.iter().map(|line| line.amount.max(Amount::ZERO)).collect();
        let mut burns = Vec::new();
        for terms in self.burn_order().iter().filter(|terms| terms.is_in_force(request.at)) {
            let usable = self.usable(&terms.grant, at)?;
            let shares = take(terms, usable, &request.lines, &mut left)?;
            let amount = Amount::checked_sum(shares.iter().copied())?;
            if !amount.is_zero() {
                burns.push(Burn { grant: terms.grant.clone(), amount, shares });
            }
        }
        let mut carried: Vec<Amount> = request
            .lines
            .iter()
            .zip(left)
            .map(|(line, left)| match request.overage {
                Overage::Carry if self.ever_covered(&line.price, request.at) => left,
                Overage::Carry | Overage::Charge => Amount::ZERO,
            })
            .collect();
        let back = GivenBack::plan(self, &request.lines, at)?;
        for (carried, owed_no_more) in carried.iter_mut().zip(&back.owed_no_more) {
            *carried = carried.checked_sub(*owed_no_more)?;
        }
        let forgiven = back.forgiven.clone();
        burns.extend(back.burns()?);
        Ok(Burned { burns, carried, forgiven })
    }

    /// Whether a grant that took effect by then, ended or not, may pay for the price.
    fn ever_covered(&self, price: &PriceName, at: Timestamp) -> bool {
        self.grants.values().any(|terms| terms.grant.effective_at <= at && terms.covers(price))
    }
}

/// Takes from each line that the grant covers what is left of it, as far as the grant goes.
fn take(
    terms: &GrantTerms,
    usable: Amount,
    lines: &[BurnableLine],
    left: &mut [Amount],
) -> Result<Vec<Amount>, Overflow> {
    let mut usable = usable;
    lines
        .iter()
        .zip(left)
        .map(|(line, left)| {
            let share = if terms.covers(&line.price) { usable.min(*left) } else { Amount::ZERO };
            usable = usable.checked_sub(share)?;
            *left = left.checked_sub(share)?;
            Ok(share)
        })
        .collect()
}

impl Ledger {
    fn postings(&self, request: &BurnRequest, outcome: &Burned, at: Timestamp) -> Vec<Posting> {
        let Burned { burns, carried, forgiven } = outcome;
        let mut postings = Vec::new();
        for Burn { grant, amount, shares: _ } in burns {
            let ended = self.grants.get(grant).is_some_and(|terms| terms.has_ended(at));
            // What comes back after the end is over, too.
            let held = match amount.is_negative() && ended {
                true => Account::Expired(grant.clone()),
                false => Account::Available(grant.clone()),
            };
            postings.extend([
                Posting { account: held, amount: amount.negated() },
                Posting { account: Account::Consumed(grant.clone()), amount: *amount },
            ]);
        }
        let mut owed = |invoice: &InvoiceId, price: &PriceName, amount: Amount| {
            let (invoice, price) = (invoice.clone(), price.clone());
            postings.extend([
                Posting {
                    account: Account::Overage { invoice: invoice.clone(), price: price.clone() },
                    amount: amount.negated(),
                },
                Posting { account: Account::Receivable { invoice, price }, amount },
            ]);
        };
        for (line, amount) in request.lines.iter().zip(carried) {
            owed(&request.invoice, &line.price, (*amount).max(Amount::ZERO));
        }
        for Debt { invoice, price, amount } in forgiven {
            owed(invoice, price, amount.negated());
        }
        postings
    }
}
