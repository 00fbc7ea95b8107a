//! Ledgers as stories: grants in YAML, invoices and balances as strings.

use super::*;
use crate::{
    catalogue::{Billed, SpecError},
    ids::PriceName,
};

fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    text.parse().expect("a time")
}

fn specs(yaml: &str) -> Vec<GrantSpec> {
    let list: Vec<serde_json::Value> = serde_saphyr::from_str(yaml).expect("YAML");
    list.iter().map(|spec| GrantSpec::from_json(spec).expect("valid")).collect()
}

fn usd() -> Currency {
    "USD".parse().expect("a currency")
}

fn issue(ledger: &mut Ledger, yaml: &str) {
    for terms in materialise(&specs(yaml), usd(), "UTC", at("2026-08-01")).expect("grants") {
        ledger.issue(terms).expect("issued");
    }
}

fn ledger(yaml: &str) -> Ledger {
    let mut ledger = Ledger::new(usd());
    issue(&mut ledger, yaml);
    ledger
}

fn invoice(id: &str) -> InvoiceId {
    InvoiceId::new(id).expect("an id")
}

fn request(id: &str, when: &str, lines: &[(&str, &str)], overage: Overage) -> BurnRequest {
    let line = |(price, amount): &(&str, &str)| BurnableLine {
        price: PriceName::new(*price).expect("a name"),
        amount: amount.parse().expect("a decimal"),
        given_back: Vec::new(),
    };
    BurnRequest {
        invoice: invoice(id),
        billed: Billed::InArrears,
        at: at(when),
        currency: usd(),
        lines: lines.iter().map(line).collect(),
        overage,
        replaces: None,
    }
}

