//! The status of a region: a pure function of what is observed, never of what was last done.

use jiff::Timestamp;
use meridian_crds::conditions::{ConditionType, Reason};
use meridian_crds::region::{BillingRegionStatus, Endpoints};
use meridian_crds::{BillingRegion, LocalRef};

use crate::build::Progress;
use crate::component::Component;
use crate::conditions::{self, Outcome, Statement, Truth, conditions, summary};
use crate::discovery;
use crate::health::Health;
use crate::region::ValidRegion;
use crate::validate::Problem;

/// What stood in the way of applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: Reason,
    pub message: String,
}

/// What is known about a region at the end of a pass.
#[derive(Clone, Debug)]
pub enum Findings<'a> {
    /// The spec cannot be carried out. What runs keeps running.
    Invalid(&'a [Problem]),
    /// The spec is being carried out.
    Valid { region: &'a ValidRegion, progress: &'a Progress, obstacles: &'a [Obstacle] },
    /// The object is being deleted; the message says what that waits for.
    Deleting(Reason, &'a str),
}

/// The status after a pass.
pub fn status(region: &BillingRegion, findings: &Findings<'_>, now: Timestamp) -> BillingRegionStatus {
    let before = region.status.clone().unwrap_or_default();
    let generation = region.metadata.generation.unwrap_or_default();
    let paused = region.spec.paused;
    let statements = match findings {
        Findings::Invalid(problems) => invalid(&before, problems),
        Findings::Valid { region: _, progress, obstacles } => valid(progress, obstacles, paused),
        Findings::Deleting(reason, message) => {
            carry_over(&before, summary(Outcome::Working(*reason, (*message).to_owned())))
        }
    };
    let conditions = conditions(&statements, &before.conditions, generation, now);
    match findings {
        Findings::Valid { region, progress, obstacles: _ } => BillingRegionStatus {
            observed_generation: Some(generation),
            conditions,
            version: version(region, progress).or(before.version),
            endpoints: Some(Endpoints {
                ingest: Some(discovery::url(region, Component::Ingest)),
                api: Some(discovery::url(region, Component::Api)),
            }),
            discovery_secret_ref: Some(LocalRef::new(discovery::name(region))),
            stores_ready: Some(progress.count(&Component::STORES)),
            services_ready: Some(progress.count(&Component::SERVICES)),
        },
        Findings::Invalid(_) | Findings::Deleting(..) => {
            BillingRegionStatus { observed_generation: Some(generation), conditions, ..before }
        }
    }
}

fn invalid(before: &BillingRegionStatus, problems: &[Problem]) -> Vec<Statement> {
    let reason = problems.first().map_or(Reason::InvalidSpec, |problem| problem.reason);
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let outcome = match reason {
        // It passes without anybody's doing: what a former region of this name left is on its way out.
        Reason::Progressing => Outcome::Working(reason, messages.join("; ")),
        _ => Outcome::Stuck(reason, messages.join("; ")),
    };
    carry_over(before, summary(outcome))
}

/// What ran before runs on: the conditions of the parts stay as they were, and are Unknown where there were none.
fn carry_over(before: &BillingRegionStatus, summary: [Statement; 3]) -> Vec<Statement> {
    let mut statements = summary.to_vec();
    for type_ in
        std::iter::once(ConditionType::Available).chain(Component::ALL.into_iter().map(condition_type))
    {
        let old = conditions::find(&before.conditions, type_);
        let status = match old.map(|old| old.status.as_str()) {
            Some("True") => Truth::True,
            Some("False") => Truth::False,
            Some(_) | None => Truth::Unknown,
        };
        let reason = old.and_then(|old| Reason::ALL.iter().find(|reason| reason.as_str() == old.reason));
        let message = old.map_or("Not looked at yet.", |old| old.message.as_str());
        statements.push(Statement::new(type_, status, *reason.unwrap_or(&Reason::Unknown), message));
    }
    statements
}

fn valid(progress: &Progress, obstacles: &[Obstacle], paused: bool) -> Vec<Statement> {
    let mut statements = summary(outcome(progress, obstacles, paused)).to_vec();
    statements.push(available(progress));
    for component in Component::ALL {
        if let Some(Health { ready, available: _, reason, message }) = progress.health(component) {
            statements.push(Statement::new(condition_type(component), *ready, *reason, message.clone()));
        }
    }
    statements
}

fn outcome(progress: &Progress, obstacles: &[Obstacle], paused: bool) -> Outcome {
    if paused {
        return Outcome::Held(
            Reason::Paused,
            "spec.paused is true: nothing is changed. Set it to false to go on.".to_owned(),
        );
    }
    let migration = progress.health(Component::Migrate);
    if let Some(Health { reason: Reason::MigrationFailed, message, .. }) = migration {
        return Outcome::Stuck(Reason::MigrationFailed, message.clone());
    }
    // Others' objects go away by other people's hands; a field conflict is won by force and only reported.
    let blocking = obstacles.iter().find(|obstacle| obstacle.reason != Reason::FieldConflict);
    if let Some(Obstacle { reason, message }) = blocking {
        return match reason {
            Reason::Progressing => Outcome::Working(*reason, message.clone()),
            _ => Outcome::Stuck(*reason, message.clone()),
        };
    }
    let unready = || {
        Component::ALL
            .into_iter()
            .filter_map(|part| progress.health(part).map(|health| (part, health)))
            .filter(|(_, health)| !health.ready)
    };
    // A Secret that is missing may be on its way from another controller: it is waited for, and named.
    for trouble in [Reason::SecretMissing, Reason::SecretInvalid, Reason::PodsFailing] {
        if let Some((_, health)) = unready().find(|(_, health)| health.reason == trouble) {
            return Outcome::Working(trouble, health.message.clone());
        }
    }
    let waiting: Vec<&str> = unready()
        .filter(|(_, health)| health.reason != Reason::WaitingForDependency)
        .map(|(part, _)| part.name())
        .collect();
    match (unready().next(), waiting.as_slice()) {
        (None, _) => Outcome::Done("All stores and services are as the spec says.".to_owned()),
        (Some(_), waiting) => {
            Outcome::Working(Reason::Progressing, format!("Waits for {}.", waiting.join(", ")))
        }
    }
}

/// Serving: events are taken and the API answers, whatever is being changed behind them.
fn available(progress: &Progress) -> Statement {
    let missing: Vec<&str> = [Component::Ingest, Component::Api]
        .into_iter()
        .filter(|part| !progress.health(*part).is_some_and(|health| health.available))
        .map(Component::name)
        .collect();
    if missing.is_empty() {
        return Statement::new(ConditionType::Available, true, Reason::Succeeded, "Ingest and api serve.");
    }
    let message = format!("No pod of {} serves.", missing.join(" and "));
    Statement::new(ConditionType::Available, false, Reason::WaitingForPods, message)
}

pub const fn condition_type(component: Component) -> ConditionType {
    match component {
        Component::Postgres => ConditionType::PostgresReady,
        Component::ClickHouse => ConditionType::ClickHouseReady,
        Component::Kafka => ConditionType::KafkaReady,
        Component::Redis => ConditionType::RedisReady,
        Component::Buffer => ConditionType::BufferReady,
        Component::ObjectStore => ConditionType::ObjectStoreReady,
        Component::Temporal => ConditionType::TemporalReady,
        Component::Migrate => ConditionType::SchemasMigrated,
        Component::Consumer => ConditionType::ConsumerReady,
        Component::Worker => ConditionType::WorkerReady,
        Component::Api => ConditionType::ApiReady,
        Component::Ingest => ConditionType::IngestReady,
    }
}

/// The tag or digest of our image, once all services run it.
fn version(region: &ValidRegion, progress: &Progress) -> Option<String> {
    let all_ready =
        Component::SERVICES.iter().all(|part| progress.health(*part).is_some_and(|health| health.ready));
    let image = region.images.of(Component::Api);
    let tag = image
        .rsplit_once('@')
        .or_else(|| image.rsplit('/').next()?.rsplit_once(':'))
        .map(|(_, tag)| tag.to_owned());
    all_ready.then_some(tag).flatten()
}

/// How much a new status differs from the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    None,
    /// Steps on the way: may wait a little, so that seven stores that come up one by one are not seven writes.
    Progress,
    /// What somebody waits for or must act upon: written at once.
    News,
}

/// Compares the stored status with the new one.
pub fn difference(before: Option<&BillingRegionStatus>, after: &BillingRegionStatus) -> Difference {
    let Some(before) = before else { return Difference::News };
    let undated =
        |status: &BillingRegionStatus| BillingRegionStatus { conditions: Vec::new(), ..status.clone() };
    if undated(before) == undated(after) && conditions::same(&before.conditions, &after.conditions) {
        return Difference::None;
    }
    if before.observed_generation != after.observed_generation || news(before, after) {
        return Difference::News;
    }
    Difference::Progress
}

fn news(before: &BillingRegionStatus, after: &BillingRegionStatus) -> bool {
    let headline = [ConditionType::Ready, ConditionType::Stalled, ConditionType::Available];
    let of = |status: &BillingRegionStatus, type_| {
        conditions::find(&status.conditions, type_)
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    let migrated =
        |status: &BillingRegionStatus| of(status, ConditionType::SchemasMigrated).map(|(status, _)| status);
    if migrated(before) != migrated(after) {
        return true;
    }
    headline.into_iter().any(|type_| of(before, type_) != of(after, type_))
        || Component::ALL.into_iter().map(condition_type).any(|type_| {
            // A part that was ready and is not, or that fails: somebody may have to act.
            let (was, is) = (of(before, type_), of(after, type_));
            let ready =
                |state: &Option<(String, String)>| state.as_ref().is_some_and(|(status, _)| status == "True");
            let failing = |state: &Option<(String, String)>| {
                state.as_ref().is_some_and(|(_, reason)| reason == Reason::PodsFailing.as_str())
            };
            (ready(&was) && !ready(&is)) || failing(&was) != failing(&is)
        })
}
