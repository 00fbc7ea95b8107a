//! Subscriptions, and closing a period of one.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use meridian_billing::{
    ids::PlanName,
    subscription::{BillingAnchor, ChangeSpec, CustomTerms},
};
use meridian_records::{CancelAt, NewSubscription, Subscription as Record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    List,
    billing_runs::{self, StartedRun},
    shown::{self, check_time_zone},
};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    idempotency::Seed,
    problem::{Code, Problem},
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subscription {
    #[schema(example = "sub_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    customer_id: String,
    /// The customer's key; empty is the tenant itself.
    customer: String,
    /// The plan that it began with; `terms.changes` has those that follow.
    #[schema(example = "starter")]
    plan: String,
    /// `active`, `cancelled` (it ends at `ends_at`, and is billed until then) or `ended`.
    status: String,
    time_zone: String,
    anchor: AnchorKind,
    starts_at: String,
    ends_at: Option<String>,
    /// The first period without an issued invoice; null when nothing is left to bill.
    next_period: Option<PeriodBounds>,
    /// What it has of its own beside the plan: `trial`, `quantities`, `addOns`, `proration`, `changes`, `overrides`, `coupons`,
    /// `taxRates`, `taxRounding`, `overage`, `thresholds`, `zeroInvoices`, `firstInvoice`, as in a Subscription document of `meridian simulate`.
    #[schema(value_type = Object)]
    terms: CustomTerms,
    /// `api`, or `kubernetes` for what the operator keeps and this API leaves alone.
    managed_by: String,
    created_at: String,
}

/// [start, end)
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeriodBounds {
    #[schema(example = "2026-07-01T00:00:00Z")]
    pub start: String,
    #[schema(example = "2026-08-01T00:00:00Z")]
    pub end: String,
}

/// Where periods begin.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnchorKind {
    /// On the calendar: the 1st of the month. The first period may be short.
    #[default]
    Calendar,
    /// On the day and time of the start, or of the trial's end.
    Start,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "cus_01k2h8v9x0e6t8w4y2z0a1b2c3", "plan": "starter", "starts_at": "2026-07-01T00:00:00Z"}))]
pub(crate) struct CreateSubscription {
    customer_id: String,
    /// Name of the plan.
    plan: String,
    /// RFC 3339; the default is now. It may lie in the past: past usage is billed then.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    starts_at: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    ends_at: Option<Timestamp>,
    #[serde(default)]
    anchor: AnchorKind,
    /// IANA name; the default is the customer's.
    #[serde(default)]
    time_zone: Option<String>,
    /// What it has of its own beside the plan: `trial`, `quantities`, `addOns`, `proration`, `changes`, `overrides`, `coupons`,
    /// `taxRates`, `taxRounding`, `overage`, `thresholds`, `zeroInvoices`, `firstInvoice`, as in a Subscription document of `meridian simulate`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    terms: Option<Value>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SubscriptionFilter {
    /// Only those of this customer, cus_…
    customer_id: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Cancellation {
    /// RFC 3339; the default is now. Usage until then is billed.
    #[param(value_type = Option<String>)]
    at: Option<Timestamp>,
    /// Whether it ends then, or with the period that `at` lies in.
    #[serde(default)]
    #[param(inline)]
    when: CancelWhen,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CancelWhen {
    #[default]
    AtOnce,
    PeriodEnd,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScheduledAt {
    /// RFC 3339: when the change was to take effect. Required.
    #[param(value_type = String)]
    at: Option<Timestamp>,
}

/// As in a Subscription document of `meridian simulate`; `at` is now where it is absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(example = json!({"planRef": {"name": "starter"}, "when": "NextPeriod"}))]
pub(crate) struct ChangeSubscription(Map<String, Value>);

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"period_start": "2026-07-01T00:00:00Z", "issue": true}))]
pub(crate) struct ClosePeriod {
    /// RFC 3339; the default is the first period without an issued invoice.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    period_start: Option<Timestamp>,
    /// Whether the invoice is issued too, or left a draft.
    #[serde(default = "yes")]
    issue: bool,
}

