//! What a program knows about its own fitness to serve.
//!
//! Liveness says that the runtime turns; it never depends on a store, so that a store's outage restarts nothing.
//! Readiness is the conjunction of the *gating* flags and of not being drained; while there is no gating flag the
//! program has not started yet. Flags that are only reported show in `/readyz`'s body and in `meridian_healthy`, but
//! gate nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// The flags of one process. Clones share them.
#[derive(Clone, Default)]
pub struct Health {
    flags: Arc<Mutex<BTreeMap<String, Flag>>>,
    draining: Arc<AtomicBool>,
}

const NOT_CHECKED: &str = "not checked yet";

#[derive(Clone)]
struct Flag {
    gates: bool,
    failing: Option<String>,
}

/// One thing that can be well or not. It starts failing («not checked yet») until it is set.
#[derive(Clone)]
pub struct HealthFlag {
    name: String,
    health: Health,
}

impl Health {
    /// A flag that readiness depends on.
    pub fn check(&self, name: &str) -> HealthFlag {
        self.register(name, true)
    }

    /// A flag that is shown but never gates readiness.
    pub fn report_only(&self, name: &str) -> HealthFlag {
        self.register(name, false)
    }

    /// From now on not ready, whatever the flags say: load balancers stop sending.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_ready(&self) -> bool {
        let flags = self.lock();
        let mut gates = flags.values().filter(|flag| flag.gates).peekable();
        !self.is_draining() && gates.peek().is_some() && gates.all(|gate| gate.failing.is_none())
    }

    /// Name, whether it gates, and why it fails (`None` = well), in order of name.
    pub fn report(&self) -> Vec<(String, bool, Option<String>)> {
        self.lock().iter().map(|(name, flag)| (name.clone(), flag.gates, flag.failing.clone())).collect()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn register(&self, name: &str, gates: bool) -> HealthFlag {
        let flag = Flag { gates, failing: Some(NOT_CHECKED.to_owned()) };
        self.lock().insert(name.to_owned(), flag);
        HealthFlag { name: name.to_owned(), health: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Flag>> {
        self.flags.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl HealthFlag {
    pub fn set_ok(&self) {
        self.set(None);
    }

    pub fn set_failing(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, failing: Option<String>) {
        let was = match self.health.lock().get_mut(&self.name) {
            Some(flag) => std::mem::replace(&mut flag.failing, failing.clone()),
            None => return,
        };
        // Transitions are logged once, here, so that callers may set a flag as often as they like.
        match (was, failing) {
            (Some(_), None) => tracing::info!(check = self.name, "healthy"),
            (None, Some(reason)) => tracing::warn!(check = self.name, reason, "unhealthy"),
            (Some(was), Some(reason)) if was == NOT_CHECKED => {
                tracing::warn!(check = self.name, reason, "unhealthy from the start");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gating_flag_gates_until_it_is_well() {
        let health = Health::default();
        let store = health.check("store");
        assert!(!health.is_ready());
        store.set_ok();
        assert!(health.is_ready());
        store.set_failing("gone");
        assert!(!health.is_ready());
    }

    #[test]
    fn a_process_that_has_not_said_what_it_needs_is_not_ready() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.report_only("store").set_ok();
        assert!(!health.is_ready());
    }

    #[test]
    fn a_reported_flag_never_gates() {
        let health = Health::default();
        health.check("started").set_ok();
        let store = health.report_only("store");
        store.set_failing("gone");
        assert!(health.is_ready());
        let reported = ("store".to_owned(), false, Some("gone".to_owned()));
        assert_eq!(health.report(), [("started".to_owned(), true, None), reported]);
    }

    #[test]
    fn a_draining_process_is_not_ready() {
        let health = Health::default();
        health.check("store").set_ok();
        health.drain();
        assert!(!health.is_ready());
    }
}
