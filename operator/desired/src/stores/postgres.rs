//! Postgres, the system of record. Temporal keeps its tables in two databases of its own beside ours.

use crate::component::{Component, POSTGRES};
use crate::credentials::secret_name;
use crate::pods::{CONFIG_PATH, Program, exec, literal, paced, secret};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, fill, memory_limit_bytes, shell};

const DATA_PATH: &str = "/var/lib/postgresql/data";

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::Postgres);
    let shared_buffers_kib = memory_limit_bytes(managed) / 8 / 1024;
    Run {
        program: Program {
            component: Component::Postgres,
            command: shell("start.sh"),
            env: vec![
                // A directory inside the volume: file systems bring a lost+found, which initdb refuses.
                literal("PGDATA", format!("{DATA_PATH}/pgdata")),
                secret("POSTGRES_PASSWORD", &credentials, "superuserPassword", false),
                secret("MERIDIAN_PASSWORD", &credentials, "password", false),
                secret("TEMPORAL_PASSWORD", &credentials, "temporalPassword", false),
            ],
            ports: vec![POSTGRES],
            resources: managed.resources.clone(),
            probes: paced(&exec(&["pg_isready", "-q", "-h", "127.0.0.1", "-p", "5432", "-U", "postgres"])),
            user: 999,
            // A fast shutdown writes a checkpoint first.
            grace_seconds: 60,
            config_path: Some(CONFIG_PATH),
            data_path: Some(DATA_PATH),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([
            ("start.sh", include_str!("files/postgres.start.sh").to_owned()),
            ("pg_hba.conf", include_str!("files/pg_hba.conf").to_owned()),
            (
                "postgresql.conf",
                fill(
                    include_str!("files/postgresql.conf"),
                    &[("SHARED_BUFFERS_KIB", shared_buffers_kib.to_string())],
                ),
            ),
        ]),
    }
}
