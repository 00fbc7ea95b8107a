//! What the end-to-end tests are written with: a namespace of one's own, a region in it, a client that keeps a ledger
//! of every acknowledged event, and questions to the stores behind the services' backs.
//!
//! Everything goes the way that a user goes: `kubectl apply` of YAML, HTTP to the region's Services with the key from
//! its Secret. The tests themselves are in `tests/cluster/`, one behaviour a file. They need a Kubernetes whose
//! ClusterIPs this process can reach (`e2e/cluster`), with the operator installed; `./test` sees to both.

mod faults;
mod kubectl;
mod ledger;
mod namespace;
mod region;
mod stores;
mod wait;

pub use faults::{give_back, kill_container, take_away};
pub use kubectl::{Kubectl, kubectl};
pub use ledger::{Ledger, Load, event};
pub use namespace::TestNamespace;
pub use region::{Region, RegionSpec};
pub use stores::{ClickHouse, Forward};
pub use wait::{Limit, eventually};

/// The month that the tests bill: it has closed, whatever day it is. `(start, end)`, UTC.
pub fn closed_month() -> (jiff::Timestamp, jiff::Timestamp) {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let this = now.date().first_of_month();
    let last = this.yesterday().map(|d| d.first_of_month()).unwrap_or(this);
    let instant = |date: jiff::civil::Date| {
        date.to_zoned(jiff::tz::TimeZone::UTC).map(|z| z.timestamp()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    };
    (instant(last), instant(this))
}
