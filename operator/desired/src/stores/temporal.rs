//! Temporal, the workflow engine. It keeps everything in the region's managed Postgres (`validate` sees to that).

use crate::component::{Component, POSTGRES, TEMPORAL};
use crate::credentials::secret_name;
use crate::pods::{CONFIG_PATH, Program, from_field, grpc, literal, paced, secret};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, shell};

const CONFIG_FILE: &str = "/etc/meridian/temporal.yaml";

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::Postgres);
    let command = ["temporal-server", "--config-file", CONFIG_FILE, "--allow-no-auth", "start"];
    Run {
        program: Program {
            component: Component::Temporal,
            command: command.map(str::to_owned).to_vec(),
            env: vec![
                secret("TEMPORAL_PASSWORD", &credentials, "temporalPassword", false),
                from_field("POD_IP", "status.podIP"),
                // A static binary looks the user up here when there is no /etc/passwd.
                literal("USER", "temporal"),
                literal("POSTGRES_HOST", region.host(Component::Postgres)),
                literal("POSTGRES_PORT", POSTGRES.number.to_string()),
            ],
            ports: vec![TEMPORAL],
            resources: managed.resources.clone(),
            probes: paced(&grpc(TEMPORAL, "temporal.api.workflowservice.v1.WorkflowService")),
            user: 1000,
            grace_seconds: 30,
            config_path: Some(CONFIG_PATH),
            data_path: None,
            scratch: None,
            // Harmless when run again; fails while Postgres is away, and is restarted.
            before: vec![("schema", shell("schema.sh"))],
            config_hash: String::new(),
        },
        files: files([
            ("schema.sh", include_str!("files/temporal.schema.sh").to_owned()),
            ("temporal.yaml", include_str!("files/temporal.yaml").to_owned()),
        ]),
    }
}
