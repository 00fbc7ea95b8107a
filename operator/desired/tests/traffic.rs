//! The generated NetworkPolicies, evaluated pair by pair, against the table that they are made from.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test fails by panicking, reads its golden files, and shares fixtures with its siblings"
)]

mod fixture;

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meridian_desired::component::Component;
use meridian_desired::environment;
use meridian_desired::object::labels;
use meridian_desired::region::ValidRegion;
use meridian_desired::traffic::{Caller, SCRAPE_LABEL, TRAFFIC, policies};

type Labels = BTreeMap<String, String>;

/// A pod somewhere.
struct Pod {
    namespace: &'static str,
    namespace_labels: Labels,
    labels: Labels,
}

fn pod(region: &ValidRegion, component: Component) -> Pod {
    Pod {
        namespace: "billing-eu",
        namespace_labels: named("billing-eu"),
        labels: labels(region, Some(component)),
    }
}

fn named(namespace: &str) -> Labels {
    Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())])
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_expressions.is_none()
        && selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn peer_is(peer: &NetworkPolicyPeer, pod: &Pod) -> bool {
    let namespace = match &peer.namespace_selector {
        Some(selector) => selects(selector, &pod.namespace_labels),
        None => pod.namespace == "billing-eu",
    };
    namespace && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
}

fn port_is(ports: &Option<Vec<NetworkPolicyPort>>, number: i32) -> bool {
    ports.as_ref().is_none_or(|ports| {
        ports.iter().any(|port| {
            port.protocol.as_deref() == Some("TCP") && port.port == Some(IntOrString::Int(number))
        })
    })
}

/// What Kubernetes decides: both ends must permit; an end that no policy selects permits everything.
fn permitted(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: i32) -> bool {
    let of = |pod: &Pod| -> Vec<_> {
        let mine = |policy: &&NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            pod.namespace == "billing-eu" && selects(spec.pod_selector.as_ref().unwrap(), &pod.labels)
        };
        policies.iter().filter(mine).map(|policy| policy.spec.clone().unwrap()).collect()
    };
    let (leaving, entering) = (of(from), of(to));
    let out = leaving.is_empty()
        || leaving.iter().flat_map(|spec| spec.egress.iter().flatten()).any(|rule| {
            port_is(&rule.ports, port)
                && rule.to.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer_is(peer, to)))
        });
    let into = entering.is_empty()
        || entering.iter().flat_map(|spec| spec.ingress.iter().flatten()).any(|rule| {
            port_is(&rule.ports, port)
                && rule.from.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer_is(peer, from)))
        });
    out && into
}

fn network_policies(region: &ValidRegion) -> Vec<NetworkPolicy> {
    policies(region).into_iter().map(|object| serde_json::from_value(object.body).unwrap()).collect()
}

