//! Who talks to whom, on which port: the one table from which NetworkPolicies, Services' ports and every program's
//! environment are made, so that the three cannot disagree.
//!
//! What is not in the table is denied in both directions. Neighbours: `environment` reads [`stores_of`], `services` reads
//! the ports; the test holds the generated policies against the table, pair by pair.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::component::{
    ADMIN, BUFFER, CLICKHOUSE_HTTP, CONTROL, Component, HTTP, KAFKA, KAFKA_CONTROLLER, OBJECT_STORE,
    POSTGRES, Port, REDIS, TEMPORAL,
};
use crate::object::{Object, labels, metadata, selector};
use crate::region::{Store, ValidRegion};

/// Who starts a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    Component(Component),
    /// The operator's own pods, in its namespace.
    Operator,
    /// Namespaces that carry [`SCRAPE_LABEL`]: Prometheus and the like.
    Monitoring,
    /// Any address: what the region offers to its users.
    Anyone,
}

/// One permitted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub from: Caller,
    pub to: Component,
    pub port: Port,
}

/// A namespace with this label set to `true` may read metrics.
pub const SCRAPE_LABEL: &str = "billing.meridian.dev/scrape";

const fn flow(from: Component, to: Component, port: Port) -> Flow {
    Flow { from: Caller::Component(from), to, port }
}

use Component::{
    Api, Buffer, ClickHouse, Consumer, Ingest, Kafka, Migrate, ObjectStore, Postgres, Redis, Temporal, Worker,
};

/// The table.
pub const TRAFFIC: &[Flow] = &[
    flow(Ingest, Postgres, POSTGRES),
    flow(Ingest, Redis, REDIS),
    flow(Ingest, Kafka, KAFKA),
    flow(Ingest, Buffer, BUFFER),
    flow(Consumer, Postgres, POSTGRES),
    flow(Consumer, ClickHouse, CLICKHOUSE_HTTP),
    flow(Consumer, Kafka, KAFKA),
    flow(Worker, Postgres, POSTGRES),
    flow(Worker, ClickHouse, CLICKHOUSE_HTTP),
    flow(Worker, Temporal, TEMPORAL),
    flow(Api, Postgres, POSTGRES),
    flow(Api, ClickHouse, CLICKHOUSE_HTTP),
    flow(Api, Redis, REDIS),
    flow(Api, Temporal, TEMPORAL),
    flow(Migrate, Postgres, POSTGRES),
    flow(Migrate, ClickHouse, CLICKHOUSE_HTTP),
    flow(Migrate, Kafka, KAFKA),
    flow(Migrate, Buffer, BUFFER),
    flow(Migrate, ObjectStore, OBJECT_STORE),
    flow(Migrate, Temporal, TEMPORAL),
    flow(Temporal, Postgres, POSTGRES),
    flow(Kafka, Kafka, KAFKA),
    flow(Kafka, Kafka, KAFKA_CONTROLLER),
    Flow { from: Caller::Anyone, to: Ingest, port: HTTP },
    Flow { from: Caller::Anyone, to: Api, port: HTTP },
    Flow { from: Caller::Operator, to: Api, port: CONTROL },
    Flow { from: Caller::Monitoring, to: Ingest, port: ADMIN },
    Flow { from: Caller::Monitoring, to: Api, port: ADMIN },
    Flow { from: Caller::Monitoring, to: Consumer, port: ADMIN },
    Flow { from: Caller::Monitoring, to: Worker, port: ADMIN },
];

/// The stores that `component` uses, in the table's order, each once.
pub fn stores_of(component: Component) -> Vec<Component> {
    let mut stores = Vec::new();
    for flow in TRAFFIC.iter().filter(|flow| flow.from == Caller::Component(component)) {
        if flow.to.is_store() && flow.to != component && !stores.contains(&flow.to) {
            stores.push(flow.to);
        }
    }
    stores
}

/// The policies of a region: one that denies everything, one for name resolution, one for each component that runs in it.
pub fn policies(region: &ValidRegion) -> Vec<Object> {
    let mut policies = vec![default_deny(region), name_resolution(region)];
    policies.extend(
        Component::ALL.into_iter().filter(|part| runs_here(region, *part)).map(|part| policy(region, part)),
    );
    policies
}

fn runs_here(region: &ValidRegion, component: Component) -> bool {
    !component.is_store() || region.managed(component).is_some()
}

fn default_deny(region: &ValidRegion) -> Object {
    let name = format!("{}-default-deny", region.name);
    network_policy(region, &name, region_pods(region), None, None)
}

fn name_resolution(region: &ValidRegion) -> Object {
    let resolver = NetworkPolicyPeer {
        namespace_selector: Some(match_label("kubernetes.io/metadata.name", "kube-system")),
        pod_selector: Some(match_label("k8s-app", "kube-dns")),
        ip_block: None,
    };
    let rule = NetworkPolicyEgressRule {
        to: Some(vec![resolver]),
        ports: Some(vec![policy_port("UDP", 53), policy_port("TCP", 53)]),
    };
    network_policy(region, &format!("{}-dns", region.name), region_pods(region), None, Some(vec![rule]))
}

