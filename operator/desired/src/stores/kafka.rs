//! Kafka in KRaft mode: every broker is a controller too. The number of voters is fixed when the volumes are formatted.

use crate::component::{Component, KAFKA, KAFKA_CONTROLLER};
use crate::credentials::secret_name;
use crate::pods::{CONFIG_PATH, Program, from_field, literal, paced, secret, tcp};
use crate::region::{Managed, ValidRegion};
use crate::stores::{Run, files, fill, memory_limit_bytes, shell};

pub(super) fn run(region: &ValidRegion, managed: &Managed) -> Run {
    let credentials = secret_name(&region.name, Component::Kafka);
    // The rest is metaspace, thread stacks and the page cache, which Kafka lives on.
    let heap_mib = memory_limit_bytes(managed) / 3 / (1 << 20);
    Run {
        program: Program {
            component: Component::Kafka,
            command: shell("start.sh"),
            env: vec![
                from_field("POD_NAME", "metadata.name"),
                secret("KAFKA_CLUSTER_ID", &credentials, "clusterId", false),
                secret("KAFKA_PASSWORD", &credentials, "password", false),
                secret("KAFKA_CONTROLLER_PASSWORD", &credentials, "controllerPassword", false),
                literal("KAFKA_HEAP_OPTS", format!("-Xms{heap_mib}m -Xmx{heap_mib}m")),
                literal(
                    "KAFKA_JVM_PERFORMANCE_OPTS",
                    "-XX:+UseSerialGC -XX:MaxMetaspaceSize=128m -XX:ReservedCodeCacheSize=48m -Xss512k -XX:-UsePerfData",
                ),
                literal("LOG_DIR", "/tmp"),
                literal("EXTRA_ARGS", "-name kafkaServer"),
                literal("KAFKA_LOG4J_OPTS", format!("-Dlog4j2.configurationFile={CONFIG_PATH}/log4j2.yaml")),
            ],
            ports: vec![KAFKA, KAFKA_CONTROLLER],
            resources: managed.resources.clone(),
            probes: paced(&tcp(KAFKA)),
            user: 1000,
            grace_seconds: 60,
            config_path: Some(CONFIG_PATH),
            data_path: Some("/var/lib/kafka/data"),
            scratch: None,
            before: Vec::new(),
            config_hash: String::new(),
        },
        files: files([
            ("start.sh", include_str!("files/kafka.start.sh").to_owned()),
            ("log4j2.yaml", include_str!("files/kafka.log4j2.yaml").to_owned()),
            ("server.properties", properties(region, managed)),
        ]),
    }
}

fn properties(region: &ValidRegion, managed: &Managed) -> String {
    let service = region.host(Component::Kafka);
    let pod = region.object_name(Component::Kafka);
    let alone = managed.replicas == 1;
    let voters: Vec<String> = (0..managed.replicas)
        .map(|n| if alone { "0@127.0.0.1:9093".to_owned() } else { format!("{n}@{pod}-{n}.{service}:9093") })
        .collect();
    let copies = replication(managed.replicas);
    fill(
        include_str!("files/kafka.server.properties"),
        &[
            ("VOTERS", voters.join(",")),
            ("CONTROLLER_ADDRESS", if alone { "127.0.0.1" } else { "0.0.0.0" }.to_owned()),
            ("SERVICE", service),
            ("PARTITIONS", region.event_partitions.to_string()),
            ("REPLICATION", copies.to_string()),
            ("MIN_ISR", if copies >= 3 { "2" } else { "1" }.to_owned()),
        ],
    )
}

/// Copies of each partition: three where there are three brokers.
pub(crate) const fn replication(brokers: i32) -> i32 {
    if brokers >= 3 { 3 } else { 1 }
}
