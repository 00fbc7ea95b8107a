//! A tenant's coupons, and which subscriptions redeemed them. A coupon never changes: who has it keeps what was promised. It is
//! archived, never deleted; then nobody redeems it any more, and who has it still keeps it.
//!
//! Whether one more may be redeemed is the core's to say (`CouponSpec::check_redemption`); here is the count that it asks for,
//! taken under the lock of the coupon's row, so that two who redeem the last one cannot both have it. What a coupon takes off
//! an invoice is decided elsewhere: [`redeemed`] only tells which ones a subscription has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::SpecError,
    coupon::{CouponSpec, RedemptionError},
    ids::{CouponName, SubscriptionId},
    money::Currency,
};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    By, Listed, Page, TenantRecords, audit,
    catalogue::parsed,
    error::{Doing, StoreError},
    id::{self, Kind},
    instant::{self, Instant},
};

#[derive(Debug, Clone, PartialEq)]
pub struct Coupon {
    /// `coupon_…`
    pub id: String,
    pub spec: CouponSpec,
    /// How many subscriptions redeemed it.
    pub redemptions: u32,
    pub created_at: Timestamp,
    pub archived_at: Option<Timestamp>,
}

/// A coupon that a subscription has, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeemedCoupon {
    pub coupon: CouponSpec,
    pub redeemed_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum CouponError {
    #[error("the coupon is not valid: {0}")]
    Spec(#[from] SpecError),
    #[error("a coupon with the name {0:?} exists; an archived one keeps its name")]
    NameTaken(String),
    #[error("there is no coupon {0:?}")]
    NoSuchCoupon(String),
    #[error("there is no such subscription")]
    NoSuchSubscription,
    #[error("coupon {0} is archived: nobody redeems it any more")]
    Archived(CouponName),
    #[error("coupon {coupon} is in {given}, the subscription is billed in {expected}")]
    Currency { coupon: CouponName, given: Currency, expected: Currency },
    #[error("the terms of the subscription have a coupon {0} of their own: it would be taken off twice")]
    InTerms(CouponName),
    #[error("nothing is left to bill on this subscription, so a coupon would take nothing off")]
    NothingToBill,
    #[error(transparent)]
    Refused(#[from] RedemptionError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A query of whole rows, with this condition behind it.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT c.*, (SELECT count(*) FROM coupon_redemptions r WHERE r.tenant = c.tenant AND r.coupon = c.name)
                 AS redemptions FROM coupons c ",
            $condition
        )
    };
}

impl TenantRecords {
    /// `seed` decides the id: the same seed again returns the coupon that it made.
    pub async fn create_coupon(&self, spec: &CouponSpec, seed: Uuid, by: &By) -> Result<Coupon, CouponError> {
        const DOING: &str = "creating a coupon";
        spec.validate()?;
        let tenant = self.scope.tenant().as_str();
        let id = id::from_seed(Kind::Coupon, seed);
        let mut transaction = self.scope.begin(&self.pool).await?;
        let inserted = sqlx::query(
            "INSERT INTO coupons (coupon_id, tenant, name, spec) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING RETURNING *, 0::bigint AS redemptions",
        )
        .bind(&id)
        .bind(tenant)
        .bind(spec.name.as_str())
        .bind(Json(spec))
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        let Some(row) = inserted else {
            let made_before = sqlx::query(select!("WHERE c.tenant = $1 AND c.coupon_id = $2"))
                .bind(tenant)
                .bind(&id)
                .fetch_optional(&mut *transaction)
                .await
                .doing(DOING)?;
            let row = made_before.ok_or_else(|| CouponError::NameTaken(spec.name.to_string()))?;
            return Ok(read(&row)?);
        };
        let coupon = read(&row)?;
        audit::record(&mut transaction, Some(tenant), by, "coupon.create", &id, json!({"spec": spec}))
            .await?;
        transaction.commit().await.doing(DOING)?;
        Ok(coupon)
    }

