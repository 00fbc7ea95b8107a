//! How fast rating is by itself, without a store: nanoseconds a line, and whether a long invoice costs more a line than short ones.
//! `cargo run -p meridian-billing --example rating_speed`
//!
//! A plan has at most 100 prices and a subscription at most 100 add-ons, so 10,000 lines are a plan and 99 add-ons of 100
//! prices each. Every third price has tiers; all of them are metered. What is timed is `compute`, from an input to the lines and the
//! total; reading the input and writing the computation are timed apart, for they are not rating.
#![allow(clippy::disallowed_types, reason = "this is the crate's stopwatch and no part of it")]

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use meridian_billing::{
    ENGINE_VERSION,
    catalogue::PlanSpec,
    decimal::Quantity,
    ids::{CustomerKey, PlanName, SubscriptionId, TenantId},
    invoice::{
        Adjustments, BilledSegment, Computation, InvoiceInput, InvoiceKind, PlanTerms, PriceUsage, Terms,
        compute, metered,
    },
    period::Period,
    subscription::{SegmentState, Share},
};
use serde_json::json;

/// What is computed takes about so long, so that the clock's own steps do not count.
const LINES_TIMED: u32 = 200_000;
const ROUNDS: usize = 5;

fn main() {
    println!("cargo run -p meridian-billing --example rating_speed");
    println!("{:<24} {:>10} {:>14} {:>22}", "invoices", "lines", "ns a line", "ns a line, canonical");
    let short = Figures::of("one of 10 lines", 1, 1, 10);
    let medium = Figures::of("ten of 1,000 lines", 10, 10, 100);
    let long = Figures::of("one of 10,000 lines", 1, 100, 100);
    println!(
        "a line of the long invoice costs {} % of one of the ten; of an invoice of 10 lines {} %",
        long.rating_ns * 100 / medium.rating_ns,
        short.rating_ns * 100 / medium.rating_ns
    );
}

/// The best of some rounds: what disturbs a round only makes it longer.
struct Figures {
    rating_ns: u128,
}

impl Figures {
    /// Of so many invoices of a subscription with so many plans of so many prices.
    fn of(name: &str, invoices: u32, plans: usize, prices: usize) -> Self {
        let input = input(plans, prices);
        let lines = compute(&input).expect("it computes").lines.len() as u32;
        assert_eq!(lines as usize, plans * prices, "every price has a line");
        let repeats = (LINES_TIMED / (lines * invoices)).max(1) * invoices;
        let a_line = |took_ns: u128| took_ns / u128::from(repeats * lines);
        let rating_ns = a_line(best_ns(|| {
            for _ in 0..repeats {
                black_box(compute(black_box(&input)).expect("it computes"));
            }
        }));
        let computation = Computation::of(input).expect("it computes");
        let writing_ns = a_line(best_ns(|| {
            for _ in 0..repeats {
                black_box(black_box(&computation).canonical_json());
            }
        }));
        println!("{name:<24} {:>10} {rating_ns:>14} {writing_ns:>22}", lines * invoices);
        Self { rating_ns }
    }
}

fn best_ns(work: impl Fn()) -> u128 {
    let round = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_nanos()
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn input(plans: usize, prices: usize) -> InvoiceInput {
    let period = Period {
        start: "2026-07-01T00:00:00Z".parse().expect("a time"),
        end: "2026-08-01T00:00:00Z".parse().expect("a time"),
    };
    let mut plans = (0..plans).map(|number| plan(number, prices));
    let terms =
        Terms { plan: plans.next().expect("a plan"), add_ons: plans.collect(), quantities: BTreeMap::new() };
    let segment = BilledSegment {
        period,
        scheduled: Some(period),
        terms,
        share: Share::WHOLE,
        state: SegmentState::Active,
    };
    let segments = vec![segment];
    let used = |(number, metered)| {
        let quantity = Quantity::from_integer(1_234 + 77 * (number as i64 % 100));
        PriceUsage::total(&metered, quantity, 7, 1)
    };
    InvoiceInput {
        engine_version: ENGINE_VERSION,
        catalogue_version: 41,
        tenant: TenantId::new("acme").expect("a name"),
        customer: CustomerKey::tenant_itself(),
        subscription: SubscriptionId::new("sub_19").expect("an id"),
        time_zone: "UTC".to_owned(),
        period,
        kind: InvoiceKind::Period,
        usage: metered(&segments).expect("a plan").into_iter().enumerate().map(used).collect(),
        segments,
        plans_before: Vec::new(),
        charged_in_advance: Vec::new(),
        capped_before: None,
        next: None,
        stored_before: "2026-08-02T00:00:00Z".parse().expect("a time"),
        late: Vec::new(),
        adjustments: Adjustments::default(),
    }
}

fn plan(number: usize, prices: usize) -> PlanTerms {
    let price = |index: usize| {
        let name = format!("price-{index}");
        let meter = json!({"name": format!("meter-{index}")});
        match index % 3 {
            0 => json!({"name": name, "meterRef": meter, "graduated": {"tiers": [
                {"upTo": "1000", "unitAmount": "0.02"}, {"upTo": "5000", "unitAmount": "0.015"}, {"unitAmount": "0.01"}]}}),
            1 => json!({"name": name, "meterRef": meter, "perUnit": {"amount": "0.0123"}}),
            _ => json!({"name": name, "meterRef": meter, "included": "1000", "perUnit": {"amount": "0.01"}}),
        }
    };
    let spec = json!({
        "regionRef": {"name": "eu"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
        "prices": (0..prices).map(price).collect::<Vec<_>>(),
    });
    PlanTerms {
        name: PlanName::new(format!("plan-{number}")).expect("a name"),
        version: 1,
        spec: PlanSpec::from_json(&spec).expect("a plan"),
        quantity: Quantity::ONE,
    }
}