fn ports() -> Vec<i32> {
    let mut ports: Vec<i32> =
        Component::ALL.iter().flat_map(|part| part.ports()).map(|port| port.number).collect();
    ports.push(22);
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn between_components_exactly_the_table_is_permitted() {
    let region = fixture::judge(&fixture::with_spec(""), &[]).unwrap();
    let policies = network_policies(&region);
    let mut permitted_pairs = 0;
    for from in Component::ALL {
        for to in Component::ALL {
            for port in ports() {
                let in_table = TRAFFIC.iter().any(|flow| {
                    flow.to == to && flow.port.number == port && flow.from == Caller::Component(from)
                });
                let found = permitted(&policies, &pod(&region, from), &pod(&region, to), port);
                assert_eq!(found, in_table, "{from:?} -> {to:?}:{port}");
                permitted_pairs += i32::from(found);
            }
        }
    }
    assert_eq!(permitted_pairs, 23);
}

#[test]
fn from_outside_only_what_is_offered_can_be_reached() {
    let region = fixture::judge(&fixture::with_spec(""), &[]).unwrap();
    let policies = network_policies(&region);
    let outside = |labels: Labels, namespace: &'static str, mut extra: Labels| {
        extra.extend(named(namespace));
        Pod { namespace, namespace_labels: extra, labels }
    };
    let operator_labels =
        Labels::from([("app.kubernetes.io/name".to_owned(), "meridian-operator".to_owned())]);
    let scrapes = Labels::from([(SCRAPE_LABEL.to_owned(), "true".to_owned())]);
    let cases = [
        ("stranger", outside(Labels::new(), "elsewhere", Labels::new()), vec![Caller::Anyone]),
        (
            "operator",
            outside(operator_labels.clone(), "meridian-system", Labels::new()),
            vec![Caller::Anyone, Caller::Operator],
        ),
        ("impostor", outside(operator_labels, "elsewhere", Labels::new()), vec![Caller::Anyone]),
        (
            "monitoring",
            outside(Labels::new(), "monitoring", scrapes),
            vec![Caller::Anyone, Caller::Monitoring],
        ),
    ];
    for (name, from, callers) in cases {
        for to in Component::ALL {
            for port in ports() {
                let offered = TRAFFIC
                    .iter()
                    .any(|flow| flow.to == to && flow.port.number == port && callers.contains(&flow.from));
                assert_eq!(
                    permitted(&policies, &from, &pod(&region, to), port),
                    offered,
                    "{name} -> {to:?}:{port}"
                );
            }
        }
    }
}

#[test]
fn without_the_default_denial_the_check_would_fail() {
    let region = fixture::judge(&fixture::with_spec(""), &[]).unwrap();
    let stranger =
        Pod { namespace: "elsewhere", namespace_labels: named("elsewhere"), labels: Labels::new() };
    assert!(permitted(&[], &stranger, &pod(&region, Component::Postgres), 5432));
}

#[test]
fn an_external_store_is_reached_by_its_port_and_has_no_policy() {
    let region = fixture::judge(
        &fixture::with_spec("stores: {redis: {external: {host: r.example, port: 6390}}}"),
        &[],
    )
    .unwrap();
    let policies = network_policies(&region);
    assert!(policies.iter().all(|policy| policy.metadata.name.as_deref() != Some("eu-redis")));
    let somewhere =
        Pod { namespace: "elsewhere", namespace_labels: named("elsewhere"), labels: Labels::new() };
    assert!(permitted(&policies, &pod(&region, Component::Ingest), &somewhere, 6390));
    assert!(!permitted(&policies, &pod(&region, Component::Worker), &somewhere, 6390));
    assert!(!permitted(&policies, &pod(&region, Component::Ingest), &somewhere, 6379));
}

#[test]
fn a_program_is_told_of_exactly_the_stores_that_it_can_reach() {
    let region = fixture::judge(&fixture::with_spec(""), &[]).unwrap();
    let prefixes = [
        (Component::Postgres, "MERIDIAN_POSTGRES_"),
        (Component::ClickHouse, "MERIDIAN_CLICKHOUSE_"),
        (Component::Kafka, "MERIDIAN_KAFKA_"),
        (Component::Redis, "MERIDIAN_REDIS_"),
        (Component::Buffer, "MERIDIAN_BUFFER_"),
        (Component::ObjectStore, "MERIDIAN_OBJECT_STORE_"),
        (Component::Temporal, "MERIDIAN_TEMPORAL_"),
    ];
    for program in Component::SERVICES.into_iter().chain([Component::Migrate]) {
        let env = environment::of(&region, program);
        for (store, prefix) in prefixes {
            let reaches =
                TRAFFIC.iter().any(|flow| flow.from == Caller::Component(program) && flow.to == store);
            let told = env.iter().any(|variable| variable.name.starts_with(prefix));
            assert_eq!(told, reaches, "{program:?} and {store:?}");
        }
        let mut names: Vec<_> = env.iter().map(|variable| &variable.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{program:?} has a variable twice");
    }
}