fn sum(amounts: &[Amount]) -> String {
    amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

/// "name month-day amount = share + share" for each grant, and what was carried.
fn burn(ledger: &mut Ledger, id: &str, when: &str, lines: &[(&str, &str)], overage: Overage) -> Vec<String> {
    match ledger.burn(request(id, when, lines, overage)) {
        Ok(Burned { burns, carried, forgiven: _ }) => burns
            .iter()
            .map(|burn| format!("{} {} = {}", short(&burn.grant), burn.amount, sum(&burn.shares)))
            .chain(
                carried.iter().any(|amount| !amount.is_zero()).then(|| format!("carried {}", sum(&carried))),
            )
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn short(grant: &GrantId) -> String {
    format!("{} {}", grant.name, &grant.effective_at.to_string()[5..10])
}

/// "name month-day: granted 5, used 1 …", zeros left out.
fn balances(ledger: &Ledger, when: &str) -> Vec<String> {
    let shown = |balance: &Balance| {
        let Balance { grant, granted, used, expired, rolled_over, remaining } = balance;
        let parts = [
            ("granted", granted),
            ("used", used),
            ("expired", expired),
            ("rolled", rolled_over),
            ("left", remaining),
        ];
        let parts = parts.iter().filter(|(_, amount)| !amount.is_zero());
        let parts: Vec<_> = parts.map(|(name, amount)| format!("{name} {amount}")).collect();
        format!("{}: {}", short(grant), parts.join(", "))
    };
    ledger.balances(at(when)).expect("balances").iter().map(shown).collect()
}

fn debts(ledger: &Ledger, when: &str) -> Vec<String> {
    let debts = ledger.debts(at(when)).expect("debts");
    debts.iter().map(|debt| format!("{} {} {}", debt.invoice, debt.price, debt.amount)).collect()
}

const CHARGE: Overage = Overage::Charge;
const CARRY: Overage = Overage::Carry;

#[test]
fn grants_burn_by_priority_then_expiry_then_age_then_name() {
    let mut ledger = ledger(
        "[{name: forever, amount: '5', effectiveAt: '2026-01-01T00:00:00Z'},
          {name: late, amount: '5', effectiveAt: '2026-01-01T00:00:00Z', expiresAt: '2026-07-01T00:00:00Z'},
          {name: soon-b, amount: '5', effectiveAt: '2026-01-02T00:00:00Z', expiresAt: '2026-06-01T00:00:00Z'},
          {name: soon-a, amount: '5', effectiveAt: '2026-01-02T00:00:00Z', expiresAt: '2026-06-01T00:00:00Z'},
          {name: older, amount: '5', effectiveAt: '2026-01-01T00:00:00Z', expiresAt: '2026-06-01T00:00:00Z'},
          {name: first, amount: '5', priority: 1, effectiveAt: '2026-01-09T00:00:00Z'},
          {name: future, amount: '5', priority: 0, effectiveAt: '2026-04-01T00:00:00Z'}]",
    );
    assert_eq!(
        burn(&mut ledger, "inv_1", "2026-03-01", &[("a", "12"), ("b", "16")], CHARGE),
        [
            "first 01-09 5 = 5 + 0",
            "older 01-01 5 = 5 + 0",
            "soon-a 01-02 5 = 2 + 3",
            "soon-b 01-02 5 = 0 + 5",
            "late 01-01 5 = 0 + 5",
            "forever 01-01 3 = 0 + 3"
        ]
    );
    assert_eq!(balances(&ledger, "2026-03-01")[1], "forever 01-01: granted 5, used 3, left 2");
}

#[test]
fn grants_pay_for_positive_lines_of_their_prices() {
    let mut ledger =
        ledger("[{name: calls, amount: '50', effectiveAt: '2026-01-01T00:00:00Z', prices: [calls, base]}]");
    assert_eq!(
        burn(
            &mut ledger,
            "inv_1",
            "2026-03-01",
            &[("base", "10"), ("gb", "7"), ("calls", "-3"), ("calls", "4.37")],
            CHARGE
        ),
        ["calls 01-01 14.37 = 10 + 0 + 0 + 4.37"]
    );
    assert_eq!(balances(&ledger, "2026-03-01"), ["calls 01-01: granted 50, used 14.37, left 35.63"]);
}

#[test]
fn a_grant_that_ends_with_the_period_pays_for_its_last_instant_and_not_for_the_next() {
    let grants = "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}}]";
    let mut ledger = ledger(grants);
    assert_eq!(
        burn(&mut ledger, "inv_3", "2026-03-31T23:59:59.999999999Z", &[("a", "4")], CHARGE),
        ["m 03-01 4 = 4"]
    );
    assert_eq!(burn(&mut ledger, "inv_4", "2026-04-01", &[("a", "4")], CHARGE), ["m 04-01 4 = 4"]);
    assert_eq!(
        balances(&ledger, "2026-04-01"),
        ["m 03-01: granted 10, used 4, expired 6", "m 04-01: granted 10, used 4, left 6"]
    );
}

#[test]
fn what_rolls_over_is_at_most_the_maximum_and_can_roll_again() {
    let mut ledger = ledger(
        "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}, rollover: {max: '12'}}]",
    );
    assert_eq!(burn(&mut ledger, "inv_3", "2026-03-20", &[("a", "3")], CHARGE), ["m 03-01 3 = 3"]);
    assert_eq!(
        balances(&ledger, "2026-05-01"),
        [
            "m 03-01: granted 10, used 3, rolled 7",
            "m 04-01: granted 17, expired 5, rolled 12",
            "m 05-01: granted 22, left 22"
        ]
    );
    assert_eq!(
        balances(&ledger, "2026-04-30"),
        ["m 03-01: granted 10, used 3, rolled 7", "m 04-01: granted 17, left 17"]
    );
}

#[test]
fn a_rollover_in_percent_is_rounded_to_minor_units_and_its_last_recurrence_expires() {
    let ledger = ledger(
        "[{name: m, amount: '0.05', effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-05-01T00:00:00Z',
           every: {unit: Month}, rollover: {percent: '50', max: '7'}}]",
    );
    assert_eq!(
        balances(&ledger, "2026-06-01"),
        ["m 03-01: granted 0.05, expired 0.02, rolled 0.03", "m 04-01: granted 0.08, expired 0.08"]
    );
}

