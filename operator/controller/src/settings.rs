//! The operator's configuration, from its environment, checked whole at start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use meridian_daemon::Settings;
use meridian_desired::connect::url_port;
use meridian_desired::images::Images;
use meridian_desired::region::{Operator, Otlp};

/// The keys of an image catalogue.
pub const IMAGE_KEYS: [&str; 8] =
    ["meridian", "postgres", "clickhouse", "kafka", "redis", "buffer", "objectstore", "temporal"];

#[derive(Clone, Debug)]
pub struct Config {
    /// What this process calls itself in the lease.
    pub identity: String,
    /// Where the lease is, and where the pods are that may call control ports.
    pub namespace: String,
    /// None: every namespace.
    pub watch_namespace: Option<String>,
    pub images: Images,
    pub operator: Operator,
    pub lease: Duration,
    pub concurrency: u16,
    /// Where the control port of a region is, with `{region}` and `{namespace}`.
    pub control_url: String,
}

impl Config {
    pub fn read(settings: &mut Settings) -> Config {
        let namespace = settings.required("MERIDIAN_OPERATOR_NAMESPACE");
        let watch_namespace = settings.optional("MERIDIAN_WATCH_NAMESPACE");
        let otlp = settings.optional("MERIDIAN_REGION_OTLP_ENDPOINT");
        Config {
            identity: settings
                .optional("POD_NAME")
                .unwrap_or_else(|| format!("process-{}", std::process::id())),
            images: images(settings),
            operator: Operator {
                namespace: namespace.clone(),
                image_pull_policy: settings.or("MERIDIAN_IMAGE_PULL_POLICY", "IfNotPresent"),
                // An operator of one namespace may not change the namespace itself.
                labels_namespaces: settings.parsed("MERIDIAN_LABEL_NAMESPACES", watch_namespace.is_none()),
                otlp_endpoint: otlp.map(|url| Otlp { port: url_port(&url), url }),
                log_filter: settings.or("MERIDIAN_REGION_LOG", "info"),
            },
            namespace,
            watch_namespace,
            lease: settings.seconds("MERIDIAN_LEASE_SECONDS", 15),
            concurrency: settings.parsed("MERIDIAN_CONCURRENCY", 8),
            control_url: settings.or("MERIDIAN_CONTROL_URL", "http://{region}-api.{namespace}.svc:8081"),
        }
    }
}

/// The catalogue: a directory with one file a key, as a mounted ConfigMap is.
fn images(settings: &mut Settings) -> Images {
    let directory = settings.required("MERIDIAN_IMAGE_CATALOGUE");
    let mut images = BTreeMap::new();
    if directory.is_empty() {
        return Images::new(images);
    }
    if !Path::new(&directory).is_dir() {
        settings.problem(format!("MERIDIAN_IMAGE_CATALOGUE names {directory}, which is not a directory"));
        return Images::new(images);
    }
    for key in IMAGE_KEYS {
        // A key that is not there is told by the region that needs it: another catalogue may have it.
        if let Ok(image) = std::fs::read_to_string(Path::new(&directory).join(key)) {
            images.insert(key.to_owned(), image);
        }
    }
    Images::default().overlaid(&images)
}
