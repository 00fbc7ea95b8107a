//! What is given back goes back the way it was paid: to grants, off debts, and the rest in money.

use super::*;
use crate::{
    catalogue::Billed,
    ids::InvoiceId,
    ledger::{BurnRequest, CreditShare, GrantSpec, Ledger, Overage, materialise},
};

/// A customer with a grant that begins with March.
fn ledger(amount: i64) -> Ledger {
    let grant = format!("[{{name: g, amount: '{amount}', effectiveAt: '{}'}}]", MARCH.0);
    let grants: Vec<GrantSpec> = serde_saphyr::from_str(&grant).expect("a grant in YAML");
    let currency = "USD".parse().expect("a currency");
    let mut ledger = Ledger::new(currency);
    for grant in materialise(&grants, currency, "UTC", period(MARCH).end).expect("grants") {
        ledger.issue(grant).expect("issued");
    }
    ledger
}

/// The invoice with what the ledger says of it.
fn billed(ledger: &mut Ledger, number: usize, input: &mut InvoiceInput, overage: Overage) -> ComputedInvoice {
    let request = BurnRequest {
        invoice: InvoiceId::new(format!("inv_{number}")).expect("an id"),
        billed: Billed::InArrears,
        at: period(MARCH).start + jiff::SignedDuration::from_hours(number as i64),
        currency: ledger.currency(),
        lines: burnable(input).expect("amounts"),
        overage,
        replaces: None,
    };
    input.adjustments.credits = Some(ledger.burn(request).expect("burns"));
    let text = Computation::of(input.clone()).expect("an invoice").canonical_json();
    assert!(Computation::verify(&text).is_ok());
    compute(input).expect("an invoice")
}

fn owed(ledger: &Ledger) -> Amount {
    let debts = ledger.debts(period(MARCH).end).expect("debts");
    Amount::checked_sum(debts.iter().map(|debt| debt.amount)).expect("fits")
}

fn used(ledger: &Ledger) -> Amount {
    let balances = ledger.balances(period(MARCH).end).expect("balances");
    Amount::checked_sum(balances.iter().map(|balance| balance.used)).expect("fits")
}

#[test]
fn what_credits_paid_in_advance_goes_back_to_them_without_a_tax_that_nobody_paid() {
    let base = terms("starter", plan("USD", "[{name: base, flat: {amount: '31', billed: InAdvance}}]"));
    let mut half = halves(base.clone(), base.clone());
    half.pop();
    let share = |grant: bool, amount: &str| CreditShare {
        grant: grant.then(|| crate::ledger::GrantId {
            name: "g".parse().expect("a name"),
            effective_at: period(MARCH).start,
        }),
        amount: amount.parse().expect("a decimal"),
    };
    for (credits, expected) in [
        (vec![], "-16 of -17.6, 31 used, 0 owed"),
        (vec![share(true, "31")], "-16 of 0, 15 used, 0 owed"),
        (vec![share(true, "15.50")], "-16 of -8.8, 23 used, 0 owed"),
        // Nothing is owed for it any more: it was paid meanwhile.
        (vec![share(false, "31")], "-16 of -17.6, 31 used, 0 owed"),
        // More than the grant ever paid does not go back to it.
        (vec![share(true, "31"), share(true, "31")], "-16 of 0, 15 used, 0 owed"),
    ] {
        let mut ledger = ledger(31);
        let mut first = of_segments(vec![whole(base.clone(), period(MARCH))], base.clone(), &[]);
        first.charged_in_advance.clear();
        first.next = None;
        billed(&mut ledger, 1, &mut first, Overage::Charge);
        let mut input = InvoiceInput { next: None, ..of_segments(half.clone(), base.clone(), &[]) };
        input.charged_in_advance[0].credits = credits;
        input.adjustments.tax_rates = serde_saphyr::from_str("[{name: vat, percent: '10'}]").expect("a tax");
        let invoice = billed(&mut ledger, 2, &mut input, Overage::Charge);
        let (used, owed) = (used(&ledger), owed(&ledger));
        let found = format!("{} of {}, {used} used, {owed} owed", invoice.subtotal, invoice.total);
        assert_eq!(found, expected);
    }
}

proptest! {
    /// However much is billed on the way and given back at the end: credits, debts and money come to what the usage costs, and nobody
    /// has more money back than they paid.
    #[test]
    fn credits_never_become_money(
        used_up in prop::collection::vec((0i64..150, 0i64..150), 1..5),
        granted in 1i64..300,
        carries in any::<bool>(),
        coupon in prop::sample::select(vec!["[]", "[{name: half, percent: '50'}]", "[{name: fix, amount: '20', currency: USD}]"]),
    ) {
        let volume = "volume: {tiers: [{upTo: '100', unitAmount: '2'}, {upTo: '200', unitAmount: '1'}, {unitAmount: '0.02'}]}";
        let prices = format!("[{{name: n, meterRef: {{name: m}}, {volume}}}, {{name: k, meterRef: {{name: l}}, {volume}}}]");
        let overage = if carries { Overage::Carry } else { Overage::Charge };
        let coupons: Vec<crate::coupon::CouponSpec> = serde_saphyr::from_str(coupon).expect("coupons in YAML");
        let mut ledger = ledger(granted);
        let (mut progress, mut paid, mut n, mut k) = (Progress::default(), Amount::ZERO, 0, 0);
        let last = used_up.len() - 1;
        for (index, (more_n, more_k)) in used_up.into_iter().enumerate() {
            (n, k) = (n + more_n, k + more_k);
            let mut template = input(plan("USD", &prices), &[("m", &n.to_string()), ("l", &k.to_string())]);
            template.adjustments.coupons = coupons.clone();
            let kind = if index == last { InvoiceKind::Period } else { InvoiceKind::Progressive };
            let mut part = InvoiceInput { kind, ..template.clone() };
            progress.take_off(&mut part).expect("taken off");
            let invoice = billed(&mut ledger, index, &mut part, overage);
            progress.add(&part, &invoice).expect("added");
            paid = paid.checked_add(invoice.total).expect("fits");
            // A fixed coupon is spread anew: what it leaves of another price then is money.
            let at_least = if coupon.contains("fix") { "-20" } else { "0" };
            prop_assert!(paid >= at_least.parse().expect("a decimal"), "{} paid in all", paid);
            if index == last {
                let cost = compute(&template).expect("an invoice").total;
                let all = Amount::checked_sum([paid, used(&ledger), owed(&ledger)]).expect("fits");
                let apart = all.checked_sub(cost).expect("fits");
                // A percentage is rounded on each invoice.
                let cents: Amount = "0.05".parse().expect("a decimal");
                prop_assert!(apart <= cents && apart.negated() <= cents, "{} and not {}", all, cost);
            }
        }
    }
}
