//! Redis: caches of the hot path.

use crate::component::{Component, REDIS};
use crate::credentials::secret_name;
use crate::pods::{CONFIG_PATH, Program, exec, paced, secret};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, fill, memory_limit_bytes, shell};

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::Redis);
    // The other half is for the copy that a rewrite of the append-only file makes.
    let memory_bytes = memory_limit_bytes(managed) / 2;
    Run {
        program: Program {
            component: Component::Redis,
            command: shell("start.sh"),
            env: vec![
                secret("REDIS_PASSWORD", &credentials, "password", false),
                secret("REDISCLI_AUTH", &credentials, "password", false),
            ],
            ports: vec![REDIS],
            resources: managed.resources.clone(),
            probes: paced(&exec(&["sh", "-c", "redis-cli ping | grep -q PONG"])),
            user: 999,
            grace_seconds: 30,
            config_path: Some(CONFIG_PATH),
            data_path: Some("/data"),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([
            ("start.sh", include_str!("files/redis.start.sh").to_owned()),
            (
                "redis.conf",
                fill(include_str!("files/redis.conf"), &[("MEMORY_BYTES", memory_bytes.to_string())]),
            ),
        ]),
    }
}
