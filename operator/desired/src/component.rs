//! The parts of a region: seven stores, one migration job, four services, with their names and ports.
//!
//! Every name of an object, label and condition is derived from this list. Neighbours: `traffic` says which of them talk.

/// One part of a region. Ordered as a region comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    Postgres,
    ClickHouse,
    Kafka,
    Redis,
    Buffer,
    ObjectStore,
    Temporal,
    Migrate,
    Consumer,
    Worker,
    Api,
    Ingest,
}

/// A named port of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: &'static str,
    pub number: i32,
}

const fn port(name: &'static str, number: i32) -> Port {
    Port { name, number }
}

pub const POSTGRES: Port = port("postgres", 5432);
pub const CLICKHOUSE_HTTP: Port = port("http", 8123);
pub const CLICKHOUSE_NATIVE: Port = port("native", 9000);
pub const KAFKA: Port = port("kafka", 9092);
pub const KAFKA_CONTROLLER: Port = port("controller", 9093);
pub const REDIS: Port = port("redis", 6379);
pub const BUFFER: Port = port("dynamodb", 8000);
pub const OBJECT_STORE: Port = port("s3", 7070);
pub const TEMPORAL: Port = port("grpc", 7233);
pub const HTTP: Port = port("http", 8080);
pub const CONTROL: Port = port("control", 8081);
pub const ADMIN: Port = port("admin", 9090);

impl Component {
    pub const STORES: [Component; 7] = [
        Component::Postgres,
        Component::ClickHouse,
        Component::Kafka,
        Component::Redis,
        Component::Buffer,
        Component::ObjectStore,
        Component::Temporal,
    ];
    /// In the order in which they are started.
    pub const SERVICES: [Component; 4] =
        [Component::Consumer, Component::Worker, Component::Api, Component::Ingest];
    pub const ALL: [Component; 12] = [
        Component::Postgres,
        Component::ClickHouse,
        Component::Kafka,
        Component::Redis,
        Component::Buffer,
        Component::ObjectStore,
        Component::Temporal,
        Component::Migrate,
        Component::Consumer,
        Component::Worker,
        Component::Api,
        Component::Ingest,
    ];

    /// The suffix of every object's name and the value of `app.kubernetes.io/name`.
    pub const fn name(self) -> &'static str {
        match self {
            Component::Postgres => "postgres",
            Component::ClickHouse => "clickhouse",
            Component::Kafka => "kafka",
            Component::Redis => "redis",
            Component::Buffer => "buffer",
            Component::ObjectStore => "objectstore",
            Component::Temporal => "temporal",
            Component::Migrate => "migrate",
            Component::Consumer => "consumer",
            Component::Worker => "worker",
            Component::Api => "api",
            Component::Ingest => "ingest",
        }
    }

    pub fn from_name(name: &str) -> Option<Component> {
        Component::ALL.into_iter().find(|component| component.name() == name)
    }

    /// How people write it in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Component::Postgres => "Postgres",
            Component::ClickHouse => "ClickHouse",
            Component::Kafka => "Kafka",
            Component::Redis => "Redis",
            Component::Buffer => "The buffer",
            Component::ObjectStore => "The object store",
            Component::Temporal => "Temporal",
            Component::Migrate => "The migration",
            Component::Consumer => "The consumer",
            Component::Worker => "The worker",
            Component::Api => "The api",
            Component::Ingest => "The ingest service",
        }
    }

    pub const fn is_store(self) -> bool {
        matches!(
            self,
            Component::Postgres
                | Component::ClickHouse
                | Component::Kafka
                | Component::Redis
                | Component::Buffer
                | Component::ObjectStore
                | Component::Temporal
        )
    }

    /// The value of `app.kubernetes.io/component`.
    pub const fn role(self) -> &'static str {
        if self.is_store() { "store" } else { "service" }
    }

    /// The ports that its Service offers. A program without callers has only the admin port, and no Service.
    pub const fn ports(self) -> &'static [Port] {
        match self {
            Component::Postgres => &[POSTGRES],
            Component::ClickHouse => &[CLICKHOUSE_HTTP, CLICKHOUSE_NATIVE],
            Component::Kafka => &[KAFKA, KAFKA_CONTROLLER],
            Component::Redis => &[REDIS],
            Component::Buffer => &[BUFFER],
            Component::ObjectStore => &[OBJECT_STORE],
            Component::Temporal => &[TEMPORAL],
            Component::Migrate => &[],
            Component::Consumer | Component::Worker => &[ADMIN],
            Component::Api => &[HTTP, CONTROL, ADMIN],
            Component::Ingest => &[HTTP, ADMIN],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_is_found_by_its_name() {
        for component in Component::ALL {
            assert_eq!(Component::from_name(component.name()), Some(component));
        }
    }

    #[test]
    fn all_is_stores_then_migration_then_services() {
        let mut parts = Component::STORES.to_vec();
        parts.push(Component::Migrate);
        parts.extend(Component::SERVICES);
        assert_eq!(parts, Component::ALL);
    }
}