    /// In order of making; archived ones are included and say so.
    pub async fn coupons(&self, page: &Page) -> Result<Listed<Coupon>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows =
            sqlx::query(select!("WHERE c.tenant = $1 AND c.coupon_id > $2 ORDER BY c.coupon_id LIMIT $3"))
                .bind(self.scope.tenant().as_str())
                .bind(page.after_id())
                .bind(page.fetch())
                .fetch_all(&mut *transaction)
                .await
                .doing("listing coupons")?;
        let coupons = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(coupons, |coupon| coupon.id.clone()))
    }

    /// Archiving again changes nothing. Subscriptions that have the coupon keep it.
    pub async fn archive_coupon(&self, name: &CouponName, by: &By) -> Result<Coupon, CouponError> {
        const DOING: &str = "archiving a coupon";
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let archived: Option<String> = sqlx::query_scalar(
            "UPDATE coupons SET archived_at = now() WHERE tenant = $1 AND name = $2 AND archived_at IS NULL RETURNING coupon_id",
        )
        .bind(tenant)
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        if let Some(id) = archived {
            audit::record(&mut transaction, Some(tenant), by, "coupon.archive", &id, json!({})).await?;
        }
        let row = sqlx::query(select!("WHERE c.tenant = $1 AND c.name = $2"))
            .bind(tenant)
            .bind(name.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .doing(DOING)?;
        let coupon = read(&row.ok_or_else(|| CouponError::NoSuchCoupon(name.to_string()))?)?;
        transaction.commit().await.doing(DOING)?;
        Ok(coupon)
    }

    /// Gives the coupon to the subscription as of `at`. A subscription that has it keeps it, with its first time, whatever
    /// became of the coupon since.
    pub async fn redeem_coupon(
        &self,
        subscription: &SubscriptionId,
        coupon: &CouponName,
        at: Timestamp,
        by: &By,
    ) -> Result<RedeemedCoupon, CouponError> {
        const DOING: &str = "redeeming a coupon";
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let redeemer = redeemer(&mut transaction, tenant, subscription).await?;
        let (spec, archived) = locked(&mut transaction, tenant, coupon).await?;
        let had = redeemed(&mut transaction, tenant, subscription).await?;
        if let Some(had) = had.into_iter().find(|had| had.coupon.name == *coupon) {
            return Ok(had);
        }
        if archived {
            return Err(CouponError::Archived(spec.name));
        }
        redeemer.check(&spec)?;
        spec.check_redemption(at, redemptions(&mut transaction, tenant, coupon).await?)?;
        let redeemed_at: Instant = sqlx::query_scalar(
            "INSERT INTO coupon_redemptions (tenant, coupon, subscription_id, redeemed_at) VALUES ($1, $2, $3, $4)
             RETURNING redeemed_at",
        )
        .bind(tenant)
        .bind(coupon.as_str())
        .bind(subscription.as_str())
        .bind(Instant(at))
        .fetch_one(&mut *transaction)
        .await
        .doing(DOING)?;
        let detail = json!({"coupon": coupon, "redeemed_at": redeemed_at.0});
        audit::record(&mut transaction, Some(tenant), by, "coupon.redeem", subscription.as_str(), detail)
            .await?;
        transaction.commit().await.doing(DOING)?;
        Ok(RedeemedCoupon { coupon: spec, redeemed_at: redeemed_at.0 })
    }

    /// The coupons of a subscription, in the order in which they were redeemed.
    pub async fn redeemed_coupons(
        &self,
        subscription: &SubscriptionId,
    ) -> Result<Vec<RedeemedCoupon>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        redeemed(&mut transaction, self.scope.tenant().as_str(), subscription).await
    }
}

/// The coupons that a subscription has, in the order in which they were redeemed, which is the order in which they apply.
pub(crate) async fn redeemed(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscription: &SubscriptionId,
) -> Result<Vec<RedeemedCoupon>, StoreError> {
    let id = subscription.as_str();
    let mut rows = redemptions_of(transaction, tenant, &[id]).await?;
    rows.remove(id).unwrap_or_default().iter().map(read_redeemed).collect()
}

/// The rows of what subscriptions redeemed, by subscription, each in the order of [`redeemed`].
pub(crate) async fn redemptions_of(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscriptions: &[&str],
) -> Result<BTreeMap<String, Vec<PgRow>>, StoreError> {
    const DOING: &str = "reading the coupons of subscriptions";
    let rows = sqlx::query(
        "SELECT r.subscription_id, c.spec, r.redeemed_at FROM coupon_redemptions r
             JOIN coupons c ON c.tenant = r.tenant AND c.name = r.coupon
         WHERE r.tenant = $1 AND r.subscription_id = ANY($2) ORDER BY r.redeemed_at, r.coupon",
    )
    .bind(tenant)
    .bind(subscriptions)
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let mut redeemed: BTreeMap<String, Vec<PgRow>> = BTreeMap::new();
    for row in rows {
        redeemed.entry(row.try_get("subscription_id").doing(DOING)?).or_default().push(row);
    }
    Ok(redeemed)
}

