//! Coupons: what a tenant promises to take off. Which subscriptions have one is redemptions.rs.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use meridian_billing::{coupon::CouponSpec, ids::CouponName};
use meridian_records::Coupon as Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{List, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    idempotency::Seed,
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Coupon {
    #[schema(example = "coupon_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    #[schema(example = "spring")]
    name: String,
    /// As it was written. It never changes.
    #[schema(value_type = Object)]
    spec: CouponSpec,
    /// How many subscriptions redeemed it.
    redemptions: u32,
    created_at: String,
    /// From then on nobody redeems it; who has it keeps it.
    archived_at: Option<String>,
}

/// A coupon as in a Subscription document of `meridian simulate`: `name`; `percent`, or `amount` and `currency`; `duration` (`Once`,
/// `Repeating` with `periods`, or `Forever`); and, where it has limits, `prices`, `redeemBy` and `maxRedemptions`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(example = json!({"name": "spring", "percent": "20", "duration": "Repeating", "periods": 3, "maxRedemptions": 100}))]
pub(crate) struct CreateCoupon(Map<String, Value>);

/// All coupons, archived ones included, in the order of their making.
#[utoipa::path(get, path = "/v1/coupons", tag = "Coupons", operation_id = "listCoupons", params(Paging),
    responses((status = 200, body = List<Coupon>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Coupon>>, Problem> {
    let listed = caller.records(&app).coupons(&paging.page()?).await?;
    Ok(List::of(listed, show))
}

/// Makes a coupon. It cannot be changed: archive it and make another one.
#[utoipa::path(post, path = "/v1/coupons", tag = "Coupons", operation_id = "createCoupon",
    request_body = CreateCoupon, responses((status = 201, body = Coupon)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Seed(seed): Seed,
    Body(CreateCoupon(body)): Body<CreateCoupon>,
) -> Result<(StatusCode, Json<Coupon>), Problem> {
    let spec = CouponSpec::from_json(&Value::Object(body))?;
    let coupon = caller.records(&app).create_coupon(&spec, seed, &caller.by("POST /v1/coupons")).await?;
    Ok((StatusCode::CREATED, Json(show(coupon))))
}

/// Archives a coupon: nobody redeems it any more. Subscriptions that have it keep it, and its name stays taken.
#[utoipa::path(delete, path = "/v1/coupons/{coupon_name}", tag = "Coupons", operation_id = "archiveCoupon",
    params(("coupon_name" = String, Path, description = "Name of the coupon")), responses((status = 200, body = Coupon)))]
pub(crate) async fn archive(
    State(app): State<App>,
    caller: Caller,
    Path(coupon_name): Path<String>,
) -> Result<Json<Coupon>, Problem> {
    let name = CouponName::new(coupon_name).map_err(|_| Problem::not_found("coupon"))?;
    let coupon = caller.records(&app).archive_coupon(&name, &caller.by("DELETE /v1/coupons")).await?;
    Ok(Json(show(coupon)))
}

fn show(coupon: Record) -> Coupon {
    let Record { id, spec, redemptions, created_at, archived_at } = coupon;
    Coupon {
        id,
        name: spec.name.to_string(),
        spec,
        redemptions,
        created_at: shown::instant(created_at),
        archived_at: archived_at.map(shown::instant),
    }
}