#[test]
fn a_rollover_needs_its_next_recurrence() {
    let yaml = "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}, rollover: {max: '12'}}]";
    let mut ledger = Ledger::new(usd());
    for terms in materialise(&specs(yaml), usd(), "UTC", at("2026-03-31")).expect("grants") {
        ledger.issue(terms).expect("issued");
    }
    assert_eq!(
        ledger.advance(at("2026-04-01")).expect_err("nowhere to go").to_string(),
        "what is left of grant m/2026-03-01T00:00:00Z rolls over to m/2026-04-01T00:00:00Z, which is not in the ledger: issue it first"
    );
    issue(&mut ledger, yaml);
    assert_eq!(ledger.advance(at("2026-04-01")), Ok(()));
}

#[test]
fn what_is_carried_is_paid_by_the_next_grants_that_may_pay_for_it() {
    let mut ledger = ledger(
        "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}, prices: [a, b]}]",
    );
    assert_eq!(
        burn(&mut ledger, "inv_3", "2026-03-20", &[("a", "8"), ("b", "15"), ("c", "99")], CARRY),
        ["m 03-01 10 = 8 + 2 + 0", "carried 0 + 13 + 0"]
    );
    assert_eq!(debts(&ledger, "2026-03-31"), ["inv_3 b 13"]);
    assert_eq!(debts(&ledger, "2026-04-01"), ["inv_3 b 3"]);
    issue(
        &mut ledger,
        "[{name: for-a, amount: '50', priority: 1, effectiveAt: '2026-04-10T00:00:00Z', prices: [a]}]",
    );
    assert_eq!(debts(&ledger, "2026-04-30"), ["inv_3 b 3"]);
    assert_eq!(debts(&ledger, "2026-05-01"), [""; 0]);
    assert_eq!(
        burn(&mut ledger, "inv_5", "2026-05-20", &[("b", "8")], CARRY),
        ["m 05-01 7 = 7", "carried 1"]
    );
    assert_eq!(
        balances(&ledger, "2026-05-20"),
        [
            "for-a 04-10: granted 50, left 50",
            "m 03-01: granted 10, used 10",
            "m 04-01: granted 10, used 10",
            "m 05-01: granted 10, used 10"
        ]
    );
}

#[test]
fn without_any_grant_nothing_is_carried() {
    let mut ledger = ledger("[{name: future, amount: '10', effectiveAt: '2026-05-01T00:00:00Z'}]");
    assert_eq!(burn(&mut ledger, "inv_3", "2026-03-20", &[("a", "8")], CARRY), [""; 0]);
    assert_eq!(debts(&ledger, "2026-06-01"), [""; 0]);
}

#[test]
fn a_void_gives_back_to_grants_in_force_and_to_expired_otherwise() {
    let mut ledger = ledger(
        "[{name: ends, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-04-01T00:00:00Z'},
          {name: stays, amount: '10', effectiveAt: '2026-03-01T00:00:00Z'}]",
    );
    burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "4")], CHARGE);
    burn(&mut ledger, "inv_2", "2026-03-20", &[("a", "9")], CHARGE);
    ledger.void(&invoice("inv_1"), at("2026-03-31")).expect("void");
    assert_eq!(
        balances(&ledger, "2026-03-31"),
        ["ends 03-01: granted 10, used 6, left 4", "stays 03-01: granted 10, used 3, left 7"]
    );
    ledger.void(&invoice("inv_2"), at("2026-04-01")).expect("void");
    assert_eq!(
        balances(&ledger, "2026-04-01"),
        ["ends 03-01: granted 10, expired 10", "stays 03-01: granted 10, left 10"]
    );
    assert_eq!(
        balances(&ledger, "2026-03-25"),
        ["ends 03-01: granted 10, used 10", "stays 03-01: granted 10, used 3, left 7"]
    );
}

