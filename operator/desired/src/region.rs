//! A region that has been validated: the only form in which a region's spec travels to the builders.
//!
//! Made by `validate` alone. Every default is filled in, every reference is a name, every rule holds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use meridian_crds::region::Profile;

use crate::component::Component;
use crate::images::Images;

/// A region whose spec can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRegion {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub owner: OwnerReference,
    pub location: String,
    pub tenancy: Tenancy,
    pub profile: Profile,
    pub stores: BTreeMap<Component, Store>,
    pub services: BTreeMap<Component, Service>,
    /// Partitions of the event topic, whoever runs Kafka: the worker waits for word from each.
    pub event_partitions: i32,
    pub images: Images,
    pub operator: Operator,
}

/// Who may live in the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    Shared,
    Dedicated { tenant: String },
}

/// How a store is run.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    Managed(Managed),
    External(External),
}

/// A store that the operator runs as one StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Managed {
    pub replicas: i32,
    /// The size of each replica's volume, as a quantity. None for Temporal, which keeps everything in Postgres.
    pub storage: Option<String>,
    pub storage_class: Option<String>,
    pub resources: ResourceRequirements,
    pub connection: Connection,
}

/// A store that somebody else runs.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// The ports to which pods may go out. Empty: the provider's own HTTPS endpoint, 443.
    pub ports: Vec<i32>,
    pub connection: Connection,
}

/// How a program reaches a store: the variables of CONTRACT, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub variables: Vec<Variable>,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Literal(String),
    Secret { secret: String, key: String, optional: bool },
}

/// A service of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub replicas: i32,
    pub resources: ResourceRequirements,
    /// None for a service that nobody connects to.
    pub exposure: Option<Exposure>,
}

/// How a service is reached from outside its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    pub service_type: &'static str,
    pub node_port: Option<i32>,
    /// The address that clients use: the user's own, or the Service's.
    pub url: String,
}

/// What the region must know about the operator that runs it: its pods may call the control port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub namespace: String,
    pub image_pull_policy: String,
    /// Whether the operator may label namespaces: it may not when it was installed for some namespaces only.
    pub labels_namespaces: bool,
    /// Where the programs of a region send their traces; None switches that off.
    pub otlp_endpoint: Option<Otlp>,
    /// The log filter of the programs of a region.
    pub log_filter: String,
}

/// An OTLP collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    pub url: String,
    pub port: i32,
}

impl ValidRegion {
    /// The name of every object that belongs to `component`.
    pub fn object_name(&self, component: Component) -> String {
        format!("{}-{}", self.name, component.name())
    }

    /// The DNS name under which pods of any namespace reach `component`.
    pub fn host(&self, component: Component) -> String {
        format!("{}.{}.svc", self.object_name(component), self.namespace)
    }

    pub fn store(&self, component: Component) -> Option<&Store> {
        self.stores.get(&component)
    }

    pub fn managed(&self, component: Component) -> Option<&Managed> {
        match self.stores.get(&component) {
            Some(Store::Managed(managed)) => Some(managed),
            Some(Store::External(_)) | None => None,
        }
    }

    /// The stores that the operator runs, in the order of [`Component::STORES`].
    pub fn managed_stores(&self) -> impl Iterator<Item = (Component, &Managed)> {
        Component::STORES
            .into_iter()
            .filter_map(|component| self.managed(component).map(|managed| (component, managed)))
    }
}

impl Connection {
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push(Variable { name, value: Value::Literal(value.into()) });
        self
    }

    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub fn with_secret(mut self, name: &'static str, secret: &str, key: &str) -> Self {
        let value = Value::Secret { secret: secret.to_owned(), key: key.to_owned(), optional: false };
        self.variables.push(Variable { name, value });
        self
    }

    #[must_use]
    pub fn with_optional_secret(mut self, name: &'static str, secret: &str, key: &str) -> Self {
        let value = Value::Secret { secret: secret.to_owned(), key: key.to_owned(), optional: true };
        self.variables.push(Variable { name, value });
        self
    }
}
