//! The fence: what a leader may still write.
//!
//! A lease is only a promise until a deadline. The deadline of the last renewal is kept here, by a clock that runs on while
//! the process is stopped, and every write to the API server asks it first (`client` puts it in front of the connection). So a
//! leader that was paused, or cut off, past its lease writes nothing, whatever its tasks believe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shared by the elector, who moves the deadline, and by everything that writes.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Milliseconds of [`boot_time`] until which writes are allowed. 0: not the leader.
    deadline_ms: Arc<AtomicU64>,
}

impl Fence {
    /// Nothing may be written yet.
    pub fn shut() -> Fence {
        Fence { deadline_ms: Arc::new(AtomicU64::new(0)) }
    }

    /// For a process that is alone by construction: tests.
    pub fn open_for_ever() -> Fence {
        Fence { deadline_ms: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    pub fn is_open(&self) -> bool {
        millis(boot_time()) < self.deadline_ms.load(Ordering::Acquire)
    }

    pub(crate) fn open_until(&self, deadline: Duration) {
        self.deadline_ms.store(millis(deadline), Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.deadline_ms.store(0, Ordering::Release);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Time since boot, suspension included. Neither SIGSTOP nor a sleeping machine holds it, and nobody sets it.
#[allow(
    unsafe_code,
    reason = "no safe crate of ours reads CLOCK_BOOTTIME; the call fills a struct that we own"
)]
pub(crate) fn boot_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the duration of the call, and the clock id is a constant of the kernel.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    assert_eq!(failed, 0, "CLOCK_BOOTTIME exists on every Linux that Kubernetes runs on");
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