#[test]
fn a_void_as_of_before_the_end_is_expired_and_rolled_over_as_if_in_time() {
    let grants = "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}, rollover: {percent: '50'}}]";
    let mut late = ledger(grants);
    burn(&mut late, "inv_1", "2026-03-10", &[("a", "4")], CHARGE);
    let mut in_time = late.clone();
    late.advance(at("2026-04-15")).expect("advances");
    for ledger in [&mut late, &mut in_time] {
        ledger.void(&invoice("inv_1"), at("2026-03-20")).expect("void");
    }
    assert_eq!(balances(&late, "2026-04-20"), balances(&in_time, "2026-04-20"));
    assert_eq!(balances(&late, "2026-04-20")[0], "m 03-01: granted 10, expired 5, rolled 5");
}

#[test]
fn a_void_forgives_what_was_carried_and_gives_back_what_was_paid_since() {
    let mut ledger =
        ledger("[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}}]");
    burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "25")], CARRY);
    ledger.void(&invoice("inv_1"), at("2026-04-15")).expect("void");
    assert_eq!(debts(&ledger, "2026-04-10"), ["inv_1 a 5"]);
    assert_eq!(debts(&ledger, "2026-05-01"), [""; 0]);
    assert_eq!(
        balances(&ledger, "2026-04-15"),
        ["m 03-01: granted 10, expired 10", "m 04-01: granted 10, left 10"]
    );
    // The next debt may use it.
    assert_eq!(burn(&mut ledger, "inv_2", "2026-04-15", &[("a", "6")], CARRY), ["m 04-01 6 = 6"]);
}

#[test]
fn the_two_parts_of_an_invoice_burn_as_of_their_own_times_and_are_voided_together() {
    let mut ledger =
        ledger("[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}}]");
    let usage = request("inv_1", "2026-03-31T23:59:59Z", &[("calls", "12")], CARRY);
    let base =
        BurnRequest { billed: Billed::InAdvance, ..request("inv_1", "2026-04-01", &[("base", "5")], CARRY) };
    ledger.burn(usage.clone()).expect("burns");
    // April's grant pays what the usage had carried first, then the base of April.
    assert_eq!(ledger.burn(base.clone()).expect("burns").burns[0].amount, "5".parse().expect("a decimal"));
    assert_eq!(
        balances(&ledger, "2026-04-01"),
        ["m 03-01: granted 10, used 10", "m 04-01: granted 10, used 7, left 3"]
    );
    ledger.void(&invoice("inv_1"), at("2026-04-02")).expect("void");
    assert_eq!(
        balances(&ledger, "2026-04-02"),
        ["m 03-01: granted 10, expired 10", "m 04-01: granted 10, left 10"]
    );
    let before = ledger.clone();
    ledger.burn(usage).expect("burned before");
    ledger.burn(base).expect("burned before");
    assert_eq!(ledger, before);

    burn(&mut ledger, "inv_2", "2026-04-05", &[("calls", "1")], CARRY);
    ledger.void(&invoice("inv_2"), at("2026-04-06")).expect("void");
    let part =
        BurnRequest { billed: Billed::InAdvance, ..request("inv_2", "2026-04-05", &[("base", "5")], CARRY) };
    assert_eq!(ledger.burn(part), Err(LedgerError::Voided(invoice("inv_2"))));
}

#[test]
fn an_invoice_that_comes_late_burns_what_was_there_and_takes_the_expiry_back() {
    let grants = "[{name: ends, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-04-01T00:00:00Z'}]";
    let mut late = ledger(grants);
    late.advance(at("2026-04-02")).expect("advances");
    assert_eq!(balances(&late, "2026-04-02"), ["ends 03-01: granted 10, expired 10"]);
    let mut in_time = ledger(grants);
    for ledger in [&mut late, &mut in_time] {
        assert_eq!(
            burn(ledger, "inv_1", "2026-03-31T23:59:59Z", &[("a", "7")], CHARGE),
            ["ends 03-01 7 = 7"]
        );
        assert_eq!(burn(ledger, "inv_2", "2026-03-15", &[("a", "7")], CHARGE), ["ends 03-01 3 = 3"]);
    }
    for when in ["2026-03-14", "2026-03-15", "2026-04-01", "2026-05-01"] {
        assert_eq!(balances(&late, when), balances(&in_time, when), "{when}");
    }
    assert_eq!(balances(&late, "2026-04-02"), ["ends 03-01: granted 10, used 10"]);
}

