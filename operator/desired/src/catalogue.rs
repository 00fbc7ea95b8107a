//! Meters, Plans and Tenants: when they may go to their region's api, what is sent, and what their status says.
//!
//! The api owns the rows; the operator PUTs what differs from what the api says it has. A spec is judged here by the same
//! code as in the api, so that a bad one is a condition within a second and not a refused request.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube_core::{Resource, ResourceExt};
use meridian_billing::catalogue as billing;
use meridian_crds::conditions::{ConditionType, Reason};
use meridian_crds::region::TenancyMode;
use meridian_crds::tenant::ApiKey;
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::component::Component;
use crate::conditions::{self, Outcome, Statement, conditions, summary};
use crate::discovery::service_url;
use crate::object::{Object, region_labels};

/// The kinds of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    Meter,
    Plan,
    Tenant,
}

impl EntryKind {
    /// The path segment on the control port.
    pub const fn path(self) -> &'static str {
        match self {
            EntryKind::Meter => "meters",
            EntryKind::Plan => "plans",
            EntryKind::Tenant => "tenants",
        }
    }
}

/// One entry as the region's api is to have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub kind: EntryKind,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub spec: Value,
    /// Of tenants: every key that works. Keys that are absent are revoked.
    pub api_keys: Vec<KeyHash>,
}

/// An API key as the region knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct KeyHash {
    pub name: String,
    /// SHA-256 of the whole key, in hexadecimal.
    pub hash: String,
}

impl Entry {
    fn new<K: Resource<DynamicType = ()>>(kind: EntryKind, object: &K, spec: Value) -> Self {
        Entry {
            kind,
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or_default(),
            spec,
            api_keys: Vec::new(),
        }
    }

    /// The body of the PUT.
    pub fn body(&self) -> Value {
        let mut body = json!({"uid": self.uid, "generation": self.generation, "spec": self.spec});
        if self.kind == EntryKind::Tenant {
            body["apiKeys"] = json!(self.api_keys);
        }
        body
    }
}

/// The hash by which the region knows an API key.
pub fn key_hash(api_key: &str) -> String {
    hex::encode(Sha256::digest(api_key.as_bytes()))
}

/// What was read around an entry.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The region that it names, if there is one.
    pub region: Option<&'a BillingRegion>,
    /// Whether the region's api has pods that serve.
    pub api_serves: bool,
    pub meters: &'a BTreeMap<String, Arc<Meter>>,
    pub plans: &'a BTreeMap<String, Arc<Plan>>,
}

use std::sync::Arc;

/// A meter as the api is to have it, or what stands in the way.
pub fn meter(meter: &Meter, around: &Around<'_>) -> Result<Entry, Outcome> {
    let entry = Entry::new(EntryKind::Meter, meter, to_json(&meter.spec));
    judged(billing::MeterSpec::from_json(&entry.spec))?;
    region_takes(&meter.spec.region_ref.name, around)?;
    Ok(entry)
}

/// A plan as the api is to have it. Its meters go first: a plan names them.
pub fn plan(plan: &Plan, around: &Around<'_>) -> Result<Entry, Outcome> {
    let entry = Entry::new(EntryKind::Plan, plan, to_json(&plan.spec));
    let spec = judged(billing::PlanSpec::from_json(&entry.spec))?;
    region_takes(&plan.spec.region_ref.name, around)?;
    for name in spec.meter_names() {
        let meter = around.meters.get(name);
        synced(
            "Meter",
            name,
            meter.map(|meter| (&meter.metadata, status_conditions(&meter.status, |s| &s.conditions))),
        )?;
    }
    fits_meters(&spec, around)?;
    Ok(entry)
}

/// The api says the same; here it is said before anything is sent, and unsaid as soon as the Meter or the Plan is another.
fn fits_meters(plan: &billing::PlanSpec, around: &Around<'_>) -> Result<(), Outcome> {
    let mut meters = BTreeMap::new();
    for name in plan.meter_names() {
        let spec = around.meters.get(name).map(|meter| billing::MeterSpec::from_json(&to_json(&meter.spec)));
        // A bad Meter is told on the Meter.
        if let Some(Ok(spec)) = spec {
            meters.insert(name, spec);
        }
    }
    billing::check_meter_fit(plan, |name| meters.get(name))
        .map_err(|error| Outcome::Stuck(Reason::MeterMisfit, format!("spec.{error}")))
}

/// A tenant as the api is to have it, but for its keys. Its plan goes first.
pub fn tenant(tenant: &Tenant, around: &Around<'_>) -> Result<Entry, Outcome> {
    let entry = Entry::new(EntryKind::Tenant, tenant, to_json(&tenant.spec));
    judged(billing::TenantSpec::from_json(&entry.spec))?;
    if let Some(region) = around.region {
        tenancy_admits(&entry.name, region)?;
    }
    region_takes(&tenant.spec.region_ref.name, around)?;
    if let Some(reference) = &tenant.spec.plan_ref {
        let plan = around.plans.get(&reference.name);
        synced(
            "Plan",
            &reference.name,
            plan.map(|plan| (&plan.metadata, status_conditions(&plan.status, |s| &s.conditions))),
        )?;
    }
    Ok(entry)
}

fn to_json(spec: &impl serde::Serialize) -> Value {
    serde_json::to_value(spec).expect("a spec is JSON")
}

