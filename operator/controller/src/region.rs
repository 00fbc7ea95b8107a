//! One pass over a BillingRegion: fetch, validate, build, apply, status.

use kube::ResourceExt;
use kube::runtime::controller::Action;
use meridian_crds::BillingRegion;
use meridian_crds::conditions::Reason;
use meridian_desired::build::{Plan, build};
use meridian_desired::object::{Kind, PART_OF, PART_OF_LABEL};
use meridian_desired::observed::{Observed, label};
use meridian_desired::region::ValidRegion;
use meridian_desired::status::{Difference, Findings, Obstacle, difference, status};
use meridian_desired::validate::{Problem, Surroundings, validate};

use std::collections::BTreeMap;

use crate::apply::{self, Owner, apply_all, delete_all};
use crate::context::Context;
use crate::credentials::{self, Found};
use crate::deletion;
use crate::foreign_secrets;
use crate::status as report;

pub const KIND: &str = "BillingRegion";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    #[error(transparent)]
    Apply(#[from] apply::Error),
    #[error(transparent)]
    Finalizer(#[from] crate::finalizer::Error),
    #[error(transparent)]
    Status(#[from] report::Error),
    #[error("the pass took longer than it may")]
    TooLong,
}

/// What was read before anything is decided.
struct Fetched {
    siblings: Vec<BillingRegion>,
    image_catalogue: Option<BTreeMap<String, String>>,
    observed: Observed,
}

/// What a pass came to.
enum Outcome {
    Invalid(Vec<Problem>),
    Valid { region: Box<ValidRegion>, plan: Plan, obstacles: Vec<Obstacle> },
}

pub async fn reconcile(ctx: &Context, region: &BillingRegion) -> Result<Action, Error> {
    if region.metadata.deletion_timestamp.is_some() {
        return deletion::reconcile(ctx, region).await;
    }
    deletion::keep_finalizer(ctx, region).await?;
    let fetched = fetch(ctx, region);
    let outcome = tokio::time::timeout(ctx.pace.pass, carry_out(ctx, region, &fetched))
        .await
        .map_err(|_| Error::TooLong)??;
    write_status(ctx, region, &outcome).await
}

/// Validate, build, apply.
async fn carry_out(ctx: &Context, region: &BillingRegion, fetched: &Fetched) -> Result<Outcome, Error> {
    let surroundings = Surroundings {
        siblings: fetched.siblings.iter().collect(),
        operator: &ctx.operator,
        images: &ctx.images,
        image_catalogue: fetched.image_catalogue.as_ref(),
    };
    let valid = match validate(region, &surroundings) {
        Ok(valid) => valid,
        Err(problems) => return Ok(Outcome::Invalid(problems)),
    };
    let owner = Owner { kind: KIND, uid: &valid.uid, namespace: &valid.namespace, region: &valid.name };
    let paused = region.spec.paused;
    let mut credentials = if paused {
        credentials::read(ctx, owner, &valid)
    } else {
        match credentials::ensure(ctx, owner, &valid).await? {
            Found::Credentials(credentials) => credentials,
            Found::Obstacle(Obstacle { reason, message }) => {
                return Ok(Outcome::Invalid(vec![Problem { reason, message }]));
            }
        }
    };
    foreign_secrets::read(ctx, &valid, &mut credentials).await?;
    let plan = build(&valid, &credentials, &fetched.observed, jiff::Timestamp::now());
    let mut obstacles = Vec::new();
    if !paused {
        obstacles = apply_all(ctx, owner, &fetched.observed, &plan.apply).await?;
        delete_all(ctx, owner.namespace, &fetched.observed, &plan.prune).await?;
    }
    Ok(Outcome::Valid { region: Box::new(valid), plan, obstacles })
}

fn fetch(ctx: &Context, region: &BillingRegion) -> Fetched {
    let namespace = region.namespace().unwrap_or_default();
    let name = region.name_any();
    let mut siblings = ctx.caches.regions_in(&namespace);
    siblings.retain(|sibling| sibling.name_any() != name);
    let catalogue = region.spec.images.as_ref().map(|images| images.catalog_ref.name.as_str());
    Fetched {
        siblings,
        image_catalogue: catalogue.and_then(|name| image_catalogue(ctx, &namespace, name)),
        observed: ctx.caches.observed(&namespace, &name),
    }
}

fn image_catalogue(ctx: &Context, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let config_map = ctx.caches.object(Kind::ConfigMap, namespace, name)?;
    if label(&config_map, PART_OF_LABEL) != Some(PART_OF) {
        return None;
    }
    let data = config_map.data.get("data")?.as_object()?;
    Some(data.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

async fn write_status(ctx: &Context, region: &BillingRegion, outcome: &Outcome) -> Result<Action, Error> {
    let findings = match outcome {
        Outcome::Invalid(problems) => Findings::Invalid(problems),
        Outcome::Valid { region, plan, obstacles } => {
            Findings::Valid { region, progress: &plan.progress, obstacles }
        }
    };
    let after = status(region, &findings, jiff::Timestamp::now());
    let held_back = write_if_news(ctx, region, &after).await?;
    let unready = match outcome {
        Outcome::Invalid(problems) => problems.iter().any(|problem| problem.reason == Reason::Progressing),
        Outcome::Valid { region: _, plan, obstacles } => {
            !obstacles.is_empty() || plan.progress.components.values().any(|health| !health.ready)
        }
    };
    let next = if unready { ctx.pace.unready } else { ctx.pace.idle_jittered() };
    Ok(Action::requeue(held_back.map_or(next, |wait| wait.min(next))))
}

/// Writes a status that says something new. Steps on the way wait, and it is said how long.
pub async fn write_if_news(
    ctx: &Context,
    region: &BillingRegion,
    after: &meridian_crds::BillingRegionStatus,
) -> Result<Option<std::time::Duration>, Error> {
    let key = format!("{}/status", region.uid().unwrap_or_default());
    match difference(region.status.as_ref(), after) {
        Difference::None => return Ok(None),
        Difference::Progress => {
            if let Some(wait) = ctx.memory.wait(&key, ctx.pace.progress) {
                return Ok(Some(wait));
            }
        }
        Difference::News => {}
    }
    report::write(ctx, region, after).await?;
    ctx.memory.wrote(&key);
    let before = region.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
    report::tell(ctx, region, before, &after.conditions).await;
    Ok(None)
}