#[test]
fn a_late_invoice_does_not_spend_what_was_given_back_only_later() {
    let mut ledger = ledger("[{name: g, amount: '10', effectiveAt: '2026-03-01T00:00:00Z'}]");
    burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "8")], CHARGE);
    ledger.void(&invoice("inv_1"), at("2026-03-20")).expect("void");
    assert_eq!(burn(&mut ledger, "inv_2", "2026-03-05", &[("a", "9")], CHARGE), ["g 03-01 2 = 2"]);
    assert_eq!(burn(&mut ledger, "inv_3", "2026-03-20", &[("a", "9")], CHARGE), ["g 03-01 8 = 8"]);
    assert_eq!(balances(&ledger, "2026-03-10"), ["g 03-01: granted 10, used 10"]);
}

#[test]
fn an_invoice_issued_again_spends_what_the_void_one_gave_back() {
    for (grant, after_void) in [
        // One that lasts, and one that ends with the period and is over when the invoice becomes void.
        ("effectiveAt: '2026-03-01T00:00:00Z'", "g 03-01: granted 10, used 2, left 8"),
        (
            "effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-04-01T00:00:00Z'",
            "g 03-01: granted 10, used 2, expired 8",
        ),
    ] {
        let mut ledger = ledger(&format!("[{{name: g, amount: '10', {grant}}}]"));
        burn(&mut ledger, "inv_0", "2026-03-10", &[("a", "2")], CHARGE);
        assert_eq!(burn(&mut ledger, "inv_1", "2026-03-31", &[("a", "9")], CHARGE), ["g 03-01 8 = 8"]);
        ledger.void(&invoice("inv_1"), at("2026-04-05")).expect("void");
        assert_eq!(balances(&ledger, "2026-04-05"), [after_void]);
        let again = BurnRequest {
            replaces: Some(invoice("inv_1")),
            ..request("inv_2", "2026-03-31", &[("a", "9")], CHARGE)
        };
        let burned = ledger.burn(again.clone()).expect("burns");
        assert_eq!(burned.burns[0].amount.to_string(), "8");
        assert_eq!(balances(&ledger, "2026-04-06"), ["g 03-01: granted 10, used 10"]);
        assert_eq!(ledger.burn(again).expect("the same again"), burned);
        // What gave nothing back because it had spent nothing stands in nobody's way.
        let of_nothing = BurnRequest {
            replaces: Some(invoice("inv_9")),
            ..request("inv_3", "2026-03-31", &[("a", "9")], CHARGE)
        };
        assert_eq!(ledger.burn(of_nothing).expect("burns").burns, []);
    }
}

#[test]
fn the_same_command_again_changes_nothing_and_another_one_is_refused() {
    let grants = "[{name: g, amount: '10', effectiveAt: '2026-03-01T00:00:00Z'}]";
    let mut ledger = ledger(grants);
    let first = burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "8")], CHARGE);
    ledger.void(&invoice("inv_1"), at("2026-03-20")).expect("void");
    let before = ledger.clone();

    issue(&mut ledger, grants);
    assert_eq!(burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "8")], CHARGE), first);
    ledger.void(&invoice("inv_1"), at("2026-03-20")).expect("void");
    ledger.advance(at("2026-03-25")).expect("advances");
    assert_eq!(ledger, before);

    assert_eq!(
        burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "8.01")], CHARGE),
        ["burn/inv_1/in-arrears is in the ledger already, with other content"]
    );
    assert_eq!(
        ledger.void(&invoice("inv_1"), at("2026-03-21")).expect_err("another time").to_string(),
        "void/inv_1 is in the ledger already, with other content"
    );
    let other = GrantTerms { priority: 3, ..before.grants.values().next().expect("a grant").clone() };
    assert_eq!(
        ledger.issue(other).expect_err("another priority").to_string(),
        "grant/g/2026-03-01T00:00:00Z is in the ledger already, with other content"
    );
    assert_eq!(ledger, before);
}