/// A row of [`redemptions_of`].
pub(crate) fn read_redeemed(row: &PgRow) -> Result<RedeemedCoupon, StoreError> {
    const DOING: &str = "reading a redeemed coupon";
    Ok(RedeemedCoupon {
        coupon: row.try_get::<Json<CouponSpec>, _>("spec").doing(DOING)?.0,
        redeemed_at: row.try_get::<Instant, _>("redeemed_at").doing(DOING)?.0,
    })
}

/// What a subscription must have for a coupon to be of use to it.
struct Redeemer {
    currency: Currency,
    ended: bool,
    /// Names of the coupons in its terms.
    coupons: Vec<String>,
}

impl Redeemer {
    /// An amount in another currency would make every invoice of the subscription fail; of two coupons of one name, nobody could
    /// say which one was meant.
    fn check(&self, spec: &CouponSpec) -> Result<(), CouponError> {
        if self.ended {
            return Err(CouponError::NothingToBill);
        }
        if self.coupons.iter().any(|own| own == spec.name.as_str()) {
            return Err(CouponError::InTerms(spec.name.clone()));
        }
        match spec.currency {
            Some(given) if given != self.currency => {
                Err(CouponError::Currency { coupon: spec.name.clone(), given, expected: self.currency })
            }
            Some(_) | None => Ok(()),
        }
    }
}

async fn redeemer(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscription: &SubscriptionId,
) -> Result<Redeemer, CouponError> {
    const DOING: &str = "finding who redeems a coupon";
    let row = sqlx::query(
        "SELECT s.state, v.currency,
                ARRAY(SELECT own ->> 'name' FROM jsonb_array_elements(coalesce(s.terms -> 'coupons', '[]')) own) AS coupons
         FROM subscriptions s JOIN plans p USING (plan_id)
             JOIN plan_versions v ON v.plan_id = p.plan_id AND v.version = p.version
         WHERE s.tenant = $1 AND s.subscription_id = $2",
    )
    .bind(tenant)
    .bind(subscription.as_str())
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?
    .ok_or(CouponError::NoSuchSubscription)?;
    Ok(Redeemer {
        currency: parsed(&row, "currency")?,
        ended: row.try_get::<&str, _>("state").doing(DOING)? == "ended",
        coupons: row.try_get("coupons").doing(DOING)?,
    })
}

/// The coupon, and whether it is archived. Held until the end: of two who redeem the last one, the second counts the first.
async fn locked(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    coupon: &CouponName,
) -> Result<(CouponSpec, bool), CouponError> {
    const DOING: &str = "locking a coupon";
    let row = sqlx::query("SELECT spec, archived_at FROM coupons WHERE tenant = $1 AND name = $2 FOR UPDATE")
        .bind(tenant)
        .bind(coupon.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .doing(DOING)?
        .ok_or_else(|| CouponError::NoSuchCoupon(coupon.to_string()))?;
    let archived_at = instant::read_optional(&row, "archived_at").doing(DOING)?;
    Ok((row.try_get::<Json<CouponSpec>, _>("spec").doing(DOING)?.0, archived_at.is_some()))
}

async fn redemptions(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    coupon: &CouponName,
) -> Result<u32, StoreError> {
    const DOING: &str = "counting the redemptions of a coupon";
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM coupon_redemptions WHERE tenant = $1 AND coupon = $2")
            .bind(tenant)
            .bind(coupon.as_str())
            .fetch_one(&mut **transaction)
            .await
            .doing(DOING)?;
    u32::try_from(count).map_err(|error| StoreError::unreadable(DOING, error))
}

fn read(row: &PgRow) -> Result<Coupon, StoreError> {
    const DOING: &str = "reading a coupon";
    Ok(Coupon {
        id: row.try_get("coupon_id").doing(DOING)?,
        spec: row.try_get::<Json<CouponSpec>, _>("spec").doing(DOING)?.0,
        redemptions: u32::try_from(row.try_get::<i64, _>("redemptions").doing(DOING)?)
            .map_err(|error| StoreError::unreadable(DOING, error))?,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
        archived_at: instant::read_optional(row, "archived_at").doing(DOING)?,
    })
}