fn yes() -> bool {
    true
}

/// All subscriptions, in the order of their making.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "Subscriptions", operation_id = "listSubscriptions",
    params(SubscriptionFilter, Paging), responses((status = 200, body = List<Subscription>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(filter): Parameters<SubscriptionFilter>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Subscription>>, Problem> {
    let records = caller.records(&app);
    if let Some(id) = &filter.customer_id {
        let known = records.customer(shown::id("customer", id)?).await?;
        known.ok_or_else(|| Problem::not_found("customer").field("customer_id"))?;
    }
    let listed = records.subscriptions(filter.customer_id.as_deref(), &paging.page()?).await?;
    Ok(List::of(listed, show))
}

/// Subscribes a customer to a plan.
#[utoipa::path(post, path = "/v1/subscriptions", tag = "Subscriptions", operation_id = "createSubscription",
    request_body = CreateSubscription, responses((status = 201, body = Subscription)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Seed(seed): Seed,
    Body(body): Body<CreateSubscription>,
) -> Result<(StatusCode, Json<Subscription>), Problem> {
    let new = body.checked()?;
    let by = caller.by("POST /v1/subscriptions");
    let subscription = caller.records(&app).create_subscription(&new, seed, &by).await?;
    Ok((StatusCode::CREATED, Json(show(subscription))))
}

/// One subscription.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription_id}", tag = "Subscriptions", operation_id = "getSubscription",
    params(("subscription_id" = String, Path, description = "sub_…")), responses((status = 200, body = Subscription)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
) -> Result<Json<Subscription>, Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    let found = caller.records(&app).subscription(&id).await?;
    Ok(Json(show(found.ok_or_else(|| Problem::not_found("subscription"))?)))
}

/// Cancels a subscription. What is used until its end is still billed; cancelling again keeps the first end.
#[utoipa::path(delete, path = "/v1/subscriptions/{subscription_id}", tag = "Subscriptions", operation_id = "cancelSubscription",
    params(("subscription_id" = String, Path, description = "sub_…"), Cancellation),
    responses((status = 200, body = Subscription)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
    Parameters(cancellation): Parameters<Cancellation>,
) -> Result<Json<Subscription>, Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    let at = cancellation.at.unwrap_or_else(shown::now);
    let at = match cancellation.when {
        CancelWhen::AtOnce => CancelAt::Instant(at),
        CancelWhen::PeriodEnd => CancelAt::PeriodEnd(at),
    };
    let by = caller.by("DELETE /v1/subscriptions");
    Ok(Json(show(caller.records(&app).cancel_subscription(&id, at, &by).await?)))
}

/// Changes a running subscription: `planRef`, `quantities`, `addOns`, `pause` or `resume`, at `at` (default now) or, with
/// `when: NextPeriod`, from the next period on. Time that is billed does not change any more; the part of a period is prorated, and
/// what was charged in advance is settled by its invoice.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription_id}/changes", tag = "Subscriptions",
    operation_id = "changeSubscription", params(("subscription_id" = String, Path, description = "sub_…")),
    request_body = ChangeSubscription,
    responses((status = 200, body = Subscription)))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
    seed: Seed,
    Body(ChangeSubscription(mut body)): Body<ChangeSubscription>,
) -> Result<Json<Subscription>, Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    body.entry("at").or_insert_with(|| Value::String(seed.first_tried_at().to_string()));
    let change = ChangeSpec::from_json(&Value::Object(body))
        .map_err(|error| Problem::invalid(error.field, error.detail))?;
    let by = caller.by("POST /v1/subscriptions/{id}/changes");
    Ok(Json(show(caller.records(&app).change_subscription(&id, change, &by).await?)))
}

