//! Places at which a test may kill the process, compiled only with the feature `stores-tests`.
//!
//! `MERIDIAN_CRASH_AT=NAME` ends the process at the first visit of that place, as `kill -9` would: no destructor, no flush.

/// Ends the process here when a test asks for it.
#[cfg(feature = "stores-tests")]
pub fn point(name: &str) {
    if std::env::var("MERIDIAN_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        eprintln!("crash point {name}");
        std::process::abort();
    }
}

#[cfg(not(feature = "stores-tests"))]
#[inline(always)]
pub fn point(_name: &str) {}