fn policy(region: &ValidRegion, component: Component) -> Object {
    let pods = LabelSelector { match_labels: Some(selector(region, component)), match_expressions: None };
    network_policy(
        region,
        &region.object_name(component),
        pods,
        ingress(region, component),
        egress(region, component),
    )
}

/// The rules for connections to `component`: one for each set of callers of a port.
fn ingress(region: &ValidRegion, component: Component) -> Option<Vec<NetworkPolicyIngressRule>> {
    let mut by_port: BTreeMap<i32, BTreeSet<Caller>> = BTreeMap::new();
    for flow in TRAFFIC.iter().filter(|flow| flow.to == component) {
        by_port.entry(flow.port.number).or_default().insert(flow.from);
    }
    let rules: Vec<_> = by_port
        .into_iter()
        .map(|(port, callers)| NetworkPolicyIngressRule {
            // No `from` at all admits every address.
            from: (!callers.contains(&Caller::Anyone))
                .then(|| callers.into_iter().map(|caller| peer(region, caller)).collect()),
            ports: Some(vec![policy_port("TCP", port)]),
        })
        .collect();
    (!rules.is_empty()).then_some(rules)
}

fn peer(region: &ValidRegion, caller: Caller) -> NetworkPolicyPeer {
    match caller {
        Caller::Component(component) => NetworkPolicyPeer {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selector(region, component)),
                match_expressions: None,
            }),
            ..NetworkPolicyPeer::default()
        },
        Caller::Operator => NetworkPolicyPeer {
            namespace_selector: Some(match_label("kubernetes.io/metadata.name", &region.operator.namespace)),
            pod_selector: Some(match_label("app.kubernetes.io/name", "meridian-operator")),
            ip_block: None,
        },
        Caller::Monitoring => NetworkPolicyPeer {
            namespace_selector: Some(match_label(SCRAPE_LABEL, "true")),
            ..NetworkPolicyPeer::default()
        },
        Caller::Anyone => NetworkPolicyPeer::default(),
    }
}

/// The rules for connections that `component` starts: to pods for managed stores, to a port for external ones.
fn egress(region: &ValidRegion, component: Component) -> Option<Vec<NetworkPolicyEgressRule>> {
    let mut rules = Vec::new();
    for flow in TRAFFIC.iter().filter(|flow| flow.from == Caller::Component(component)) {
        match region.store(flow.to) {
            Some(Store::Managed(_)) => rules.push(NetworkPolicyEgressRule {
                to: Some(vec![peer(region, Caller::Component(flow.to))]),
                ports: Some(vec![policy_port("TCP", flow.port.number)]),
            }),
            // A host name cannot be written into a policy: its port, to any address.
            Some(Store::External(external)) => rules.push(NetworkPolicyEgressRule {
                to: None,
                ports: Some(external.ports.iter().map(|port| policy_port("TCP", *port)).collect()),
            }),
            None => {}
        }
    }
    if !component.is_store() {
        rules.extend(region.operator.otlp_endpoint.as_ref().map(|otlp| NetworkPolicyEgressRule {
            to: None,
            ports: Some(vec![policy_port("TCP", otlp.port)]),
        }));
    }
    rules.dedup();
    (!rules.is_empty()).then_some(rules)
}

fn network_policy(
    region: &ValidRegion,
    name: &str,
    pods: LabelSelector,
    ingress: Option<Vec<NetworkPolicyIngressRule>>,
    egress: Option<Vec<NetworkPolicyEgressRule>>,
) -> Object {
    // Named in both directions, also where there is no rule: that is what denies.
    let policy_types = Some(vec!["Ingress".to_owned(), "Egress".to_owned()]);
    Object::of(NetworkPolicy {
        metadata: metadata(region, name, labels(region, None)),
        spec: Some(NetworkPolicySpec { pod_selector: Some(pods), policy_types, ingress, egress }),
    })
}

fn region_pods(region: &ValidRegion) -> LabelSelector {
    match_label(crate::object::REGION_LABEL, &region.name)
}

fn match_label(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        match_expressions: None,
    }
}

fn policy_port(protocol: &str, port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port)),
        end_port: None,
    }
}

/// The ports that a Service of `component` offers: all that somebody in the table calls, and what its own peers need.
pub fn service_ports(component: Component) -> Vec<core::ServicePort> {
    component
        .ports()
        .iter()
        .filter(|port| TRAFFIC.iter().any(|flow| flow.to == component && flow.port == **port))
        .map(|port| core::ServicePort {
            name: Some(port.name.to_owned()),
            port: port.number,
            target_port: Some(IntOrString::String(port.name.to_owned())),
            protocol: Some("TCP".to_owned()),
            ..core::ServicePort::default()
        })
        .collect()
}