/// Takes back a change that has not taken effect yet.
#[utoipa::path(delete, path = "/v1/subscriptions/{subscription_id}/changes", tag = "Subscriptions",
    operation_id = "withdrawChange", params(("subscription_id" = String, Path, description = "sub_…"), ScheduledAt),
    responses((status = 200, body = Subscription)))]
pub(crate) async fn withdraw_change(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
    Parameters(ScheduledAt { at }): Parameters<ScheduledAt>,
) -> Result<Json<Subscription>, Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    let found = caller.records(&app).subscription(&id).await?;
    found.ok_or_else(|| Problem::not_found("subscription"))?;
    let at = at.ok_or_else(|| Problem::parameter("at", "say when the change was to take effect"))?;
    let by = caller.by("DELETE /v1/subscriptions/{id}/changes");
    Ok(Json(show(caller.records(&app).withdraw_change(&id, at, shown::now(), &by).await?)))
}

/// Closes a period that is over: waits until its usage is processed, rates it, and issues its invoice. A run that is under
/// way is joined; a period that has its invoice keeps it, a void one too: POST /v1/invoices/{invoice_id}/reissue bills such a
/// period again.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription_id}/close", tag = "Billing", operation_id = "closePeriod",
    params(("subscription_id" = String, Path, description = "sub_…")), request_body = ClosePeriod,
    responses((status = 202, body = StartedRun)))]
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    Path(subscription_id): Path<String>,
    Body(body): Body<ClosePeriod>,
) -> Result<(StatusCode, Json<StartedRun>), Problem> {
    let id = shown::subscription_id(&subscription_id)?;
    let terms = caller.records(&app).period_terms(&id, body.period_start).await?;
    if terms.period.end > Timestamp::now() {
        let detail =
            format!("the period ends at {}; it can be closed then, and previewed now", terms.period.end);
        return Err(Problem::conflict(Code::PeriodNotOver, detail).field("period_start"));
    }
    billing_runs::start(&app, &caller, id, terms.period, body.issue).await
}

impl CreateSubscription {
    fn checked(self) -> Result<NewSubscription, Problem> {
        let customer_id = shown::id("customer", &self.customer_id)
            .map_err(|problem| problem.field("customer_id"))?
            .to_owned();
        let plan = PlanName::new(self.plan).map_err(|error| Problem::invalid("plan", error.to_string()))?;
        if let Some(zone) = &self.time_zone {
            check_time_zone("time_zone", zone)?;
        }
        let starts_at = self.starts_at.unwrap_or_else(shown::now);
        let terms = match &self.terms {
            Some(terms) => CustomTerms::from_json(terms)
                .map_err(|error| Problem::invalid(format!("terms.{}", error.field), error.detail))?,
            None => CustomTerms::default(),
        };
        let anchor = match self.anchor {
            AnchorKind::Calendar => BillingAnchor::Calendar,
            AnchorKind::Start => BillingAnchor::Anniversary,
        };
        Ok(NewSubscription {
            customer_id,
            plan,
            starts_at,
            ends_at: self.ends_at,
            anchor,
            time_zone: self.time_zone,
            terms,
        })
    }
}

fn show(subscription: Record) -> Subscription {
    Subscription {
        id: subscription.id.into_string(),
        customer_id: subscription.customer_id,
        customer: subscription.customer.into_string(),
        plan: subscription.plan.into_string(),
        status: subscription.state.as_str().to_owned(),
        time_zone: subscription.time_zone,
        anchor: match subscription.anchor {
            BillingAnchor::Calendar => AnchorKind::Calendar,
            BillingAnchor::Anniversary => AnchorKind::Start,
        },
        starts_at: shown::instant(subscription.starts_at),
        ends_at: subscription.ends_at.map(shown::instant),
        next_period: subscription
            .next_period
            .map(|next| PeriodBounds { start: shown::instant(next.start), end: shown::instant(next.end) }),
        terms: subscription.terms,
        managed_by: subscription.managed_by.as_str().to_owned(),
        created_at: shown::instant(subscription.created_at),
    }
}
