//! One pass over a Meter, a Plan or a Tenant: fetch, validate, keys, send, status.
//!
//! The three differ in what is sent and in their status type; [`CatalogueKind`] is that difference. A Tenant has its API keys
//! made on the way.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use meridian_crds::conditions::{ConditionType, Reason};
use meridian_crds::meter::MeterStatus;
use meridian_crds::plan::PlanStatus;
use meridian_crds::tenant::{IssuedKey, TenantStatus};
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use meridian_desired::catalogue::{self, Around, Entry, EntryKind, entry_conditions};
use meridian_desired::component::Component;
use meridian_desired::conditions::{Outcome, find, same};
use meridian_desired::credentials::{Credentials, secret_name};
use meridian_desired::object::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api_keys;
use crate::context::Context;
use crate::control::{self, Address, Sent};
use crate::credentials;
use crate::finalizer;
use crate::status as report;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Finalizer(#[from] finalizer::Error),
    #[error(transparent)]
    ApiKeys(#[from] api_keys::Error),
    #[error("the region's api")]
    Control(#[from] control::Error),
    #[error(transparent)]
    Status(#[from] report::Error),
    #[error("the pass took longer than it may")]
    TooLong,
}

/// What tells Meters, Plans and Tenants apart.
pub trait CatalogueKind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    type Status: Serialize + Send + Sync;
    const KIND: EntryKind;
    const NAME: &'static str;

    fn region_name(&self) -> &str;
    fn entry(&self, around: &Around<'_>) -> Result<Entry, Outcome>;
    fn conditions(&self) -> &[Condition];
    fn catalogue_version(&self) -> Option<i64>;
    /// The new status; None when it says what the stored one says.
    fn status(&self, conditions: Vec<Condition>, version: Option<i64>) -> Option<Self::Status>;
    /// The Tenant, where this is one.
    fn tenant(&self) -> Option<&Tenant>;
}

pub async fn reconcile<K: CatalogueKind>(ctx: &Context, object: &K) -> Result<Action, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let region = ctx.caches.region(&namespace, object.region_name());
    if object.meta().deletion_timestamp.is_some() {
        return archive(ctx, object, region.as_ref()).await;
    }
    let pass = carry_out(ctx, object, region.as_ref(), &namespace);
    let result = tokio::time::timeout(ctx.pace.pass, pass).await.unwrap_or(Err(Error::TooLong));
    let (outcome, version) = match result {
        Ok(reached) => reached,
        // A blip is a retry. What lasts is told, and retried all the same.
        Err(Error::Control(error)) if failures(ctx, object) >= 3 => {
            let message = format!(
                "The api of BillingRegion {} cannot be reached: it is tried again.",
                object.region_name()
            );
            write_status(ctx, object, Outcome::Working(Reason::CatalogueUnreachable, message), None).await?;
            return Err(Error::Control(error));
        }
        Err(error) => return Err(error),
    };
    // What waits for an object here is woken by its change; what waits for something in the api is not.
    let waits = matches!(&outcome, Outcome::Working(Reason::WaitingForDependency, _));
    write_status(ctx, object, outcome, version).await?;
    Ok(Action::requeue(if waits { ctx.pace.unready } else { ctx.pace.idle_jittered() }))
}

fn failures(ctx: &Context, object: &impl ResourceExt) -> u32 {
    ctx.memory.failures(&object.uid().unwrap_or_default())
}

/// Validate, keys, send.
async fn carry_out<K: CatalogueKind>(
    ctx: &Context,
    object: &K,
    region: Option<&BillingRegion>,
    namespace: &str,
) -> Result<(Outcome, Option<i64>), Error> {
    let around = Around {
        region,
        api_serves: region.is_some_and(|region| api_serves(ctx, namespace, &region.name_any())),
        meters: &ctx.caches.meters_in(namespace),
        plans: &ctx.caches.plans_in(namespace),
    };
    let mut entry = match object.entry(&around) {
        Ok(entry) => entry,
        Err(outcome) => return Ok((outcome, None)),
    };
    let Some((region, address)) = region.and_then(|region| Some((region, address(ctx, region)?))) else {
        let message = format!("Waits for the credentials of BillingRegion {}.", object.region_name());
        return Ok((Outcome::Working(Reason::RegionNotReady, message), None));
    };
    finalizer::set(ctx, object, finalizer::CATALOGUE, true).await?;
    if let Some(tenant) = object.tenant() {
        match api_keys::ensure(ctx, tenant, region).await? {
            api_keys::Found::Hashes(hashes) => entry.api_keys = hashes,
            api_keys::Found::Obstacle(obstacle) => {
                return Ok((Outcome::Stuck(obstacle.reason, obstacle.message), None));
            }
        }
    }
    let refusal = format!("{}/refused/{}", entry.uid, entry.generation);
    // What was refused is not sent again until it changes, or the api may have.
    if let (Some(_), Some(refused)) = (ctx.memory.wait(&refusal, ctx.pace.catalogue), told_refusal(object)) {
        return Ok((refused, None));
    }
    send(ctx, &address, &entry, K::NAME, &refusal).await
}

/// The refusal that the status of this generation tells of.
fn told_refusal(object: &impl CatalogueKind) -> Option<Outcome> {
    let stalled = find(object.conditions(), ConditionType::Stalled)?;
    let reason = control::REFUSALS.into_iter().find(|reason| reason.as_str() == stalled.reason)?;
    let current = stalled.observed_generation == object.meta().generation && stalled.status == "True";
    current.then(|| Outcome::Stuck(reason, stalled.message.clone()))
}

async fn send(
    ctx: &Context,
    address: &Address,
    entry: &Entry,
    name: &'static str,
    refusal: &str,
) -> Result<(Outcome, Option<i64>), Error> {
    let sent = ctx.control.ensure(address, entry, ctx.pace.catalogue).await?;
    Ok(match sent {
        Sent::Stored { version, written } => {
            ctx.metrics.catalogue(name, if written { "written" } else { "unchanged" });
            (Outcome::Done("The region has it as the spec says.".to_owned()), version)
        }
        Sent::Waits { message } => {
            ctx.metrics.catalogue(name, "waits");
            (Outcome::Working(Reason::WaitingForDependency, message), None)
        }
        Sent::Refused { reason, message } => {
            ctx.metrics.catalogue(name, "refused");
            ctx.memory.wrote(refusal);
            (Outcome::Stuck(reason, format!("The region's api refused it: {message}")), None)
        }
    })
}

/// Archives the entry, and lets the object go. A region that is gone, or going, has nothing to archive; nor has one that never
/// heard of the object.
async fn archive<K: CatalogueKind>(
    ctx: &Context,
    object: &K,
    region: Option<&BillingRegion>,
) -> Result<Action, Error> {
    if !object.finalizers().iter().any(|name| name == finalizer::CATALOGUE) {
        return Ok(Action::await_change());
    }
    let living = region.filter(|region| region.metadata.deletion_timestamp.is_none());
    if let Some((region, address)) = living.and_then(|region| Some((region, address(ctx, region)?))) {
        let serves = api_serves(ctx, &object.namespace().unwrap_or_default(), &region.name_any());
        if !serves && object.catalogue_version().is_some() {
            let message =
                format!("Waits for the api of BillingRegion {}, which has to archive it.", region.name_any());
            write_status(ctx, object, Outcome::Working(Reason::DeletionBlocked, message), None).await?;
            return Ok(Action::requeue(ctx.pace.unready));
        }
        if serves {
            ctx.control.archive(&address, K::KIND, &object.name_any()).await?;
            ctx.metrics.catalogue(K::NAME, "archived");
        }
    }
    finalizer::set(ctx, object, finalizer::CATALOGUE, false).await?;
    Ok(Action::await_change())
}

async fn write_status<K: CatalogueKind>(
    ctx: &Context,
    object: &K,
    outcome: Outcome,
    version: Option<i64>,
) -> Result<(), Error> {
    let generation = object.meta().generation.unwrap_or_default();
    let after = entry_conditions(K::KIND, outcome, object.conditions(), generation, jiff::Timestamp::now());
    if let Some(status) = object.status(after.clone(), version) {
        report::write(ctx, object, &status).await?;
        report::tell(ctx, object, object.conditions(), &after).await;
    }
    Ok(())
}

/// Whether the region's api has a pod that serves.
fn api_serves(ctx: &Context, namespace: &str, region: &str) -> bool {
    let name = format!("{region}-{}", Component::Api.name());
    let deployment = ctx.caches.object(Kind::Deployment, namespace, &name);
    deployment.is_some_and(|deployment| {
        deployment.data.pointer("/status/availableReplicas").and_then(serde_json::Value::as_i64).unwrap_or(0)
            > 0
    })
}

fn address(ctx: &Context, region: &BillingRegion) -> Option<Address> {
    let (namespace, name) = (region.namespace()?, region.name_any());
    let secret = ctx.caches.object(Kind::Secret, &namespace, &secret_name(&name, Component::Api))?;
    let mut held = Credentials::default();
    held.insert(Component::Api, credentials::data(&secret));
    let token = held.text(Component::Api, "controlToken").filter(|token| !token.is_empty())?;
    Some(Address { namespace, region: name, token: token.into() })
}

impl CatalogueKind for Meter {
    type Status = MeterStatus;
    const KIND: EntryKind = EntryKind::Meter;
    const NAME: &'static str = "Meter";

    fn region_name(&self) -> &str {
        &self.spec.region_ref.name
    }
    fn entry(&self, around: &Around<'_>) -> Result<Entry, Outcome> {
        catalogue::meter(self, around)
    }
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
    fn catalogue_version(&self) -> Option<i64> {
        self.status.as_ref().and_then(|status| status.catalogue_version)
    }
    fn status(&self, conditions: Vec<Condition>, version: Option<i64>) -> Option<MeterStatus> {
        let (observed_generation, catalogue_version) =
            (self.meta().generation, version.or(self.catalogue_version()));
        let unchanged = same(self.conditions(), &conditions)
            && catalogue_version == self.catalogue_version()
            && self.status.as_ref().is_some_and(|status| status.observed_generation == observed_generation);
        (!unchanged).then_some(MeterStatus { observed_generation, conditions, catalogue_version })
    }
    fn tenant(&self) -> Option<&Tenant> {
        None
    }
}

impl CatalogueKind for Plan {
    type Status = PlanStatus;
    const KIND: EntryKind = EntryKind::Plan;
    const NAME: &'static str = "Plan";

    fn region_name(&self) -> &str {
        &self.spec.region_ref.name
    }
    fn entry(&self, around: &Around<'_>) -> Result<Entry, Outcome> {
        catalogue::plan(self, around)
    }
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
    fn catalogue_version(&self) -> Option<i64> {
        self.status.as_ref().and_then(|status| status.catalogue_version)
    }
    fn status(&self, conditions: Vec<Condition>, version: Option<i64>) -> Option<PlanStatus> {
        let (observed_generation, catalogue_version) =
            (self.meta().generation, version.or(self.catalogue_version()));
        let unchanged = same(self.conditions(), &conditions)
            && catalogue_version == self.catalogue_version()
            && self.status.as_ref().is_some_and(|status| status.observed_generation == observed_generation);
        (!unchanged).then_some(PlanStatus { observed_generation, conditions, catalogue_version })
    }
    fn tenant(&self) -> Option<&Tenant> {
        None
    }
}

impl CatalogueKind for Tenant {
    type Status = TenantStatus;
    const KIND: EntryKind = EntryKind::Tenant;
    const NAME: &'static str = "Tenant";

    fn region_name(&self) -> &str {
        &self.spec.region_ref.name
    }
    fn entry(&self, around: &Around<'_>) -> Result<Entry, Outcome> {
        catalogue::tenant(self, around)
    }
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
    fn catalogue_version(&self) -> Option<i64> {
        self.status.as_ref().and_then(|status| status.catalogue_version)
    }
    fn status(&self, conditions: Vec<Condition>, version: Option<i64>) -> Option<TenantStatus> {
        let (observed_generation, catalogue_version) =
            (self.meta().generation, version.or(self.catalogue_version()));
        let ready =
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let issued = || {
            let keys = self.spec.api_keys.iter();
            keys.map(|key| IssuedKey { name: key.name.clone(), secret_name: key.secret_ref.name.clone() })
                .collect()
        };
        let before = self.status.clone().unwrap_or_default();
        let api_keys = if ready { issued() } else { before.api_keys.clone() };
        let unchanged = same(self.conditions(), &conditions)
            && catalogue_version == before.catalogue_version
            && observed_generation == before.observed_generation
            && api_keys == before.api_keys;
        (!unchanged).then_some(TenantStatus { observed_generation, conditions, api_keys, catalogue_version })
    }
    fn tenant(&self) -> Option<&Tenant> {
        Some(self)
    }
}
