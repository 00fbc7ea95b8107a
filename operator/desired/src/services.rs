//! Our own services: a Deployment, a ServiceAccount, a Service where somebody connects, a disruption budget where there is
//! more than one pod. The migration Job is here too: it is the same image with the same environment.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{self as core, PodTemplateSpec, Probe, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::component::{ADMIN, Component, HTTP};
use crate::credentials::Credentials;
use crate::environment;
use crate::object::{Object, component_metadata, labels, metadata, selector, short_hash};
use crate::pods::{Probes, Program, http_get, template};
use crate::profile;
use crate::region::{Exposure, Service, ValidRegion};
use crate::stores::service_account;
use crate::traffic::{service_ports, stores_of};

/// The user of our own image.
const USER: i64 = 65532;

/// Every object of one service.
pub fn objects(
    region: &ValidRegion,
    component: Component,
    wanted: &Service,
    credentials: &Credentials,
) -> Vec<Object> {
    let mut objects = vec![service_account(region, component)];
    // A service that nobody connects to has a Service all the same: Prometheus finds its pods by it.
    objects.push(service(region, component, wanted.exposure.as_ref(), false));
    objects.extend(disruption_budget(region, component, wanted.replicas));
    objects.push(deployment(region, component, wanted, credentials));
    objects
}

fn deployment(
    region: &ValidRegion,
    component: Component,
    wanted: &Service,
    credentials: &Credentials,
) -> Object {
    let mut read = stores_of(component);
    if component == Component::Api {
        read.push(Component::Api);
    }
    let program = Program {
        probes: probes(),
        config_hash: credentials.hash(&read),
        ..program(region, component, wanted.resources.clone())
    };
    // Never fewer pods than asked for: a new one is ready before an old one goes.
    let strategy = DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    };
    Object::of(Deployment {
        metadata: component_metadata(region, component),
        spec: Some(DeploymentSpec {
            replicas: Some(wanted.replicas),
            strategy: Some(strategy),
            selector: LabelSelector {
                match_labels: Some(selector(region, component)),
                match_expressions: None,
            },
            template: template(region, program),
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

fn program(region: &ValidRegion, component: Component, resources: core::ResourceRequirements) -> Program {
    let mut ports = component.ports().to_vec();
    if component == Component::Migrate {
        ports = Vec::new();
    }
    Program {
        component,
        command: vec![format!("/usr/local/bin/meridian-{}", component.name())],
        env: environment::of(region, component),
        ports,
        resources,
        probes: Probes::default(),
        user: USER,
        grace_seconds: environment::SHUTDOWN_GRACE_SECONDS + 5,
        config_path: None,
        data_path: None,
        // The consumer's index of ids that it has seen; a new pod makes it again from ClickHouse.
        scratch: (component == Component::Consumer).then(|| profile::consumer_index(region.profile)),
        before: Vec::new(),
        config_hash: String::new(),
    }
}

/// Ready by `/readyz`, alive by `/livez`: the second never depends on a store.
fn probes() -> Probes {
    let pace = |path, period, failures| Probe {
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..http_get(path, ADMIN)
    };
    Probes {
        startup: Some(pace("/livez", 1, 60)),
        readiness: Some(pace("/readyz", 3, 2)),
        liveness: Some(pace("/livez", 10, 6)),
    }
}

/// The Service of a component; its ports come from the traffic table.
pub fn service(
    region: &ValidRegion,
    component: Component,
    exposure: Option<&Exposure>,
    headless: bool,
) -> Object {
    let mut ports = service_ports(component);
    if let Some(node_port) = exposure.and_then(|exposure| exposure.node_port) {
        for port in ports.iter_mut().filter(|port| port.port == HTTP.number) {
            port.node_port = Some(node_port);
        }
    }
    let type_ = exposure.map_or("ClusterIP", |exposure| exposure.service_type);
    Object::of(core::Service {
        metadata: component_metadata(region, component),
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            cluster_ip: headless.then(|| "None".to_owned()),
            publish_not_ready_addresses: headless.then_some(true),
            selector: Some(selector(region, component)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// With one pod a budget would only block every drain.
pub fn disruption_budget(region: &ValidRegion, component: Component, replicas: i32) -> Option<Object> {
    (replicas > 1).then(|| {
        Object::of(PodDisruptionBudget {
            metadata: component_metadata(region, component),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(LabelSelector {
                    match_labels: Some(selector(region, component)),
                    match_expressions: None,
                }),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        })
    })
}

/// The migration: its ServiceAccount and one Job for each image and settings. A finished Job stays as the record that the
/// schemas are those of this image.
pub fn migration(region: &ValidRegion, credentials: &Credentials) -> [Object; 2] {
    let component = Component::Migrate;
    let size = profile::of(region.profile, component);
    let program = Program {
        config_hash: credentials.hash(&stores_of(component)),
        ..program(region, component, profile::resources(size, None))
    };
    let mut template = template(region, program);
    if let Some(pod) = template.spec.as_mut() {
        // The pod of a failed attempt stays, and its log with it.
        pod.restart_policy = Some("Never".to_owned());
    }
    let name = migration_name(region, &template);
    let job = Object::of(Job {
        metadata: metadata(region, &name, labels(region, Some(component))),
        spec: Some(JobSpec {
            backoff_limit: Some(4),
            active_deadline_seconds: Some(1800),
            template,
            ..JobSpec::default()
        }),
        status: None,
    });
    [service_account(region, component), job]
}

/// A Job's template cannot be changed: another template is another Job.
fn migration_name(region: &ValidRegion, template: &PodTemplateSpec) -> String {
    let template = serde_json::to_string(template).expect("a pod template is JSON");
    let hash = short_hash(&[template.as_bytes()]);
    format!("{}-{}", region.object_name(Component::Migrate), &hash[..10])
}
