//! Pods under PodSecurity `restricted`: the one place where a pod template is put together, for stores and services alike.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, ExecAction, GRPCAction, HTTPGetAction, ObjectFieldSelector, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext,
    TCPSocketAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::component::{Component, Port};
use crate::object::{CONFIG_ANNOTATION, labels, selector};
use crate::region::{ValidRegion, Value, Variable};

/// Where every component finds the files of its ConfigMap, unless its image wants them elsewhere.
pub const CONFIG_PATH: &str = "/etc/meridian";

/// Where a program may put what it can make again.
pub const SCRATCH_PATH: &str = "/var/lib/meridian";

/// A program and what it needs around it.
#[derive(Clone, Debug)]
pub struct Program {
    pub component: Component,
    pub command: Vec<String>,
    pub env: Vec<EnvVar>,
    pub ports: Vec<Port>,
    pub resources: ResourceRequirements,
    pub probes: Probes,
    /// Its user, group and file system group.
    pub user: i64,
    pub grace_seconds: i64,
    /// Where the files of the component's ConfigMap are mounted; None when it has none.
    pub config_path: Option<&'static str>,
    /// Where the volume of a StatefulSet is mounted.
    pub data_path: Option<&'static str>,
    /// The size of a directory at [`SCRATCH_PATH`] that lives as long as the pod; None: there is none.
    pub scratch: Option<&'static str>,
    /// Commands that run to their end before the program starts, from the same image.
    pub before: Vec<(&'static str, Vec<String>)>,
    /// What the pods read besides this template, hashed: they roll when it changes.
    pub config_hash: String,
}

/// How the kubelet asks a program.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    pub startup: Option<Probe>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
}

/// The template of the pods that run `program`.
pub fn template(region: &ValidRegion, program: Program) -> PodTemplateSpec {
    let component = program.component;
    let annotations = BTreeMap::from([
        (CONFIG_ANNOTATION.to_owned(), program.config_hash.clone()),
        // What `kubectl logs` and `exec` take when no container is named.
        ("kubectl.kubernetes.io/default-container".to_owned(), component.name().to_owned()),
    ]);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(region, Some(component))),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(region, program)),
    }
}

fn pod(region: &ValidRegion, program: Program) -> PodSpec {
    let component = program.component;
    let image = region.images.of(component);
    let mounts = mounts(&program);
    let container = |name: &str, command: Vec<String>| Container {
        name: name.to_owned(),
        image: Some(image.clone()),
        image_pull_policy: Some(region.operator.image_pull_policy.clone()),
        command: Some(command),
        env: Some(program.env.clone()).filter(|env| !env.is_empty()),
        resources: Some(program.resources.clone()),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts.clone()),
        ..Container::default()
    };
    let before: Vec<Container> =
        program.before.iter().map(|(name, command)| container(name, command.clone())).collect();
    let main = Container {
        ports: Some(program.ports.iter().map(container_port).collect())
            .filter(|ports: &Vec<_>| !ports.is_empty()),
        startup_probe: program.probes.startup.clone(),
        readiness_probe: program.probes.readiness.clone(),
        liveness_probe: program.probes.liveness.clone(),
        ..container(component.name(), program.command.clone())
    };
    PodSpec {
        service_account_name: Some(region.object_name(component)),
        automount_service_account_token: Some(false),
        // Service variables of the namespace would collide with ours and say where everything else is.
        enable_service_links: Some(false),
        security_context: Some(pod_security(program.user)),
        termination_grace_period_seconds: Some(program.grace_seconds),
        init_containers: Some(before).filter(|before| !before.is_empty()),
        containers: vec![main],
        volumes: Some(volumes(region, &program)),
        topology_spread_constraints: Some(vec![spread(region, component)]),
        ..PodSpec::default()
    }
}

fn mounts(program: &Program) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("tmp", "/tmp", false)];
    mounts.extend(program.config_path.map(|path| mount("config", path, true)));
    mounts.extend(program.scratch.map(|_| mount("scratch", SCRATCH_PATH, false)));
    mounts.extend(program.data_path.map(|path| mount("data", path, false)));
    mounts
}

fn volumes(region: &ValidRegion, program: &Program) -> Vec<Volume> {
    let directory = |name: &str, size: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(size.to_owned())), medium: None }),
        ..Volume::default()
    };
    let mut volumes = vec![directory("tmp", "256Mi")];
    volumes.extend(program.scratch.map(|size| directory("scratch", size)));
    if program.config_path.is_some() {
        volumes.push(Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: region.object_name(program.component),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

fn container_port(port: &Port) -> ContainerPort {
    ContainerPort {
        name: Some(port.name.to_owned()),
        container_port: port.number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn pod_security(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(user),
        fs_group: Some(user),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

/// Pods of one component keep apart where the cluster lets them.
fn spread(region: &ValidRegion, component: Component) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(region, component)),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    }
}

/// A variable with a literal value.
pub fn literal(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// A variable from a key of a Secret.
pub fn secret(name: &str, secret: &str, key: &str, optional: bool) -> EnvVar {
    let selector = SecretKeySelector {
        name: secret.to_owned(),
        key: key.to_owned(),
        optional: optional.then_some(true),
    };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() }),
    }
}

/// A variable from the pod itself, such as `metadata.name`.
pub fn from_field(name: &str, path: &str) -> EnvVar {
    // The server would write the version; writing it here keeps the comparison with the stored object plain.
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

impl From<&Variable> for EnvVar {
    fn from(variable: &Variable) -> EnvVar {
        match &variable.value {
            Value::Literal(value) => literal(variable.name, value.clone()),
            Value::Secret { secret: name, key, optional } => secret(variable.name, name, key, *optional),
        }
    }
}

/// A probe by HTTP GET.
pub fn http_get(path: &str, port: Port) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.name.to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

/// A probe that runs a command in the container.
pub fn exec(command: &[&str]) -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(command.iter().map(|word| (*word).to_owned()).collect()) }),
        ..Probe::default()
    }
}

/// A probe that opens a connection.
pub fn tcp(port: Port) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::String(port.name.to_owned()), host: None }),
        ..Probe::default()
    }
}

/// A probe by the gRPC health protocol.
pub fn grpc(port: Port, service: &str) -> Probe {
    Probe {
        grpc: Some(GRPCAction { port: port.number, service: Some(service.to_owned()) }),
        ..Probe::default()
    }
}

/// Asks one question at three paces: quickly until the first answer, then for traffic, and slowly for life.
pub fn paced(ask: &Probe) -> Probes {
    let pace = |period, failures| Probe {
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..ask.clone()
    };
    // Two minutes for the first start: recovery after a crash is part of it.
    Probes { startup: Some(pace(2, 60)), readiness: Some(pace(5, 3)), liveness: Some(pace(15, 8)) }
}