#[test]
fn what_a_ledger_cannot_hold_is_refused() {
    let mut ledger = ledger("[{name: g, amount: '10', effectiveAt: '2026-03-01T00:00:00Z'}]");
    let before = ledger.clone();
    assert_eq!(
        burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "1"), ("a", "0.001")], CHARGE),
        ["line 1 has an amount that was not rounded: 0.001"]
    );
    let euros = BurnRequest {
        currency: "EUR".parse().expect("a currency"),
        ..request("inv_1", "2026-03-10", &[], CHARGE)
    };
    assert_eq!(ledger.burn(euros).expect_err("euros").to_string(), "the ledger is in USD, not in EUR");
    assert_eq!(
        ledger.void(&invoice("inv_9"), at("2026-03-10")),
        Err(LedgerError::UnknownInvoice(invoice("inv_9")))
    );
    assert_eq!(ledger, before);
    burn(&mut ledger, "inv_1", "2026-03-10", &[("a", "1")], CHARGE);
    assert_eq!(
        ledger.void(&invoice("inv_1"), at("2026-03-09")).expect_err("too early").to_string(),
        "invoice inv_1 burned as of 2026-03-10T00:00:00Z, it cannot be void as of 2026-03-09T00:00:00Z already"
    );
    let terms = before.grants.values().next().expect("a grant").clone();
    for (bad, problem) in [
        (GrantTerms { amount: Amount::ZERO, ..terms.clone() }, "its amount must be more than 0"),
        (
            GrantTerms { amount: "0.001".parse().expect("a decimal"), ..terms.clone() },
            "its amount has more digits than its currency",
        ),
        (GrantTerms { expires_at: Some(at("2026-03-01")), ..terms.clone() }, "it ends before it begins"),
        (
            GrantTerms { rollover: Some(RolloverSpec { max: None, percent: None }), ..terms.clone() },
            "it never ends, so it cannot roll over",
        ),
    ] {
        let grant = bad.grant.clone();
        assert_eq!(ledger.issue(bad), Err(LedgerError::InvalidGrant { grant, problem }));
    }
}

#[test]
fn a_ledger_is_its_entries_and_broken_ones_are_refused() {
    let mut ledger = ledger(
        "[{name: m, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', every: {unit: Month}, rollover: {max: '2'}}]",
    );
    burn(&mut ledger, "inv_1", "2026-04-10", &[("a", "25")], CARRY);
    ledger.void(&invoice("inv_1"), at("2026-05-01")).expect("void");
    let json = serde_json::to_string(ledger.entries()).expect("serializes");
    let entries: Vec<Entry> = serde_json::from_str(&json).expect("reads");
    assert_eq!(Ledger::from_entries(usd(), entries.clone()), Ok(ledger.clone()));

    let broken = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        Ledger::from_entries(usd(), entries).expect_err("broken").to_string()
    };
    assert_eq!(
        broken(&|entries| entries[1].postings[0].amount = Amount::ZERO),
        "entry 2: its postings do not sum to zero"
    );
    assert_eq!(
        broken(&|entries| drop(entries.remove(0))),
        "entry 2: its number does not follow the one before"
    );
    assert_eq!(
        broken(&|entries| entries[1].key = entries[0].key.clone()),
        "entry 2: its key was used before"
    );
    let unknown = broken(&|entries| {
        entries.remove(0);
        for (entry, seq) in entries.iter_mut().zip(1..) {
            entry.seq = seq;
        }
    });
    assert!(unknown.ends_with("it posts to a grant that was not issued"), "{unknown}");
}

