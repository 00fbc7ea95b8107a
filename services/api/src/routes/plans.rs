//! Plans: what usage costs. Read only here; they are made as Kubernetes objects. What a change of one would mean is told before
//! it is applied.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use meridian_billing::{
    catalogue::{PlanSpec, UpdatePolicy},
    decimal::{Amount, Overflow},
    ids::PlanName,
    invoice::compute,
    money::Currency,
    subscription::{PlanChange, plan_changes},
};
use meridian_records::{OfferedPlan, PeriodTerms, ProposedVersion, Subscription, TenantRecords};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{List, shown, subscriptions::PeriodBounds};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    problem::{Code, Problem},
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    #[schema(example = "plan_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    #[schema(example = "starter")]
    name: String,
    /// A change of a plan is a new version; its `updatePolicy` says who is billed by it from when on.
    version: i32,
    /// Shared by every tenant of the region, or this tenant's own.
    shared: bool,
    #[schema(example = "USD")]
    currency: String,
    /// As in the Plan object; amounts are decimal strings.
    #[schema(value_type = Object)]
    spec: Value,
}

/// Plans that customers of this tenant can subscribe to.
#[utoipa::path(get, path = "/v1/plans", tag = "Catalogue", operation_id = "listPlans", params(Paging),
    responses((status = 200, body = List<Plan>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Plan>>, Problem> {
    let listed = caller.records(&app).plans(&paging.page()?).await?;
    Ok(List::of(listed, show))
}

fn show(plan: OfferedPlan) -> Plan {
    let OfferedPlan { shared, current } = plan;
    Plan {
        id: current.plan_id,
        name: current.name.into_string(),
        version: current.version,
        shared,
        currency: current.spec.currency.code().to_owned(),
        spec: serde_json::to_value(&current.spec).unwrap_or_default(),
    }
}

/// The plan as it would be applied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"spec": {"regionRef": {"name": "eu"}, "currency": "USD", "interval": {"unit": "Month"}, "updatePolicy": "Immediate",
    "prices": [{"name": "base", "flat": {"amount": "120"}}]}}))]
pub(crate) struct PreviewPlan {
    /// `spec` of the Plan object.
    #[schema(value_type = Object)]
    spec: Value,
}

/// What the next version of a plan would mean.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanPreview {
    #[schema(example = "starter")]
    plan: String,
    /// The number that it would have.
    version: i32,
    /// `New`, `NextPeriod` or `Immediate`.
    #[schema(example = "NextPeriod")]
    update_policy: String,
    /// What it says otherwise, in sentences.
    #[schema(example = json!(["price base: flat.amount changes from 100 to 120"]))]
    changes: Vec<String>,
    /// A page of the subscriptions that have the plan.
    data: Vec<TouchedSubscription>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TouchedSubscription {
    #[schema(example = "sub_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    subscription_id: String,
    customer_id: String,
    /// From when on the version would bill it; null: never.
    moves_at: Option<String>,
    /// The first period without an issued invoice.
    period: PeriodBounds,
    #[schema(example = "USD")]
    currency: String,
    /// That period's invoice as things are, with the usage until now.
    #[schema(example = "100.00")]
    total: String,
    /// By how much it would move.
    #[schema(example = "0.00")]
    difference: String,
    /// By how much it would move if the version held from the period's start: what a period of this usage will cost more.
    #[schema(example = "20.00")]
    whole_period_difference: String,
}

/// What a change of a plan would mean: who is moved to it when, and by how much the invoice of the current period moves.
#[utoipa::path(post, path = "/v1/plans/{plan_name}/preview", tag = "Catalogue", operation_id = "previewPlan",
    params(("plan_name" = String, Path, description = "Its name"), Paging), request_body = PreviewPlan,
    responses((status = 200, body = PlanPreview)))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    Path(plan_name): Path<String>,
    Parameters(paging): Parameters<Paging>,
    Body(PreviewPlan { spec }): Body<PreviewPlan>,
) -> Result<Json<PlanPreview>, Problem> {
    let records = caller.records(&app);
    let name: PlanName = plan_name.parse().map_err(|_| Problem::not_found("plan"))?;
    if records.plan_named(&name).await?.is_none() {
        return Err(Problem::not_found("plan"));
    }
    let spec = PlanSpec::from_json(&spec)
        .map_err(|error| Problem::invalid(format!("spec.{}", error.field), error.detail))?;
    let now = shown::now();
    let proposed = records.propose_version(&name, &spec, now).await.map_err(of_spec)?;
    let listed = records.subscriptions_of_plan(&proposed.current.plan_id, &paging.page()?).await?;
    let mut data = Vec::with_capacity(listed.items.len());
    for subscription in &listed.items {
        data.extend(touched(&app, &records, subscription, &proposed, now).await?);
    }
    Ok(Json(PlanPreview {
        plan: name.into_string(),
        version: proposed.next.version,
        update_policy: shown::word(&spec.update_policy),
        changes: plan_changes(&proposed.current.spec, &spec).iter().map(PlanChange::to_string).collect(),
        data,
        next_cursor: listed.next,
    }))
}

fn of_spec(error: meridian_records::SubscriptionError) -> Problem {
    match error {
        meridian_records::SubscriptionError::Terms(error) => {
            Problem::invalid(format!("spec.{}", error.field), error.detail)
        }
        other => other.into(),
    }
}

/// None: nothing is left to bill on it.
async fn touched(
    app: &App,
    records: &TenantRecords,
    subscription: &Subscription,
    proposed: &ProposedVersion,
    now: Timestamp,
) -> Result<Option<TouchedSubscription>, Problem> {
    let Some(period) = subscription.next_period else { return Ok(None) };
    let (id, start) = (&subscription.id, period.start);
    let as_it_is = records.period_terms(id, Some(start)).await?;
    let total = total(app, &as_it_is, now).await?;
    let difference = async |proposed: &ProposedVersion| {
        let terms = records.proposed_terms(id, start, proposed).await?;
        let then = self::total(app, &terms, now).await?;
        let overflow = |error: Overflow| Problem::internal(&error);
        Ok::<_, Problem>(shown::amount(then.0, then.1.checked_sub(total.1).map_err(overflow)?))
    };
    Ok(Some(TouchedSubscription {
        subscription_id: id.to_string(),
        customer_id: subscription.customer_id.clone(),
        moves_at: match proposed.next.spec.update_policy {
            UpdatePolicy::New => None,
            UpdatePolicy::NextPeriod => Some(shown::instant(period.end)),
            UpdatePolicy::Immediate => Some(shown::instant(now.max(start))),
        },
        period: PeriodBounds { start: shown::instant(start), end: shown::instant(period.end) },
        currency: total.0.code().to_owned(),
        total: shown::amount(total.0, total.1),
        difference: difference(proposed).await?,
        whole_period_difference: difference(&proposed.clone().throughout(start)).await?,
    }))
}

/// The period's invoice by these terms, with the usage until now.
async fn total(app: &App, terms: &PeriodTerms, now: Timestamp) -> Result<(Currency, Amount), Problem> {
    let usage = app.rating().price_usage(terms, now).await?;
    let computed = compute(&terms.invoice_input(usage, now)?)
        .map_err(|error| Problem::conflict(Code::Unbillable, error.to_string()))?;
    Ok((computed.currency, computed.total))
}
