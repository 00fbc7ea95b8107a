//! Usage of earlier periods that became known after their invoices: found among many customers by one question, and worked out
//! period by period, by what it changes of each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ids::{SubscriptionId, TenantId},
    invoice::{LateUsage, metered},
};
use meridian_records::{BilledPeriod, Charge, MeterRow, PeriodTerms, meters};
use meridian_usage_store::{LateUsageKey, PriceUsageQuery};

use crate::{Rating, RatingError};

/// What an invoice charges of earlier periods, and what their prices count.
#[derive(Debug, Default)]
pub struct Late {
    pub usage: Vec<LateUsage>,
    pub charges: Vec<(Charge, MeterRow)>,
}

impl Rating<'_> {
    /// What became known of the earlier periods of a subscription since the invoice of the last one.
    pub async fn late_usage(
        &self,
        current: &PeriodTerms,
        stored_before: Timestamp,
    ) -> Result<Late, RatingError> {
        let mut late = Late::default();
        let Some(Some(from)) = self.late_since(&[current], stored_before).await?.pop() else {
            return Ok(late);
        };
        let subscription = &current.subscription;
        let records = self.tenant(&subscription.tenant);
        for billed in records.billed_periods(&subscription.id, from, current.period.start).await? {
            let charges = records.charges_of_billed(subscription, &billed.input.segments).await?;
            if let Some(usage) = self.late_usage_of(billed, &charges, stored_before).await? {
                late.usage.push(usage);
                late.charges.extend(charges);
            }
        }
        Ok(late)
    }

    async fn late_usage_of(
        &self,
        billed: BilledPeriod,
        charges: &[(Charge, MeterRow)],
        stored_before: Timestamp,
    ) -> Result<Option<LateUsage>, RatingError> {
        let BilledPeriod { invoice, input, stored_before: charged_until, charged } = billed;
        if stored_before <= charged_until {
            return Ok(None);
        }
        let query = PriceUsageQuery {
            tenant: input.tenant.as_str(),
            customer: input.customer.as_str(),
            time_zone: &input.time_zone,
            metered: &metered(&input.segments)?,
            meters: &meters(charges),
            stored_before_us: Some(stored_before.as_microsecond()),
        };
        let usage = self.usage.price_usage(&query).await?;
        Ok(LateUsage::of(invoice, &input, charged_until, &charged, usage)?)
    }

    /// For each period when the earliest usage of its subscription's earlier periods was that nobody looked at; None where there is
    /// none. Questions: one for each tenant and one for all usage.
    pub async fn late_since(
        &self,
        periods: &[&PeriodTerms],
        stored_before: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, RatingError> {
        let mut by_tenant: BTreeMap<&TenantId, Vec<usize>> = BTreeMap::new();
        for (place, terms) in periods.iter().enumerate() {
            by_tenant.entry(&terms.subscription.tenant).or_default().push(place);
        }
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        for (tenant, of_tenant) in by_tenant {
            let asked: Vec<(SubscriptionId, Timestamp)> = of_tenant
                .iter()
                .map(|place| (periods[*place].subscription.id.clone(), periods[*place].period.start))
                .collect();
            let cutoffs = self.tenant(tenant).cutoffs_before(&asked).await?;
            for (place, cutoff) in of_tenant.into_iter().zip(cutoffs) {
                let Some(cutoff) = cutoff else { continue };
                places.push(place);
                keys.push(LateUsageKey {
                    tenant: tenant.to_string(),
                    customer: periods[place].subscription.customer.to_string(),
                    period_start_us: periods[place].period.start.as_microsecond(),
                    stored_from_us: cutoff.as_microsecond(),
                });
            }
        }
        let found = self.usage.late_usage(&keys, stored_before.as_microsecond()).await?;
        let mut since = vec![None; periods.len()];
        for (place, from_us) in places.into_iter().zip(found) {
            // No stored time is out of an instant's range; if one were, every earlier period is looked at.
            since[place] = from_us.map(|us| Timestamp::from_microsecond(us).unwrap_or(Timestamp::MIN));
        }
        Ok(since)
    }
}
