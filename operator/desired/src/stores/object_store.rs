//! The object store of a small region: versitygw, S3 over a directory.

use crate::component::{Component, OBJECT_STORE};
use crate::credentials::secret_name;
use crate::pods::{CONFIG_PATH, Program, http_get, paced, secret};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, shell};

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::ObjectStore);
    Run {
        program: Program {
            component: Component::ObjectStore,
            command: shell("start.sh"),
            env: vec![
                secret("ROOT_ACCESS_KEY", &credentials, "accessKeyId", false),
                secret("ROOT_SECRET_KEY", &credentials, "secretAccessKey", false),
            ],
            ports: vec![OBJECT_STORE],
            resources: managed.resources.clone(),
            probes: paced(&http_get("/healthz", OBJECT_STORE)),
            user: 65532,
            grace_seconds: 30,
            config_path: Some(CONFIG_PATH),
            data_path: Some("/data"),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([("start.sh", include_str!("files/objectstore.start.sh").to_owned())]),
    }
}
