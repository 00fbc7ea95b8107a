//! The YAML documents of a catalogue: the same that `kubectl apply` takes.

use std::collections::BTreeMap;

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, SpecError, SpecErrorCode, check_meter_fit},
    ids::{MeterName, PlanName},
    subscription::{SubscriptionSpec, overridden, unknown_override},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    SimulateError,
    references::{check_prices, check_seats},
};

const API_VERSION: &str = "billing.meridian.dev/v1alpha1";

/// What a simulation bills by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// The plan that is billed, from the start.
    pub plan: PlanName,
    /// Every plan that is in the file: a subscription may change to it, or take it as an add-on.
    pub plans: BTreeMap<PlanName, PlanSpec>,
    pub meters: BTreeMap<MeterName, MeterSpec>,
    pub subscription: Option<SubscriptionSpec>,
    /// Documents of somebody else's that look like ours: a sentence for each.
    pub passed_over: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

impl Catalogue {
    /// Reads documents as YAML has them. Other kinds of Meridian and of Kubernetes say nothing about amounts and are passed
    /// over, so that a folder that is applied to a cluster can be simulated as it is.
    pub fn read(documents: Vec<Value>) -> Result<Self, SimulateError> {
        let (mut plans, mut meters, mut subscriptions) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut passed_over = Vec::new();
        for (index, value) in documents.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
            let document: Document = serde_path_to_error::deserialize(&value).map_err(|error| {
                let place = format!("document {}", index + 1);
                let field = match error.path().to_string().as_str() {
                    "." => place,
                    path => format!("{place}: {path}"),
                };
                SimulateError::new(field, error.into_inner())
            })?;
            let Document { api_version, kind, metadata: Metadata { name }, spec } = document;
            let place = format!("{kind} {name}");
            if api_version != API_VERSION {
                if api_version.split('/').next() == API_VERSION.split('/').next() {
                    let wanted = format!("must be {API_VERSION}");
                    return Err(SimulateError::new(format!("{place}: apiVersion"), wanted));
                }
                if ["Plan", "Meter", "Subscription"].contains(&kind.as_str()) {
                    passed_over.push(format!(
                        "{place} is passed over: its apiVersion is {api_version:?} and not {API_VERSION}"
                    ));
                }
                continue;
            }
            match kind.as_str() {
                "Plan" => {
                    let plan = PlanSpec::from_json(&spec).map_err(|error| below(&place, &error))?;
                    let name = PlanName::new(name).map_err(|error| in_metadata(&place, error.problem))?;
                    once(plans.insert(name, plan).is_none(), &place)?;
                }
                "Meter" => {
                    let meter = MeterSpec::from_json(&spec).map_err(|error| below(&place, &error))?;
                    let name = MeterName::new(name).map_err(|error| in_metadata(&place, error.problem))?;
                    once(meters.insert(name, meter).is_none(), &place)?;
                }
                "Subscription" => {
                    let spec: SubscriptionSpec =
                        serde_path_to_error::deserialize(&spec).map_err(|error| {
                            SimulateError::new(format!("{place}: spec.{}", error.path()), error.inner())
                        })?;
                    spec.validate().map_err(|error| below(&place, &error))?;
                    subscriptions.push((place, spec));
                }
                "BillingRegion" | "Tenant" => {}
                _ => {
                    let known = "Plan, Meter and Subscription are simulated; BillingRegion and Tenant are passed over";
                    return Err(SimulateError::new(format!("{place}: kind"), known));
                }
            }
        }
        Ok(Self { passed_over, ..Self::of(plans, meters, subscriptions)? })
    }

    /// One plan by itself: its document, or nothing but its spec.
    pub fn of_plan(document: Value) -> Result<Self, SimulateError> {
        if document.get("kind").is_some() {
            return Self::read(vec![document]);
        }
        let plan_spec = PlanSpec::from_json(&document).map_err(|SpecError { field, detail, .. }| {
            SimulateError::new(if field.is_empty() { "spec".to_owned() } else { field }, detail)
        })?;
        let plan = PlanName::new("plan").map_err(|error| SimulateError::new("", error.problem))?;
        let plans = BTreeMap::from([(plan.clone(), plan_spec)]);
        Ok(Self { plan, plans, meters: BTreeMap::new(), subscription: None, passed_over: Vec::new() })
    }

    /// The plan that is billed from the start.
    pub fn plan_spec(&self) -> &PlanSpec {
        self.plans.get(&self.plan).expect("the plan is looked up when the file is read")
    }

    fn of(
        mut plans: BTreeMap<PlanName, PlanSpec>,
        meters: BTreeMap<MeterName, MeterSpec>,
        mut subscriptions: Vec<(String, SubscriptionSpec)>,
    ) -> Result<Self, SimulateError> {
        let subscription = subscriptions.pop();
        if let Some((place, _)) = subscriptions.first() {
            return Err(SimulateError::new(place, "one Subscription is simulated at a time"));
        }
        let names: Vec<&str> = plans.keys().map(PlanName::as_str).collect();
        let (field, wanted) = match (&subscription, names.as_slice()) {
            (Some((place, spec)), _) => (format!("{place}: spec.planRef"), spec.plan_ref.name.clone()),
            (None, [one]) => ("Plan".to_owned(), (*one).to_owned()),
            (None, []) => return Err(SimulateError::new("Plan", "no document is a Plan")),
            (None, several) => {
                let choice = format!(
                    "there are {}: add a Subscription whose planRef names one of them",
                    several.join(", ")
                );
                return Err(SimulateError::new("Plan", choice));
            }
        };
        let known = PlanName::new(wanted.as_str()).ok().filter(|name| plans.contains_key(name));
        let plan = known
            .ok_or_else(|| SimulateError::new(field, format!("there is no Plan {wanted:?} in the file")))?;
        for (name, spec) in &plans {
            check_meters_are_there(spec, &meters).map_err(|error| below(&format!("Plan {name}"), &error))?;
            check_meter_fit(spec, |meter| named(&meters, meter))
                .map_err(|error| below(&format!("Plan {name}"), &error))?;
        }
        if let Some((place, spec)) = &subscription {
            check_prices(place, spec, &plans)?;
            if let Some(error) = unknown_override(&plans.values().collect::<Vec<_>>(), &spec.overrides) {
                return Err(below(place, &error));
            }
            for (name, plan) in &mut plans {
                *plan = overridden(plan, &spec.overrides).map_err(|error| below(place, &error))?;
                // An override may bring another meter, or another model, and with it another question to the meter.
                check_meters_are_there(plan, &meters)
                    .and_then(|()| check_meter_fit(plan, |meter| named(&meters, meter)))
                    .map_err(|error| {
                        SimulateError::new(
                            format!("{place}: spec.overrides"),
                            format!("Plan {name}: {error}"),
                        )
                    })?;
            }
            check_seats(place, spec, &plans)?;
        }
        let subscription = subscription.map(|(_, spec)| spec);
        Ok(Self { plan, plans, meters, subscription, passed_over: Vec::new() })
    }
}

