//! Leader election by a Lease, with a fence.
//!
//! The lease library that there is was seen to let two leaders write (notes of the project have the measurement), so this is
//! our own, small enough to read: get, decide, replace with the resourceVersion that was read, so that of two candidates one
//! gets 409. Whether a lease has expired is told by *watching it stand still* for its duration on our own clock; clocks of two
//! machines are never compared. Each attempt has a time limit. The [`Fence`] is open until two thirds of the duration after
//! the *start* of the last renewal: a leader stops writing well before another can start. On loss the process exits.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::fence::{Fence, boot_time};

/// A candidate for one lease.
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
    fence: Fence,
    seen: Option<Seen>,
}

/// A state of the lease and when, on our clock, it was first seen.
struct Seen {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    since: Duration,
}

impl Elector {
    /// `leases` must not go through the fence: it is what opens it.
    pub fn new(leases: Api<Lease>, name: &str, identity: &str, duration: Duration, fence: Fence) -> Elector {
        Elector { leases, name: name.to_owned(), identity: identity.to_owned(), duration, fence, seen: None }
    }

    /// Returns once the lease is ours and the fence open.
    pub async fn acquire(&mut self) {
        loop {
            match tokio::time::timeout(self.attempt_limit(), self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot ask for leadership"),
                Err(_) => tracing::warn!(lease = self.name, "asking for leadership took too long"),
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Renews the lease; returns when it is lost. Then the fence is shut.
    pub async fn hold(&mut self) {
        loop {
            tokio::time::sleep(self.pause()).await;
            match tokio::time::timeout(self.attempt_limit(), self.attempt()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot renew the lease"),
                Err(_) => tracing::warn!(lease = self.name, "renewing the lease took too long"),
            }
            if !self.fence.is_open() {
                break;
            }
        }
        self.fence.close();
    }

    /// Gives the lease up, so that the next one need not wait. The fence is shut first.
    pub async fn release(&mut self) -> Result<(), kube::Error> {
        self.fence.close();
        let mut lease = self.leases.get(&self.name).await?;
        match lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity)) {
            Some(spec) => {
                *spec = LeaseSpec { lease_transitions: spec.lease_transitions, ..LeaseSpec::default() };
                self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// One attempt to get or renew the lease. True: it is ours until two thirds of the duration from the start.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let start = boot_time();
        let Some(mut lease) = self.get_or_create().await? else { return Ok(false) };
        let held = lease.spec.take().unwrap_or_default();
        self.look(&held);
        let ours = held.holder_identity.as_deref() == Some(&self.identity);
        if !ours && !self.is_free(&held) {
            return Ok(false);
        }
        let now = MicroTime(Timestamp::now());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            renew_time: Some(now.clone()),
            acquire_time: if ours { held.acquire_time } else { Some(now) },
            lease_transitions: Some(held.lease_transitions.unwrap_or(0) + i32::from(!ours)),
            ..held
        });
        // Carries the resourceVersion that was read: 409 if anybody wrote in between.
        match self.leases.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => {
                self.fence.open_until(start + self.duration * 2 / 3);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get_or_create(&self) -> Result<Option<Lease>, kube::Error> {
        if let Some(lease) = self.leases.get_opt(&self.name).await? {
            return Ok(Some(lease));
        }
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        match self.leases.create(&PostParams::default(), &Lease { metadata, spec: None }).await {
            Ok(lease) => Ok(Some(lease)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes when the lease was last seen to move.
    fn look(&mut self, held: &LeaseSpec) {
        let (holder, renewed) = (&held.holder_identity, &held.renew_time);
        let unmoved =
            self.seen.as_ref().is_some_and(|seen| &seen.holder == holder && &seen.renewed == renewed);
        if !unmoved {
            self.seen = Some(Seen { holder: holder.clone(), renewed: renewed.clone(), since: boot_time() });
        }
    }

    fn is_free(&self, held: &LeaseSpec) -> bool {
        let unheld = held.holder_identity.as_deref().unwrap_or_default().is_empty();
        let duration =
            Duration::from_secs(u64::try_from(held.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
        unheld || self.seen.as_ref().is_some_and(|seen| boot_time() >= seen.since + duration)
    }

    fn pause(&self) -> Duration {
        self.duration / 7
    }

    fn attempt_limit(&self) -> Duration {
        self.duration * 2 / 7
    }
}
