//! The coupons of a subscription.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use meridian_billing::{coupon::CouponSpec, ids::CouponName};
use meridian_records::{CouponError, Listed, RedeemedCoupon};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, shown};
use crate::{app::App, auth::Caller, extract::Body, problem::Problem};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Redemption {
    #[schema(example = "spring")]
    coupon: String,
    /// The coupon as it was written.
    #[schema(value_type = Object)]
    spec: CouponSpec,
    /// The billing periods in which it counts are counted from here.
    redeemed_at: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"coupon": "spring"}))]
pub(crate) struct RedeemCoupon {
    /// Name of the coupon.
    coupon: String,
}

/// Gives a coupon to a subscription. One that has it already keeps it, and is answered the same.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription_id}/coupons", tag = "Coupons", operation_id = "redeemCoupon",
    params(("subscription_id" = String, Path, description = "sub_…")), request_body = RedeemCoupon,
    responses((status = 201, body = Redemption)))]
pub(crate) async fn redeem(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
    Body(body): Body<RedeemCoupon>,
) -> Result<(StatusCode, Json<Redemption>), Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    let coupon =
        CouponName::new(body.coupon).map_err(|error| Problem::invalid("coupon", error.to_string()))?;
    let by = caller.by("POST /v1/subscriptions/{subscription_id}/coupons");
    let redeemed = caller.records(&app).redeem_coupon(&id, &coupon, Timestamp::now(), &by).await;
    let redeemed = redeemed.map_err(|error| match error {
        CouponError::NoSuchCoupon(_) => Problem::invalid("coupon", error.to_string()),
        error => error.into(),
    })?;
    Ok((StatusCode::CREATED, Json(show(redeemed))))
}

/// The coupons of a subscription, in the order in which they were redeemed, which is the order in which they apply.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription_id}/coupons", tag = "Coupons", operation_id = "listRedemptions",
    params(("subscription_id" = String, Path, description = "sub_…")),
    responses((status = 200, body = List<Redemption>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
) -> Result<Json<List<Redemption>>, Problem> {
    let records = caller.records(&app);
    let id = shown::subscription_id(&subscription_id)?;
    records.subscription(&id).await?.ok_or_else(|| Problem::not_found("subscription"))?;
    // Each coupon once: few enough for one page.
    let items = records.redeemed_coupons(&id).await?;
    Ok(List::of(Listed { items, next: None }, show))
}

fn show(redeemed: RedeemedCoupon) -> Redemption {
    let RedeemedCoupon { coupon, redeemed_at } = redeemed;
    Redemption { coupon: coupon.name.to_string(), spec: coupon, redeemed_at: shown::instant(redeemed_at) }
}