#[test]
fn recurrences_follow_the_zone_and_the_month() {
    let shown = |yaml: &str, zone: &str, until: &str| {
        let grants = materialise(&specs(yaml), usd(), zone, at(until)).expect("grants");
        let end = |terms: &GrantTerms| terms.expires_at.map(|end| end.to_string()).unwrap_or_default();
        grants
            .iter()
            .map(|terms| format!("{} - {}", terms.grant.effective_at, end(terms)))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(
            "[{name: m, amount: '1', effectiveAt: '2026-01-31T00:00:00Z', every: {unit: Month}}]",
            "UTC",
            "2026-03-31"
        ),
        [
            "2026-01-31T00:00:00Z - 2026-02-28T00:00:00Z",
            "2026-02-28T00:00:00Z - 2026-03-31T00:00:00Z",
            "2026-03-31T00:00:00Z - 2026-04-30T00:00:00Z"
        ]
    );
    // Midnight in Berlin, before and after the clocks change on 29 March.
    assert_eq!(
        shown(
            "[{name: m, amount: '1', effectiveAt: '2026-02-28T23:00:00Z', every: {unit: Month}, expiresAfter: {unit: Day, count: 40}}]",
            "Europe/Berlin",
            "2026-04-01"
        ),
        ["2026-02-28T23:00:00Z - 2026-04-09T22:00:00Z", "2026-03-31T22:00:00Z - 2026-05-10T22:00:00Z"]
    );
    assert_eq!(
        shown(
            "[{name: m, amount: '1', effectiveAt: '2026-01-01T00:00:00Z', every: {unit: Month}, expiresAt: '2026-02-10T00:00:00Z'},
              {name: once, amount: '1', effectiveAt: '2026-01-01T00:00:00Z', expiresAfter: {unit: Year}},
              {name: later, amount: '1', effectiveAt: '2027-01-01T00:00:00Z'},
              {name: euro, amount: '1', currency: EUR, effectiveAt: '2026-01-01T00:00:00Z'}]",
            "UTC",
            "2026-12-31"
        ),
        [
            "2026-01-01T00:00:00Z - 2026-02-01T00:00:00Z",
            "2026-02-01T00:00:00Z - 2026-02-10T00:00:00Z",
            "2026-01-01T00:00:00Z - 2027-01-01T00:00:00Z"
        ]
    );
}

#[test]
fn what_is_given_next_is_what_is_made_next() {
    let zone = "Europe/Berlin";
    for yaml in [
        "[{name: once, amount: '1', effectiveAt: '2026-03-05T00:00:00Z', expiresAfter: {unit: Month}}]",
        "[{name: m, amount: '1', effectiveAt: '2026-01-30T23:00:00Z', every: {unit: Month}}]",
        "[{name: d, amount: '1', effectiveAt: '2026-03-20T23:00:00Z', every: {unit: Day, count: 6}, expiresAt: '2026-05-03T22:00:00Z'}]",
    ] {
        let specs = specs(yaml);
        let mut after = at("2026-01-01");
        let mut given = Vec::new();
        let made_until = loop {
            match specs[0].next_given(zone, after).expect("a zone") {
                // Never again.
                None => break at("2030-01-01"),
                Some(_) if given.len() == 9 => break after,
                Some(next) => {
                    assert!(next > after, "{yaml}");
                    given.push(next);
                    after = next;
                }
            }
        };
        let made = materialise(&specs, usd(), zone, made_until).expect("grants");
        let made: Vec<Timestamp> = made.iter().map(|terms| terms.grant.effective_at).collect();
        assert_eq!(given, made, "{yaml}");
    }
}