fn named<'a>(meters: &'a BTreeMap<MeterName, MeterSpec>, name: &str) -> Option<&'a MeterSpec> {
    meters.get(&MeterName::new(name).ok()?)
}

/// A misspelt meter would count nothing, and bill nothing. A file without any Meter says what is counted in quantities.
fn check_meters_are_there(plan: &PlanSpec, meters: &BTreeMap<MeterName, MeterSpec>) -> Result<(), SpecError> {
    for (index, price) in plan.prices.iter().enumerate().filter(|_| !meters.is_empty()) {
        let Some(meter) = price.meter_ref.as_ref().map(|meter| meter.name.as_str()) else { continue };
        if named(meters, meter).is_none() {
            let known = meters.keys().map(MeterName::as_str).collect::<Vec<_>>().join(", ");
            let detail = format!("there is no Meter {meter:?} in the file; there are {known}");
            let field = format!("prices[{index}].meterRef.name");
            return Err(SpecError::new(field, SpecErrorCode::Missing, detail));
        }
    }
    Ok(())
}

fn below(place: &str, error: &SpecError) -> SimulateError {
    let field = match error.field.as_str() {
        "" => format!("{place}: spec"),
        field => format!("{place}: spec.{field}"),
    };
    SimulateError::new(field, &error.detail)
}

fn in_metadata(place: &str, problem: &str) -> SimulateError {
    SimulateError::new(format!("{place}: metadata.name"), problem)
}

fn once(new: bool, place: &str) -> Result<(), SimulateError> {
    if new { Ok(()) } else { Err(SimulateError::new(place, "is in the file twice")) }
}
