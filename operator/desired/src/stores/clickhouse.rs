//! ClickHouse: raw and processed usage events and their rollups.

use crate::component::{CLICKHOUSE_HTTP, CLICKHOUSE_NATIVE, Component};
use crate::credentials::secret_name;
use crate::pods::{Program, http_get, paced, secret};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, fill, memory_limit_bytes};

/// The ConfigMap takes the place of the image's own configuration: nothing depends on what an image ships there.
const CONFIG_PATH: &str = "/etc/clickhouse-server";

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::ClickHouse);
    let limit = memory_limit_bytes(managed);
    Run {
        program: Program {
            component: Component::ClickHouse,
            command: vec![
                "/usr/bin/clickhouse-server".to_owned(),
                format!("--config-file={CONFIG_PATH}/config.xml"),
            ],
            env: vec![secret("CLICKHOUSE_PASSWORD", &credentials, "password", false)],
            ports: vec![CLICKHOUSE_HTTP, CLICKHOUSE_NATIVE],
            resources: managed.resources.clone(),
            probes: paced(&http_get("/ping", CLICKHOUSE_HTTP)),
            user: 101,
            grace_seconds: 60,
            config_path: Some(CONFIG_PATH),
            data_path: Some("/var/lib/clickhouse"),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([
            (
                "config.xml",
                fill(
                    include_str!("files/clickhouse.config.xml"),
                    &[("SERVER_MEMORY_BYTES", (limit * 8 / 10).to_string())],
                ),
            ),
            (
                "users.xml",
                fill(
                    include_str!("files/clickhouse.users.xml"),
                    &[("QUERY_MEMORY_BYTES", (limit / 2).to_string())],
                ),
            ),
        ]),
    }
}