#[test]
fn nothing_is_appended_before_the_next_end() {
    let mut ledger = ledger(
        "[{name: a, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-03-09T00:00:00Z'},
          {name: b, amount: '10', effectiveAt: '2026-03-01T00:00:00Z', expiresAt: '2026-03-07T00:00:00Z'},
          {name: c, amount: '10', effectiveAt: '2026-03-01T00:00:00Z'}]",
    );
    let before = ledger.entries().len();
    assert_eq!(ledger.next_end(at("2026-03-02")), Some(at("2026-03-07")));
    ledger.advance(at("2026-03-07") - jiff::SignedDuration::from_micros(1)).expect("advances");
    assert_eq!(ledger.entries().len(), before);
    ledger.advance(at("2026-03-07")).expect("advances");
    assert_eq!(ledger.entries().len(), before + 1);
    assert_eq!(ledger.next_end(at("2026-03-07")), Some(at("2026-03-09")));
    assert_eq!(ledger.next_end(at("2026-03-09")), None);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let error = |yaml: &str, zone: &str, until: &str| {
        materialise(&specs(yaml), usd(), zone, at(until)).expect_err("refused").to_string()
    };
    let one = "{name: g, amount: '1', effectiveAt: '2026-01-01T00:00:00Z'}";
    assert_eq!(error(&format!("[{one}, {one}]"), "UTC", "2026-02-01"), "grant g is in the list twice");
    assert_eq!(
        error("[{name: g, amount: '0.001', effectiveAt: '2026-01-01T00:00:00Z'}]", "UTC", "2026-02-01"),
        "grant g is not valid: amount: USD has 2 digits after the decimal point at most"
    );
    let daily = "[{name: g, amount: '1', effectiveAt: '2026-01-01T00:00:00Z', every: {unit: Day}}]";
    assert_eq!(error(daily, "UTC", "2060-01-01"), "grant g recurs more than 10,000 times until then");
    assert_eq!(
        error(daily, "Mars/Olympus", "2026-02-01"),
        "grant g: \"Mars/Olympus\" is not a time zone of the IANA database"
    );
}

#[test]
fn each_mistake_in_a_grant_names_its_field() {
    let check = |rest: &str| {
        let yaml = format!("{{name: g, effectiveAt: '2026-01-01T00:00:00Z'{rest}}}");
        let json: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
        match GrantSpec::from_json(&json) {
            Ok(_) => "ok".to_owned(),
            Err(SpecError { field, code, detail }) => format!("{field} {code:?}: {detail}"),
        }
    };
    for (rest, expected) in [
        (", amount: '1'", "ok"),
        (", amount: '1', every: {unit: Month}, rollover: {max: '1', percent: '5'}", "ok"),
        (", amount: '0'", "amount OutOfRange: must be more than 0"),
        (
            ", amount: '0.5', currency: JPY",
            "amount OutOfRange: JPY has 0 digits after the decimal point at most",
        ),
        (
            ", amount: '1', expiresAt: '2026-01-01T00:00:00Z'",
            "expiresAt OutOfRange: must be after effectiveAt",
        ),
        (", amount: '1', every: {unit: Day, count: 0}", "every.count OutOfRange: must be at least 1"),
        (
            ", amount: '1', expiresAfter: {unit: Day, count: 0}",
            "expiresAfter.count OutOfRange: must be at least 1",
        ),
        (
            ", amount: '1', expiresAfter: {unit: Day}, expiresAt: '2026-02-01T00:00:00Z'",
            "expiresAfter Conflicting: a grant that does not recur ends once: use expiresAt or expiresAfter",
        ),
        (
            ", amount: '1', rollover: {max: '1'}",
            "rollover Conflicting: a grant that does not recur has nothing to roll over to: set every, or leave rollover out",
        ),
        (
            ", amount: '1', every: {unit: Day}, expiresAfter: {unit: Day}, rollover: {max: '1'}",
            "rollover Conflicting: what rolls over does so when the next recurrence begins: leave expiresAfter out",
        ),
        (", amount: '1', every: {unit: Day}, rollover: {}", "rollover Missing: give max, percent or both"),
        (
            ", amount: '1', every: {unit: Day}, rollover: {max: '0'}",
            "rollover.max OutOfRange: must be more than 0",
        ),
        (
            ", amount: '1', currency: USD, every: {unit: Day}, rollover: {max: '0.001'}",
            "rollover.max OutOfRange: USD has 2 digits after the decimal point at most",
        ),
        (
            ", amount: '1', every: {unit: Day}, rollover: {percent: '101'}",
            "rollover.percent OutOfRange: must be more than 0 and at most 100",
        ),
        (
            ", amount: '1', prices: []",
            "prices OutOfRange: name at least one price, or leave the list out for all of them",
        ),
    ] {
        assert_eq!(check(rest), expected, "{rest}");
    }
}
