//! One store's breaker: closed while it serves; open, and the store not waited for, after three calls in a row that
//! failed; closed again by a probe, not by hope. A store that fails soon again is probed at growing intervals.
//!
//! It starts open: a store counts as usable only after it has answered once.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

const FAILURES_TO_OPEN: u32 = 3;
const PROBE_PAUSE_FIRST: Duration = Duration::from_millis(250);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Staying closed for so long forgives what was before.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Breaker {
    /// Read on every request without the lock.
    closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    probe_pause: Duration,
    next_probe: Option<Instant>,
    closed_at: Option<Instant>,
}

impl Default for Breaker {
    fn default() -> Self {
        let state = State { failures: 0, probe_pause: PROBE_PAUSE_FIRST, next_probe: None, closed_at: None };
        Breaker { closed: AtomicBool::new(false), state: Mutex::new(state) }
    }
}

impl Breaker {
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn succeeded(&self) {
        self.state().failures = 0;
    }

    /// True when this failure opened it.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.failures += 1;
        if !self.is_closed() || state.failures < FAILURES_TO_OPEN {
            return false;
        }
        let forgiven = state.closed_at.is_some_and(|at| now.duration_since(at) >= FORGIVEN_AFTER);
        state.probe_pause =
            if forgiven { PROBE_PAUSE_FIRST } else { (state.probe_pause * 2).min(PROBE_PAUSE_MAX) };
        state.next_probe = Some(now + state.probe_pause);
        self.closed.store(false, Ordering::Relaxed);
        true
    }

    pub fn probe_is_due(&self, now: Instant) -> bool {
        !self.is_closed() && self.state().next_probe.is_none_or(|at| at <= now)
    }

    /// A probe's outcome. True when it closed the breaker.
    pub fn probed(&self, well: bool, now: Instant) -> bool {
        let mut state = self.state();
        if !well {
            state.next_probe = Some(now + state.probe_pause);
            return false;
        }
        state.failures = 0;
        state.closed_at = Some(now);
        !self.closed.swap(true, Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        assert!(breaker.probed(true, now));
        breaker
    }

    #[test]
    fn a_store_is_not_usable_before_it_has_answered() {
        let now = Instant::now();
        let breaker = Breaker::default();
        assert!(!breaker.is_closed() && breaker.probe_is_due(now));
        assert!(!breaker.probed(false, now));
        assert!(!breaker.is_closed() && !breaker.probe_is_due(now));
        assert!(breaker.probe_is_due(now + PROBE_PAUSE_FIRST));
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = Instant::now();
        let breaker = closed(now);
        assert!(!breaker.failed(now) && !breaker.failed(now));
        breaker.succeeded();
        assert!(!breaker.failed(now) && !breaker.failed(now));
        assert!(breaker.is_closed());
        assert!(breaker.failed(now));
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(now), "calls that were under way open nothing twice");
    }

    #[test]
    fn a_store_that_keeps_failing_is_probed_less_often_until_it_has_been_well() {
        let mut now = Instant::now();
        let breaker = closed(now);
        let open = |now| (0..3).any(|_| breaker.failed(now));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(open(now));
            let pause = breaker.state().next_probe.unwrap() - now;
            pauses.push(pause.as_millis());
            now += pause;
            assert!(breaker.probe_is_due(now) && breaker.probed(true, now));
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000]);
        now += FORGIVEN_AFTER;
        assert!(open(now));
        assert_eq!(breaker.state().next_probe.unwrap() - now, PROBE_PAUSE_FIRST);
    }
}
