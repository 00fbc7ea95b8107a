//! Specs that are refused, and with which words.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test fails by panicking, reads its golden files, and shares fixtures with its siblings"
)]

mod fixture;

use std::collections::BTreeMap;

use meridian_crds::conditions::Reason;
use meridian_desired::component::Component;
use meridian_desired::images::Images;
use meridian_desired::validate::{Surroundings, validate};

fn refused(spec: &str) -> Vec<(Reason, String)> {
    let problems = fixture::judge(&fixture::with_spec(spec), &[]).expect_err(spec);
    problems.into_iter().map(|problem| (problem.reason, problem.message)).collect()
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_its_field() {
    let cases = [
        (
            "stores: {kafka: {operatorRef: {apiVersion: kafka.strimzi.io/v1, kind: Kafka, name: k}}}",
            Reason::NotSupported,
            "spec.stores.kafka.operatorRef",
        ),
        ("stores: {redis: {}}", Reason::InvalidSpec, "spec.stores.redis"),
        ("stores: {redis: {managed: {}, external: {host: r}}}", Reason::InvalidSpec, "exactly one"),
        (
            "stores: {postgres: {external: {host: p, credentialsSecretRef: {name: s}}}}",
            Reason::NotSupported,
            "spec.stores.temporal",
        ),
        ("stores: {kafka: {managed: {brokers: 2}}}", Reason::InvalidSpec, "majority"),
        ("tenancy: {mode: Dedicated}", Reason::InvalidSpec, "tenantName is required"),
        ("tenancy: {tenantName: acme}", Reason::InvalidSpec, "only allowed when mode is Dedicated"),
        ("images: {catalogRef: {name: mine}}", Reason::ReferenceNotFound, "ConfigMap mine"),
    ];
    for (spec, reason, words) in cases {
        let found = refused(spec);
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!(found[0].0, reason, "{spec}");
        assert!(found[0].1.contains(words), "{spec}: {}", found[0].1);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    assert_eq!(refused("tenancy: {mode: Dedicated}, stores: {redis: {}, kafka: {}}").len(), 3);
}

#[test]
fn of_two_regions_in_a_namespace_the_older_owns_it() {
    let older = fixture::with_spec("");
    let mut younger = fixture::with_spec("");
    younger.metadata.name = Some("second".to_owned());
    younger.metadata.creation_timestamp = serde_json::from_str("\"2026-03-02T10:00:00Z\"").unwrap();
    assert!(fixture::judge(&older, std::slice::from_ref(&younger)).is_ok());
    let problems = fixture::judge(&younger, &[older]).unwrap_err();
    assert_eq!(problems[0].reason, Reason::NamespaceTaken);
}

#[test]
fn an_image_that_nobody_names_is_told_by_its_key() {
    let (operator, images) = (fixture::operator(), Images::default());
    let region =
        fixture::with_spec("stores: {redis: {external: {host: r}}}, images: {catalogRef: {name: mine}}");
    let mine = ["meridian", "postgres", "clickhouse", "buffer", "objectstore", "temporal"];
    let mine: BTreeMap<String, String> =
        mine.into_iter().map(|key| (key.to_owned(), format!("mine/{key}"))).collect();
    let surroundings = Surroundings {
        siblings: Vec::new(),
        operator: &operator,
        images: &images,
        image_catalogue: Some(&mine),
    };
    let problems = validate(&region, &surroundings).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.starts_with("no image for kafka:"), "{}", problems[0].message);
}

#[test]
fn the_regions_own_catalogue_goes_before_the_operators() {
    let (operator, images) = (fixture::operator(), fixture::images());
    let region = fixture::with_spec("images: {catalogRef: {name: mine}}");
    let mine = BTreeMap::from([
        ("kafka".to_owned(), "mine/kafka@sha256:1".to_owned()),
        ("redis".to_owned(), " ".to_owned()),
    ]);
    let surroundings = Surroundings {
        siblings: Vec::new(),
        operator: &operator,
        images: &images,
        image_catalogue: Some(&mine),
    };
    let valid = validate(&region, &surroundings).unwrap();
    assert_eq!(valid.images.of(Component::Kafka), "mine/kafka@sha256:1");
    assert_eq!(valid.images.of(Component::Redis), "registry.example/redis:1.2.3");
}

#[test]
fn resources_of_the_user_and_the_profile_fit_together() {
    let memory = |spec: &str| {
        let region =
            fixture::judge(&fixture::with_spec(&format!("services: {{ingest: {{resources: {spec}}}}}")), &[])
                .unwrap();
        let resources = region.services[&Component::Ingest].resources.clone();
        let of = |amounts: Option<BTreeMap<String, _>>| {
            amounts
                .map(|amounts: BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
                    amounts["memory"].0.clone()
                })
                .unwrap()
        };
        (of(resources.requests), of(resources.limits))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(memory("{}"), pair("64Mi", "384Mi"));
    assert_eq!(memory("{requests: {memory: 1Gi}}"), pair("1Gi", "1Gi"));
    assert_eq!(memory("{limits: {memory: 32Mi}}"), pair("32Mi", "32Mi"));
    assert_eq!(memory("{requests: {memory: 100Mi}, limits: {memory: 200Mi}}"), pair("100Mi", "200Mi"));
}

#[test]
fn derived_names_are_short_enough_for_the_longest_region() {
    let mut region = fixture::with_spec("");
    region.metadata.name = Some("r".repeat(40));
    let valid = fixture::judge(&region, &[]).unwrap();
    let credentials = fixture::credentials(&valid);
    let job = meridian_desired::services::migration(&valid, &credentials);
    for name in job.iter().map(|object| &object.key.name) {
        assert!(name.len() <= 63, "{name}");
    }
    // A StatefulSet's pods carry its name and a hash of ten digits as one label.
    for part in Component::STORES {
        let name = valid.object_name(part);
        assert!(name.len() + 11 <= 63, "{name}");
    }
    region.metadata.name = Some("r".repeat(41));
    assert!(fixture::judge(&region, &[]).is_err());
}
