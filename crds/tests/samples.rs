//! Everything under manifests/ that is ours is valid: schema, CEL rules and, for the catalogue, the billing engine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there and then")]

mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meridian_billing::catalogue::{MeterSpec, PlanSpec, TenantSpec};
use meridian_crds::{BillingRegion, GROUP, Meter, Plan, Tenant};
use serde_json::Value;

/// Objects of our group in all YAML files below `directory`, patches and overlays aside.
fn objects(directory: &Path) -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let ours = documents.into_iter().filter(|object| {
                object["apiVersion"].as_str().is_some_and(|version| version.starts_with(GROUP))
            });
            found.extend(ours.map(|object| (path.clone(), object)));
        }
    }
    found
}

fn samples() -> Vec<(PathBuf, Value)> {
    objects(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests"))
}

#[test]
fn every_sample_is_valid() {
    let samples = samples();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, object) in &samples {
        let kind = object["kind"].as_str().unwrap();
        *kinds.entry(kind).or_default() += 1;
        let violations = schema::check(schema::of_kind(kind), object);
        assert!(violations.is_empty(), "{}: {violations:?}", path.display());
        let refused = refusal(kind, object);
        assert!(refused.is_none(), "{}: {}", path.display(), refused.unwrap());
    }
    for kind in ["BillingRegion", "Meter", "Plan", "Tenant"] {
        assert!(kinds.contains_key(kind), "there is a sample {kind}");
    }
}

fn refusal(kind: &str, object: &Value) -> Option<String> {
    let object = object.clone();
    match kind {
        "BillingRegion" => {
            let region: BillingRegion = serde_json::from_value(object).unwrap();
            region.validate_cel().err().map(|error| error.to_string())
        }
        "Meter" => {
            let meter: Meter = serde_json::from_value(object).unwrap();
            let cel = meter.validate_cel().err().map(|error| error.to_string());
            cel.or_else(|| {
                MeterSpec::from_json(&serde_json::to_value(&meter.spec).unwrap()).err().map(|e| e.to_string())
            })
        }
        "Plan" => {
            let plan: Plan = serde_json::from_value(object).unwrap();
            let cel = plan.validate_cel().err().map(|error| error.to_string());
            cel.or_else(|| {
                PlanSpec::from_json(&serde_json::to_value(&plan.spec).unwrap()).err().map(|e| e.to_string())
            })
        }
        "Tenant" => {
            let tenant: Tenant = serde_json::from_value(object).unwrap();
            let cel = tenant.validate_cel().err().map(|error| error.to_string());
            cel.or_else(|| {
                TenantSpec::from_json(&serde_json::to_value(&tenant.spec).unwrap())
                    .err()
                    .map(|e| e.to_string())
            })
        }
        other => panic!("no such kind: {other}"),
    }
}

/// A stranger applies a whole directory: what one object names must be in it.
#[test]
fn every_reference_of_a_sample_names_another_sample_of_its_directory() {
    let samples = samples();
    let exists = |directory: &Path, kind: &str, name: &str| {
        samples.iter().any(|(path, object)| {
            path.parent() == Some(directory) && object["kind"] == kind && object["metadata"]["name"] == name
        })
    };
    for (path, object) in &samples {
        let directory = path.parent().unwrap();
        let spec = &object["spec"];
        let prices = spec["prices"].as_array().cloned().unwrap_or_default();
        let references = [("BillingRegion", &spec["regionRef"]), ("Plan", &spec["planRef"])]
            .into_iter()
            .chain(prices.iter().map(|price| ("Meter", &price["meterRef"])));
        for (kind, reference) in references {
            if let Some(name) = reference["name"].as_str() {
                assert!(
                    exists(directory, kind, name),
                    "{}: there is no {kind} {name} beside it",
                    path.display()
                );
            }
        }
    }
}
