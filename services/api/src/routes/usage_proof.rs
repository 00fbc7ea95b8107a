//! Whether usage is what was sent: the quantity as it would be billed, beside the one that the meter makes of the raw events.

use axum::{Json, extract::State};
use jiff::{SignedDuration, Timestamp};
use meridian_usage_store::{MeteredUsage, UsageProofError, UsageProofQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    shown,
    usage::{known, range},
};
use crate::{app::App, auth::Caller, extract::Parameters, problem::Problem, usage::untold};

/// What was stored earlier than this before now is stored whole: a batch writes its tables one after the other, and its last
/// insert dies at its deadline long before.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_mins(2);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProofQuery {
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
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageProof {
    meter: String,
    customer: String,
    start: String,
    end: String,
    /// What was stored by this instant is in both figures.
    stored_before: String,
    /// As it would be billed.
    from_rollups: Figure,
    /// The meter, as it is now, applied to each raw event again.
    from_raw: Figure,
    /// Events that the meter counts and cannot use: they are in quarantine, and in neither figure.
    unusable_events: u64,
    /// Raw events whose content is no longer what was received; 0 unless somebody wrote to the store.
    altered_events: u64,
    /// Whether both figures are the same and nothing was altered.
    equal: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Figure {
    #[schema(example = "12000")]
    quantity: String,
    events: u64,
}

/// Whether what a customer used of a meter is what was sent. Unequal for the first minutes of a meter, while the events of
/// before it are counted, and where an earlier object of its name counted otherwise.
#[utoipa::path(get, path = "/v1/usage/proof", tag = "Usage", operation_id = "proveUsage", params(ProofQuery),
    responses((status = 200, body = UsageProof)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters<ProofQuery>,
) -> Result<Json<UsageProof>, Problem> {
    let period = range(query.start, query.end)?;
    let (meter, customer) = known(&app, &caller, &query.meter, &query.customer).await?;
    let stored_before = Timestamp::now() - SETTLED_AFTER;
    let question = UsageProofQuery {
        meter: meter.name.to_string(),
        spec: meter.spec,
        customer,
        period,
        stored_before_us: Some(stored_before.as_microsecond()),
    };
    let proof = app.usage().prove_usage(&caller.usage_scope(), &question).await.map_err(no_proof)?;
    Ok(Json(UsageProof {
        equal: proof.equal(),
        from_rollups: figure(proof.from_rollups)?,
        from_raw: figure(proof.from_raw)?,
        unusable_events: proof.unusable,
        altered_events: proof.altered,
        meter: question.meter,
        customer: question.customer.into_string(),
        start: shown::instant(query.start),
        end: shown::instant(query.end),
        stored_before: shown::instant(stored_before),
    }))
}

fn figure(usage: MeteredUsage) -> Result<Figure, Problem> {
    let MeteredUsage { events, quantity } = usage;
    Ok(Figure { quantity: shown::quantity(quantity.map_err(untold)?), events })
}

fn no_proof(error: UsageProofError) -> Problem {
    let detail = error.to_string();
    match error {
        UsageProofError::TooManyEvents => Problem::parameter("start", detail),
        UsageProofError::Unmeasurable(_) => Problem::invalid("meter", detail),
        UsageProofError::Store(error) => error.into(),
    }
}
