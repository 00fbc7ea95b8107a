//! What holds for every ledger, whatever is granted, burned and voided, in whatever order and however late.

use proptest::prelude::*;

use super::*;
use crate::{catalogue::Billed, ids::PriceName};

#[derive(Debug, Clone, PartialEq)]
enum Command {
    /// An invoice of its own, or the part in advance of an earlier command's.
    Burn {
        day: i64,
        lines: Vec<(usize, i64)>,
        overage: Overage,
        in_advance_of: Option<usize>,
    },
    /// Of an invoice that burned before.
    Void {
        of: usize,
        day: i64,
    },
    Advance {
        day: i64,
    },
}

const LAST_DAY: i64 = 40;

fn day(day: i64) -> Timestamp {
    Timestamp::from_second(1_772_323_200 + day * 86_400).expect("a time")
}

fn cents(cents: i64) -> Amount {
    Amount::from_units(i128::from(cents) * 10_i128.pow(16)).expect("fits")
}

fn usd() -> Currency {
    "USD".parse().expect("a currency")
}

fn invoice(index: usize) -> InvoiceId {
    InvoiceId::new(format!("inv_{index}")).expect("an id")
}

fn grants() -> impl Strategy<Value = Vec<GrantTerms>> {
    let one = (1i64..3000, 0u8..3, 0i64..20, 0usize..5, 0usize..3);
    prop::collection::vec(one, 1..5).prop_map(|grants| {
        let specs: Vec<GrantSpec> = grants
            .into_iter()
            .enumerate()
            .map(|(index, (amount, priority, from, shape, prices))| {
                let shape = [
                    String::new(),
                    format!(", expiresAt: '{}'", day(from + 9)),
                    ", every: {unit: Day, count: 11}".to_owned(),
                    ", every: {unit: Day, count: 9}, rollover: {max: '7.5'}".to_owned(),
                    ", every: {unit: Day, count: 13}, rollover: {percent: '33'}".to_owned(),
                ][shape]
                    .clone();
                let prices = ["", ", prices: [a]", ", prices: [a, b]"][prices];
                let (amount, from) = (cents(amount), day(from));
                let yaml = format!(
                    "{{name: g{index}, amount: '{amount}', priority: {priority}, effectiveAt: '{from}'{shape}{prices}}}"
                );
                serde_saphyr::from_str(&yaml).expect("a grant")
            })
            .collect();
        materialise(&specs, usd(), "UTC", day(LAST_DAY)).expect("grants")
    })
}

fn overage() -> impl Strategy<Value = Overage> {
    prop::sample::select(vec![Overage::Charge, Overage::Carry])
}

fn lines() -> impl Strategy<Value = Vec<(usize, i64)>> {
    prop::collection::vec((0usize..3, -300i64..2500), 0..4)
}

fn commands() -> impl Strategy<Value = Vec<(usize, Command)>> {
    let burn = (0..LAST_DAY, lines(), overage(), prop::option::weighted(0.2, 0usize..6));
    let command = prop_oneof![
        5 => burn.prop_map(|(day, lines, overage, in_advance_of)| Command::Burn { day, lines, overage, in_advance_of }),
        2 => (0usize..6, 0..LAST_DAY).prop_map(|(of, day)| Command::Void { of, day }),
        1 => (0..LAST_DAY).prop_map(|day| Command::Advance { day }),
    ];
    prop::collection::vec(command, 0..10).prop_map(|commands| commands.into_iter().enumerate().collect())
}

fn request(index: usize, at: Timestamp, lines: &[(usize, i64)], overage: Overage) -> BurnRequest {
    let line = |(price, amount): &(usize, i64)| BurnableLine {
        price: PriceName::new(["a", "b", "c"][*price]).expect("a name"),
        amount: cents(*amount),
        given_back: Vec::new(),
    };
    BurnRequest {
        invoice: invoice(index),
        billed: Billed::InArrears,
        at,
        currency: usd(),
        lines: lines.iter().map(line).collect(),
        overage,
        replaces: None,
    }
}

/// What is given back was paid by a grant and carried, in halves; the ledger may know better.
fn giving_back(ledger: &Ledger, mut request: BurnRequest) -> BurnRequest {
    let grants: Vec<&GrantId> = ledger.grants.keys().collect();
    for (index, line) in request.lines.iter_mut().enumerate().filter(|(_, line)| line.amount.is_negative()) {
        let half = Amount(line.amount.0.negated().checked_mul_ratio(1, 2).expect("fits"));
        let half = usd().round(half, crate::money::RoundingPoint::InvoiceLine).expect("rounds");
        let rest = line.amount.negated().checked_sub(half).expect("fits");
        let grant = grants[index % grants.len()].clone();
        line.given_back =
            vec![CreditShare { grant: Some(grant), amount: half }, CreditShare { grant: None, amount: rest }];
    }
    request
}

fn issued(grants: &[GrantTerms]) -> Ledger {
    let mut ledger = Ledger::new(usd());
    for terms in grants {
        ledger.issue(terms.clone()).expect("issued");
    }
    ledger
}

