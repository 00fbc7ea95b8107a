//! The environment of our programs: what every program gets, and the variables of those stores that the traffic table lets
//! it reach.

use k8s_openapi::api::core::v1::EnvVar;

use crate::component::{ADMIN, CONTROL, Component, HTTP, Port};
use crate::credentials::secret_name;
use crate::pods::{SCRATCH_PATH, literal, secret};
use crate::region::{Store, Tenancy, ValidRegion};
use crate::traffic::stores_of;

/// How long a program may drain; below the pod's termination grace period.
pub const SHUTDOWN_GRACE_SECONDS: i64 = 25;

/// All variables of `component`, each once.
pub fn of(region: &ValidRegion, component: Component) -> Vec<EnvVar> {
    let mut env = common(region);
    env.extend(own(region, component));
    for store in stores_of(component) {
        let connection = match region.store(store) {
            Some(Store::Managed(managed)) => &managed.connection,
            Some(Store::External(external)) => &external.connection,
            None => continue,
        };
        env.extend(connection.variables.iter().map(EnvVar::from));
    }
    env
}

fn common(region: &ValidRegion) -> Vec<EnvVar> {
    let mut env = vec![
        literal("MERIDIAN_REGION", region.name.clone()),
        literal("MERIDIAN_LOCATION", region.location.clone()),
        literal("MERIDIAN_ADMIN_LISTEN", listen(ADMIN)),
        literal("MERIDIAN_LOG", region.operator.log_filter.clone()),
        literal("MERIDIAN_LOG_FORMAT", "json"),
        literal("MERIDIAN_SHUTDOWN_GRACE_SECONDS", SHUTDOWN_GRACE_SECONDS.to_string()),
    ];
    env.extend(
        region
            .operator
            .otlp_endpoint
            .as_ref()
            .map(|otlp| literal("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.url.clone())),
    );
    env
}

fn own(region: &ValidRegion, component: Component) -> Vec<EnvVar> {
    match component {
        Component::Ingest => vec![literal("MERIDIAN_INGEST_LISTEN", listen(HTTP))],
        Component::Api => api(region),
        // It never talks to Kafka, but closes no period before every partition is processed.
        Component::Worker => {
            vec![literal("MERIDIAN_PIPELINE_PARTITIONS", region.event_partitions.to_string())]
        }
        Component::Consumer => vec![literal("MERIDIAN_CONSUMER_INDEX_DIR", format!("{SCRATCH_PATH}/index"))],
        Component::Migrate
        | Component::Postgres
        | Component::ClickHouse
        | Component::Kafka
        | Component::Redis
        | Component::Buffer
        | Component::ObjectStore
        | Component::Temporal => Vec::new(),
    }
}

fn api(region: &ValidRegion) -> Vec<EnvVar> {
    let mut env = vec![
        literal("MERIDIAN_API_LISTEN", listen(HTTP)),
        literal("MERIDIAN_CONTROL_LISTEN", listen(CONTROL)),
        secret("MERIDIAN_CONTROL_TOKEN", &secret_name(&region.name, Component::Api), "controlToken", false),
    ];
    if let Tenancy::Dedicated { tenant } = &region.tenancy {
        env.push(literal("MERIDIAN_DEDICATED_TENANT", tenant.clone()));
    }
    env
}

fn listen(port: Port) -> String {
    format!("0.0.0.0:{}", port.number)
}
