//! The gate against a small pipeline that is played step by step.

use proptest::prelude::*;

use super::*;

#[test]
fn every_partition_and_every_outbox_shard_is_awaited() {
    let sources = Sources { kafka_partitions: 3 };
    assert_eq!(Gate::new(7).awaited(sources), ["outbox/0", "outbox/1", "outbox/2", "outbox/3"]);
    let kafka = ["kafka/0", "kafka/1", "kafka/2"];
    assert_eq!(Gate::Moved { in_kafka_before_us: 7 }.awaited(sources), kafka);
    assert_eq!(Gate::Cutoff { stored_before_us: 7 }.awaited(sources), kafka);
}

#[test]
fn a_stage_waits_while_a_source_never_reported_or_is_behind() {
    for gate in
        [Gate::new(100), Gate::Moved { in_kafka_before_us: 100 }, Gate::Cutoff { stored_before_us: 100 }]
    {
        assert_eq!(gate.look(None, 1_000, 5), Look::Wait(gate));
        assert_eq!(gate.look(Some(99), 1_000, 5), Look::Wait(gate));
        assert_ne!(gate.look(Some(100), 1_000, 5), Look::Wait(gate));
    }
}

#[test]
fn each_stage_begins_after_the_one_before_was_seen_through() {
    let Look::Next(moved) = Gate::new(100).look(Some(100), 130, 5) else {
        panic!("the outboxes are through")
    };
    assert_eq!(moved, Gate::Moved { in_kafka_before_us: 135 });
    let Look::Next(cutoff) = moved.look(Some(140), 150, 5) else { panic!("the partitions are through") };
    assert_eq!(cutoff, Gate::Cutoff { stored_before_us: 155 });
    assert_eq!(cutoff.look(Some(154), 160, 5), Look::Wait(cutoff));
    assert_eq!(cutoff.look(Some(155), 160, 5), Look::Passed { stored_before_us: 155 });
}

#[test]
fn a_clock_that_is_behind_never_moves_the_gate_backwards() {
    assert_eq!(Gate::new(100).look(Some(100), 50, 5), Look::Next(Gate::Moved { in_kafka_before_us: 100 }));
    let moved = Gate::Moved { in_kafka_before_us: 100 };
    assert_eq!(moved.look(Some(100), 50, 5), Look::Next(Gate::Cutoff { stored_before_us: 100 }));
}

#[test]
fn the_stage_survives_as_a_heartbeat() {
    for gate in [Gate::new(1), Gate::Moved { in_kafka_before_us: 2 }, Gate::Cutoff { stored_before_us: 3 }] {
        let json = serde_json::to_string(&gate).expect("serializes");
        assert_eq!(serde_json::from_str::<Gate>(&json).expect("reads"), gate);
    }
}

/// One event's way, in microseconds of one clock.
#[derive(Debug, Clone, Copy)]
struct Way {
    acknowledged_us: i64,
    /// None: it went to Kafka directly.
    drained_us: Option<i64>,
    stored_us: i64,
}

fn way() -> impl Strategy<Value = Way> {
    (0i64..400, prop::option::of(1i64..300), 1i64..300).prop_map(|(acknowledged_us, drain_us, store_us)| {
        let drained_us = drain_us.map(|drain_us| acknowledged_us + drain_us);
        Way { acknowledged_us, drained_us, stored_us: drained_us.unwrap_or(acknowledged_us) + store_us }
    })
}

/// What the sources may claim at `now`, at most: nothing acknowledged before is still in the outbox; nothing in Kafka before
/// is still not stored. Reports may lag behind that by `lag`.
fn claims(ways: &[Way], now_us: i64, lag_us: i64) -> (i64, i64) {
    let asked_us = now_us - lag_us;
    let in_outbox = ways
        .iter()
        .filter(|way| way.acknowledged_us <= now_us && way.drained_us.is_some_and(|at| at > now_us));
    let outbox = in_outbox.map(|way| way.acknowledged_us).min().unwrap_or(asked_us).min(asked_us);
    let in_kafka =
        |way: &&Way| way.drained_us.unwrap_or(way.acknowledged_us) <= now_us && way.stored_us > now_us;
    let kafka = ways
        .iter()
        .filter(in_kafka)
        .map(|way| way.drained_us.unwrap_or(way.acknowledged_us))
        .min()
        .unwrap_or(asked_us);
    (outbox, kafka.min(asked_us))
}

proptest! {
    #[test]
    fn whatever_was_acknowledged_before_is_stored_below_the_cutoff_and_nothing_is_stored_below_it_later(
        ways in prop::collection::vec(way(), 0..12),
        asked_us in 0i64..500,
        step_us in 1i64..40,
        lag_us in 0i64..30,
    ) {
        let mut gate = Gate::new(asked_us);
        let mut now_us = asked_us;
        let stored_before_us = loop {
            prop_assert!(now_us < 10_000, "the gate never opened");
            let (outbox_us, kafka_us) = claims(&ways, now_us, lag_us);
            let through_us = match gate {
                Gate::Outbox { .. } => outbox_us,
                Gate::Moved { .. } | Gate::Cutoff { .. } => kafka_us,
            };
            match gate.look(Some(through_us), now_us, 1) {
                Look::Wait(same) => {
                    gate = same;
                    now_us += step_us;
                }
                Look::Next(next) => gate = next,
                Look::Passed { stored_before_us } => break stored_before_us,
            }
        };
        for way in &ways {
            if way.acknowledged_us < asked_us {
                prop_assert!(way.stored_us < stored_before_us, "{way:?} is missing below {stored_before_us}");
            }
            prop_assert!(way.stored_us >= stored_before_us || way.stored_us <= now_us, "{way:?} appears below {stored_before_us} after {now_us}");
        }
    }
}
