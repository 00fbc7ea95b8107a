//! The ingest buffer of a small region: dynalite, which speaks the DynamoDB API. It checks no credentials: the
//! NetworkPolicy is its wall. Beyond one machine a region uses DynamoDB itself or ScyllaDB's Alternator.

use crate::component::{BUFFER, Component};
use crate::pods::{Program, http_get, paced};
use crate::region::Managed;
use crate::stores::{Run, files};

pub(super) fn run(managed: &Managed) -> Run {
    let command = ["dynalite", "--port", "8000", "--path", "/data/tables", "--createTableMs", "0"];
    Run {
        program: Program {
            component: Component::Buffer,
            command: command.map(str::to_owned).to_vec(),
            env: Vec::new(),
            ports: vec![BUFFER],
            resources: managed.resources.clone(),
            probes: paced(&http_get("/", BUFFER)),
            user: 65532,
            // As the first process of its container it does not hear SIGTERM; its log-structured files bear a kill.
            grace_seconds: 5,
            config_path: None,
            data_path: Some("/data"),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([]),
    }
}
