//! How many events a second one tenant may send to this replica (governor's GCRA). Off unless configured.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use meridian_billing::ids::TenantId;

use crate::{config::Limits, refusal::Refusal};

/// Seconds of the rate that may come at once.
const BURST_SECONDS: u32 = 2;

pub struct Throttle {
    limiter: Option<Limiter>,
}

struct Limiter {
    per_second: u32,
    burst: u32,
    tenants: DefaultKeyedRateLimiter<TenantId>,
}

impl Throttle {
    pub fn new(limits: &Limits) -> Throttle {
        let largest = limits.events_per_request_max as u32;
        let limiter = limits.tenant_events_per_second.and_then(NonZeroU32::new).map(|rate| {
            // The largest request must fit, or it could never be sent.
            let burst =
                rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1)).get().max(largest);
            let burst = NonZeroU32::new(burst).unwrap_or(rate);
            let quota = Quota::per_second(rate).allow_burst(burst);
            Limiter { per_second: rate.get(), burst: burst.get(), tenants: RateLimiter::keyed(quota) }
        });
        Throttle { limiter }
    }

    pub fn admit(&self, tenant: &TenantId, events: usize) -> Result<(), Refusal> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let events = u32::try_from(events).unwrap_or(u32::MAX).min(limiter.burst);
        let Some(events) = NonZeroU32::new(events) else { return Ok(()) };
        match limiter.tenants.check_key_n(tenant, events) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Refusal::RateLimited {
                events_per_second: limiter.per_second,
                retry_after: not_until.wait_time_from(limiter.tenants.clock().now()),
            }),
            Err(_) => unreachable!("no request is larger than the burst"),
        }
    }

    /// Forgets tenants whose allowance is full again, so that memory follows the active ones.
    pub fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.tenants.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_over_its_rate_does_not_touch_another() {
        let limits =
            Limits { tenant_events_per_second: Some(5), events_per_request_max: 10, ..Limits::default() };
        let throttle = Throttle::new(&limits);
        let (noisy, quiet) = (TenantId::new("noisy").unwrap(), TenantId::new("quiet").unwrap());
        assert_eq!(throttle.admit(&noisy, 10), Ok(()));
        let refused = throttle.admit(&noisy, 5).unwrap_err();
        assert_eq!((refused.code(), refused.status().as_u16()), ("rate_limited", 429));
        assert_eq!(throttle.admit(&quiet, 10), Ok(()));
    }

    #[test]
    fn without_a_configured_rate_everything_passes() {
        let throttle = Throttle::new(&Limits::default());
        assert_eq!(throttle.admit(&TenantId::new("any").unwrap(), 1_000_000), Ok(()));
    }
}
