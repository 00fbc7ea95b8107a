//! Usage of a meter: the total of a range, and a point for each window.

use axum::{Json, extract::State};
use jiff::Timestamp;
use meridian_billing::{
    ids::{CustomerKey, MeterName},
    period::Period,
};
use meridian_records::MeterRow;
use meridian_usage_store::{SeriesQuery, Window};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shown;
use crate::{
    app::App,
    auth::Caller,
    extract::Parameters,
    problem::Problem,
    usage::{total, untold},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// Name of the meter.
    meter: String,
    /// Key of the customer; empty (the default) is the tenant itself.
    #[serde(default)]
    customer: String,
    /// RFC 3339, inclusive.
    #[param(value_type = String)]
    start: Timestamp,
    /// RFC 3339, exclusive.
    #[param(value_type = String)]
    end: Timestamp,
    /// A point for each `minute`, `hour`, `day` or `month` in UTC; without it the total alone. Points lie on whole windows.
    window: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    meter: String,
    aggregation: String,
    unit: Option<String>,
    customer: String,
    start: String,
    end: String,
    /// Of the whole range, exactly.
    #[schema(example = "12000")]
    quantity: String,
    events: u64,
    /// Windows without events are left out. Each is measured by itself: the points of a sum add up to the quantity, those of
    /// an average or a percentile do not. A meter that is never reset carries its level from window to window.
    points: Vec<Point>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Point {
    #[schema(example = "2026-07-14T00:00:00Z")]
    start: String,
    #[schema(example = "387")]
    quantity: String,
    events: u64,
}

/// What a customer used of a meter, as of now.
#[utoipa::path(get, path = "/v1/usage", tag = "Usage", operation_id = "getUsage", params(UsageQuery),
    responses((status = 200, body = Usage)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters<UsageQuery>,
) -> Result<Json<Usage>, Problem> {
    let window = query.window.as_deref().map(str::parse::<Window>).transpose();
    let window = window.map_err(|detail| Problem::parameter("window", detail))?;
    let period = range(query.start, query.end)?;
    let (meter, customer) = known(&app, &caller, &query.meter, &query.customer).await?;
    let total = total(app.usage(), caller.scope.tenant(), customer.as_str(), &meter, period).await?;
    let points = match window {
        Some(window) => points(&app, &caller, &meter, &customer, period, window).await?,
        None => Vec::new(),
    };
    Ok(Json(Usage {
        quantity: shown::quantity(total.quantity.map_err(untold)?),
        events: total.events,
        meter: meter.name.into_string(),
        aggregation: meter.spec.aggregation.as_str().to_owned(),
        unit: meter.spec.unit,
        customer: customer.into_string(),
        start: shown::instant(period.start),
        end: shown::instant(period.end),
        points,
    }))
}

/// [start, end), which must not be empty.
pub(super) fn range(start: Timestamp, end: Timestamp) -> Result<Period, Problem> {
    if end <= start {
        return Err(Problem::parameter("end", "must be after start"));
    }
    Ok(Period { start, end })
}

/// A name that this tenant does not have is not found; it never becomes a wider question.
pub(super) async fn known(
    app: &App,
    caller: &Caller,
    meter: &str,
    customer: &str,
) -> Result<(MeterRow, CustomerKey), Problem> {
    let records = caller.records(app);
    let no_meter = || Problem::not_found("meter").field("meter");
    let name = MeterName::new(meter).map_err(|_| no_meter())?;
    let meter = records.meter_named(&name).await?.ok_or_else(no_meter)?;
    let no_customer = || Problem::not_found("customer").field("customer");
    let customer = CustomerKey::new(customer).map_err(|_| no_customer())?;
    // The tenant itself may send usage before anybody bills it.
    if !customer.is_tenant_itself() {
        records.customer_by_key(&customer).await?.ok_or_else(no_customer)?;
    }
    Ok((meter, customer))
}

async fn points(
    app: &App,
    caller: &Caller,
    meter: &MeterRow,
    customer: &CustomerKey,
    period: Period,
    window: Window,
) -> Result<Vec<Point>, Problem> {
    let query = SeriesQuery {
        meter: meter.name.to_string(),
        spec: meter.spec.clone(),
        customer: customer.to_string(),
        window,
        start_us: period.start.as_microsecond(),
        end_us: period.end.as_microsecond(),
    };
    let series = app.usage().usage_series(&caller.usage_scope(), &query).await?;
    let point = |point: meridian_usage_store::UsagePoint| {
        Ok(Point {
            start: shown::instant_us(point.start_us),
            quantity: shown::quantity(point.quantity.map_err(untold)?),
            events: point.events,
        })
    };
    series.into_iter().map(point).collect()
}