fn judged<T>(spec: Result<T, billing::SpecError>) -> Result<T, Outcome> {
    spec.map_err(|error| Outcome::Stuck(Reason::InvalidSpec, format!("spec.{error}")))
}

/// A dedicated region has one tenant.
pub fn tenancy_admits(tenant: &str, region: &BillingRegion) -> Result<(), Outcome> {
    let tenancy = &region.spec.tenancy;
    match (tenancy.mode, tenancy.tenant_name.as_deref()) {
        (TenancyMode::Dedicated, Some(only)) if only != tenant => Err(Outcome::Stuck(
            Reason::TenancyRefused,
            format!(
                "BillingRegion {} is dedicated to tenant {only}: put this Tenant into another region, or delete it.",
                region.name_any()
            ),
        )),
        (TenancyMode::Dedicated | TenancyMode::Shared, _) => Ok(()),
    }
}

fn region_takes(name: &str, around: &Around<'_>) -> Result<(), Outcome> {
    let Some(region) = around.region else {
        return Err(Outcome::Working(
            Reason::RegionNotFound,
            format!(
                "There is no BillingRegion {name} in this namespace: create it, or name another in spec.regionRef."
            ),
        ));
    };
    if region.metadata.deletion_timestamp.is_some() {
        return Err(Outcome::Working(
            Reason::RegionNotReady,
            format!("BillingRegion {name} is being deleted."),
        ));
    }
    if region.spec.paused {
        return Err(Outcome::Held(Reason::Paused, format!("BillingRegion {name} is paused.")));
    }
    if !around.api_serves {
        return Err(Outcome::Working(
            Reason::RegionNotReady,
            format!("Waits for BillingRegion {name}: its api does not serve yet."),
        ));
    }
    Ok(())
}

fn status_conditions<'a, S>(
    status: &'a Option<S>,
    of: impl Fn(&'a S) -> &'a Vec<Condition>,
) -> &'a [Condition] {
    status.as_ref().map_or(&[], |status| of(status).as_slice())
}

/// An object that an entry names is in the region's catalogue already.
fn synced(kind: &str, name: &str, found: Option<(&ObjectMeta, &[Condition])>) -> Result<(), Outcome> {
    let Some((_, conditions)) = found else {
        return Err(Outcome::Working(
            Reason::ReferenceNotFound,
            format!("There is no {kind} {name} in this namespace: create it, or name another."),
        ));
    };
    let synced = conditions::find(conditions, ConditionType::CatalogueSynced)
        .is_some_and(|found| found.status == "True");
    if synced {
        return Ok(());
    }
    Err(Outcome::Working(
        Reason::WaitingForDependency,
        format!("Waits for {kind} {name}, which its region does not have yet."),
    ))
}

/// Where the Secret of an API key says that the region is.
pub fn urls(region: &BillingRegion) -> (String, String) {
    let url = |component, own: &Option<String>| {
        let namespace = region.namespace().unwrap_or_default();
        own.clone().unwrap_or_else(|| service_url(&region.name_any(), &namespace, component))
    };
    let services = &region.spec.services;
    (url(Component::Ingest, &services.ingest.exposure.url), url(Component::Api, &services.api.exposure.url))
}

/// On the Secret of an API key: the tenant that it belongs to.
pub const TENANT_LABEL: &str = "billing.meridian.dev/tenant";

/// The Secret of one API key. The tenant owns it: it goes when the tenant goes.
pub fn key_secret(tenant: &Tenant, key: &ApiKey, region: &BillingRegion, api_key: &str) -> Object {
    let text = |value: String| ByteString(value.into_bytes());
    let (ingest_url, api_url) = urls(region);
    let mut labels = region_labels(&region.name_any(), None);
    labels.insert(TENANT_LABEL.to_owned(), tenant.name_any());
    Object::of(Secret {
        metadata: ObjectMeta {
            name: Some(key.secret_ref.name.clone()),
            namespace: tenant.namespace(),
            labels: Some(labels),
            owner_references: tenant.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([
            ("apiKey".to_owned(), text(api_key.to_owned())),
            ("tenant".to_owned(), text(tenant.name_any())),
            ("region".to_owned(), text(region.name_any())),
            ("ingestUrl".to_owned(), text(ingest_url)),
            ("apiUrl".to_owned(), text(api_url)),
        ])),
        ..Secret::default()
    })
}

/// The conditions of an entry after a pass. `synced` is None while nothing is known about the region's side.
pub fn entry_conditions(
    kind: EntryKind,
    outcome: Outcome,
    before: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut statements: Vec<Statement> = summary(outcome.clone()).to_vec();
    let (synced, reason, message) = match &outcome {
        Outcome::Done(_) => {
            (true, Reason::Succeeded, "The region has this entry as its spec says.".to_owned())
        }
        Outcome::Working(reason, message)
        | Outcome::Stuck(reason, message)
        | Outcome::Held(reason, message) => (false, *reason, message.clone()),
    };
    statements.push(Statement::new(ConditionType::CatalogueSynced, synced, reason, message.clone()));
    if kind == EntryKind::Tenant {
        let message = if synced {
            "Every API key is in its Secret, and the region knows it.".to_owned()
        } else {
            message
        };
        statements.push(Statement::new(ConditionType::ApiKeysIssued, synced, reason, message));
    }
    conditions(&statements, before, generation, now)
}
