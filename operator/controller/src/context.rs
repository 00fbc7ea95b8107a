//! What every reconcile is given: the connection, what has been seen, and the little that is remembered between passes.
//!
//! Nothing here is needed to be right: after a restart all of it is empty, and the passes come to the same objects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::events::Recorder;
use meridian_desired::images::Images;
use meridian_desired::region::Operator;

use crate::caches::Caches;
use crate::control::ControlPort;
use crate::foreign_secrets::ForeignSecrets;
use crate::metrics::Metrics;

pub struct Context {
    /// Goes through the fence.
    pub client: Client,
    pub caches: Caches,
    pub operator: Operator,
    /// The catalogue that the operator was installed with.
    pub images: Images,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub control: ControlPort,
    pub pace: Pace,
    pub memory: Memory,
    pub foreign_secrets: ForeignSecrets,
}

/// How patient the operator is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One pass may take this long, its status write not included.
    pub pass: Duration,
    pub status_write: Duration,
    /// While a region is not ready it is looked at this often: some things happen without an event.
    pub unready: Duration,
    /// An idle object is looked at this often, half as much again at most.
    pub idle: Duration,
    /// Steps on the way to ready are written into a status no more often than this.
    pub progress: Duration,
    /// A field that somebody else keeps writing is forced no more often than this.
    pub force: Duration,
    /// What a region's api said that it has is believed for this long.
    pub catalogue: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            pass: Duration::from_secs(120),
            status_write: Duration::from_secs(30),
            unready: Duration::from_secs(15),
            idle: Duration::from_secs(400),
            progress: Duration::from_secs(30),
            force: Duration::from_secs(60),
            catalogue: Duration::from_secs(300),
        }
    }
}

impl Pace {
    /// The time until an idle object is looked at again; spread, so that a restart's objects do not come back together.
    pub fn idle_jittered(&self) -> Duration {
        self.idle.mul_f64(1.0 + rand::random::<f64>() / 2.0)
    }
}

/// What is remembered between passes, by the uid of the object so that a new one of the same name starts afresh.
#[derive(Default)]
pub struct Memory {
    attempts: Mutex<HashMap<String, (&'static str, u32)>>,
    written: Mutex<HashMap<String, Instant>>,
}

impl Memory {
    /// Counts a failed pass and says how many there were in a row.
    pub fn failed(&self, uid: &str, kind: &'static str) -> u32 {
        let mut attempts = lock(&self.attempts);
        let entry = attempts.entry(uid.to_owned()).or_insert((kind, 0));
        entry.1 = entry.1.saturating_add(1);
        entry.1
    }

    pub fn succeeded(&self, uid: &str) {
        lock(&self.attempts).remove(uid);
    }

    pub fn failures(&self, uid: &str) -> u32 {
        lock(&self.attempts).get(uid).map_or(0, |(_, attempts)| *attempts)
    }

    pub fn failing(&self, kind: &'static str) -> usize {
        lock(&self.attempts).values().filter(|(of, _)| *of == kind).count()
    }

    /// Notes that something was written under `key`.
    pub fn wrote(&self, key: &str) {
        lock(&self.written).insert(key.to_owned(), Instant::now());
    }

    /// How long `pace` still asks to wait before the next write under `key`.
    pub fn wait(&self, key: &str, pace: Duration) -> Option<Duration> {
        let since = lock(&self.written).get(key)?.elapsed();
        pace.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Everything that is remembered under this prefix is about an object that is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.attempts).remove(uid);
        lock(&self.written).retain(|key, _| !key.starts_with(uid));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Shared by all controllers.
pub type Shared = Arc<Context>;