/// Runs the commands; returns those that were not refused, with the invoice that each burns.
fn run(ledger: &mut Ledger, commands: &[(usize, Command)]) -> Vec<(usize, Command)> {
    let mut accepted = Vec::new();
    for (index, command) in commands {
        let done = match command {
            Command::Burn { day: on, lines, overage, in_advance_of } => {
                let part = in_advance_of.map_or(Billed::InArrears, |_| Billed::InAdvance);
                let of = in_advance_of.unwrap_or(*index);
                let request = BurnRequest { billed: part, ..request(of, day(*on), lines, *overage) };
                let request = giving_back(ledger, request);
                ledger.burn(request.clone()).map(|burned| check_outcome(&request, &burned))
            }
            Command::Void { of, day: on } => ledger.void(&invoice(*of), day(*on)),
            Command::Advance { day: on } => ledger.advance(day(*on)),
        };
        match done {
            Ok(()) => accepted.push((*index, command.clone())),
            Err(
                LedgerError::UnknownInvoice(_)
                | LedgerError::Voided(_)
                | LedgerError::VoidBeforeBurn { .. }
                | LedgerError::KeyConflict { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    accepted
}

/// No line is paid for more than it asks, and no more goes back than it gives.
fn check_outcome(request: &BurnRequest, burned: &Burned) {
    for (index, line) in request.lines.iter().enumerate() {
        let paid = burned.burns.iter().map(|burn| burn.shares[index]).chain([burned.carried[index]]);
        let paid = Amount::checked_sum(paid).expect("fits");
        let (least, most) = (line.amount.min(Amount::ZERO), line.amount.max(Amount::ZERO));
        assert!(least <= paid && paid <= most, "{paid} of {}", line.amount);
    }
    for burn in &burned.burns {
        assert_eq!(Amount::checked_sum(burn.shares.iter().copied()), Ok(burn.amount));
    }
}

/// As of every day: nothing but the sources is negative, and each grant adds up.
fn check_balances(ledger: &Ledger) {
    for on in 0..=LAST_DAY + 1 {
        let mut accounts: BTreeMap<&Account, Amount> = BTreeMap::new();
        let entries = ledger.entries().iter().filter(|entry| entry.at <= day(on));
        for posting in entries.flat_map(|entry| &entry.postings) {
            let sum = accounts.entry(&posting.account).or_default();
            *sum = sum.checked_add(posting.amount).expect("fits");
        }
        assert_eq!(Amount::checked_sum(accounts.values().copied()), Ok(Amount::ZERO));
        for (account, balance) in &accounts {
            let source = matches!(account, Account::Granted(_) | Account::Overage { .. });
            assert!(source || !balance.is_negative(), "day {on}: {account:?} is {balance}");
        }
    }
    for balance in ledger.balances(day(LAST_DAY)).expect("balances") {
        let Balance { grant, granted, used, expired, rolled_over, remaining } = balance;
        assert_eq!(Amount::checked_sum([used, expired, rolled_over, remaining]), Ok(granted), "{grant}");
        let ended = ledger.grants[&grant].has_ended(day(LAST_DAY));
        assert!(!ended || remaining.is_zero(), "{grant} has ended with {remaining}");
    }
}

/// All accounts of grants that are not zero, but for what is left and what is used of them, and what is left less what is owed: credits
/// that were given back may have paid another debt meanwhile.
fn accounts(ledger: &Ledger, at: Timestamp) -> (BTreeMap<Account, Amount>, Amount) {
    let mut accounts = ledger.accounts_at(at).expect("balances");
    let debts = ledger.debts(at).expect("debts");
    let owed = Amount::checked_sum(debts.iter().map(|debt| debt.amount)).expect("fits");
    let available = |account: &Account| matches!(account, Account::Available(_));
    let left = accounts.iter().filter(|(account, _)| available(account)).map(|(_, amount)| *amount);
    let left = Amount::checked_sum(left).expect("fits");
    accounts.retain(|account, amount| {
        let is_still = matches!(account, Account::Granted(_) | Account::Expired(_) | Account::RolledOver(_));
        is_still && !amount.is_zero()
    });
    (accounts, left.checked_sub(owed).expect("fits"))
}

proptest! {
    #[test]
    fn at_any_time_every_grant_adds_up_and_nothing_is_negative(grants in grants(), commands in commands()) {
        let mut ledger = issued(&grants);
        run(&mut ledger, &commands);
        ledger.advance(day(LAST_DAY)).expect("advances");
        check_balances(&ledger);
        prop_assert_eq!(&Ledger::from_entries(usd(), ledger.entries().to_vec()).expect("sound"), &ledger);
    }

    #[test]
    fn the_same_commands_again_change_nothing(grants in grants(), commands in commands()) {
        let mut ledger = issued(&grants);
        let accepted = run(&mut ledger, &commands);
        ledger.advance(day(LAST_DAY)).expect("advances");
        let before = ledger.clone();
        for terms in &grants {
            ledger.issue(terms.clone()).expect("issued before");
        }
        prop_assert_eq!(run(&mut ledger, &accepted).len(), accepted.len());
        ledger.advance(day(LAST_DAY)).expect("advances");
        prop_assert_eq!(ledger, before);
    }

    #[test]
    fn one_step_through_time_does_what_many_do(grants in grants(), lines in lines(), on in 0..LAST_DAY) {
        let mut once = issued(&grants);
        let mut daily = issued(&grants);
        for step in 0..=on {
            daily.advance(day(step)).expect("advances");
        }
        for ledger in [&mut once, &mut daily] {
            ledger.burn(request(1, day(on), &lines, Overage::Carry)).expect("burns");
        }
        for step in on..=LAST_DAY {
            daily.advance(day(step)).expect("advances");
        }
        once.advance(day(LAST_DAY)).expect("advances");
        prop_assert_eq!(once, daily);
    }

    #[test]
    fn the_order_of_independent_commands_at_one_instant_does_not_matter(
        grants in grants(), bills in prop::collection::vec(0i64..4000, 1..4), on in 0..LAST_DAY, overage in overage(), turn in 0usize..4,
    ) {
        // Independent: all of one price, so that it does not matter whose line a grant paid.
        let burned = |ledger: &mut Ledger, order: &[usize]| {
            for index in order {
                ledger.burn(request(*index, day(on), &[(0, bills[*index])], overage)).expect("burns");
            }
        };
        let forwards: Vec<usize> = (0..bills.len()).collect();
        let mut turned = forwards.clone();
        turned.rotate_left(turn % bills.len());
        let mut first = issued(&grants);
        burned(&mut first, &forwards);

        let mut backwards = grants.clone();
        backwards.reverse();
        let mut second = issued(&backwards);
        second.advance(day(on)).expect("advances");
        burned(&mut second, &turned);
        prop_assert_eq!(first.balances(day(on)), second.balances(day(on)));
        let owed = |ledger: &Ledger| {
            let debts = ledger.debts(day(on)).expect("debts");
            Amount::checked_sum(debts.iter().map(|debt| debt.amount))
        };
        prop_assert_eq!(owed(&first), owed(&second));
    }

    #[test]
    fn a_void_at_once_restores_what_was(grants in grants(), commands in commands(), lines in lines(), on in 0..LAST_DAY, overage in overage()) {
        // In order of time, so that no later command stands between.
        let before: Vec<(usize, Command)> = commands.into_iter().filter(|(_, command)| match command {
            Command::Burn { day, .. } | Command::Void { day, .. } | Command::Advance { day } => *day < on,
        }).collect();
        let mut ledger = issued(&grants);
        run(&mut ledger, &before);
        let earlier = accounts(&ledger, day(on));
        let request = giving_back(&ledger, request(99, day(on), &lines, overage));
        ledger.burn(request).expect("burns");
        ledger.void(&invoice(99), day(on)).expect("void");
        prop_assert_eq!(accounts(&ledger, day(on)), earlier);
    }

    #[test]
    fn an_invoice_issued_again_spends_what_the_void_one_gave_back(grants in grants(), commands in commands(), lines in lines(), on in 0..LAST_DAY, later in 0..LAST_DAY) {
        // Debts would be paid from what is given back.
        let commands: Vec<(usize, Command)> = commands.into_iter().filter(|(_, command)| match command {
            Command::Burn { overage, .. } => *overage == Overage::Charge,
            Command::Void { .. } | Command::Advance { .. } => true,
        }).collect();
        let mut ledger = issued(&grants);
        run(&mut ledger, &commands);
        let paid = |burned: &Burned| Amount::checked_sum(burned.burns.iter().map(|burn| burn.amount)).expect("fits");
        let first = ledger.burn(request(98, day(on), &lines, Overage::Charge)).expect("burns");
        ledger.void(&invoice(98), day(on.max(later))).expect("void");
        let again = BurnRequest { replaces: Some(invoice(98)), ..request(99, day(on), &lines, Overage::Charge) };
        let second = ledger.burn(again).expect("burns");
        prop_assert!(paid(&second) >= paid(&first), "{:?} after {:?}", second, first);
        ledger.advance(day(LAST_DAY)).expect("advances");
        check_balances(&ledger);
    }

    #[test]
    fn credits_cover_all_that_they_can(grants in grants(), lines in lines(), on in 0..LAST_DAY) {
        let mut ledger = issued(&grants);
        let request = request(1, day(on), &lines, Overage::Charge);
        let burned = ledger.burn(request.clone()).expect("burns");
        // Either a line is paid, or every grant that may pay for it is spent.
        for (index, line) in request.lines.iter().enumerate() {
            let paid = Amount::checked_sum(burned.burns.iter().map(|burn| burn.shares[index])).expect("fits");
            if paid < line.amount {
                for balance in ledger.balances(day(on)).expect("balances") {
                    let terms = &ledger.grants[&balance.grant];
                    prop_assert!(!terms.covers(&line.price) || balance.remaining.is_zero(), "{} is left", balance.grant);
                }
            }
        }
    }
}
