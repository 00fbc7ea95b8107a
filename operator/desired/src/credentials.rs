//! The credentials of the stores that the operator runs, of the control port, and of external stores.
//!
//! A credential is made once, by the shell (randomness is not for this crate), written to a Secret that nothing owns, and
//! read from there for ever after: it outlives the operator, and with `Retain` the region. A Secret that lost a key gets
//! that key anew and keeps the others. The Secrets of external stores are their owners': they are only read.

use std::collections::BTreeMap;

use crate::component::Component;
use crate::object::short_hash;
use crate::region::{Store, ValidRegion, Value};

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Decided by us: a user name.
    Fixed(&'static str),
    /// That many letters and digits. 32 of them are 190 bits.
    Random(usize),
    /// What Kafka takes for a cluster id: 16 bytes in base64url.
    KafkaClusterId,
}

/// One Secret of generated credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSecret {
    pub component: Component,
    pub name: String,
    pub keys: &'static [(&'static str, Shape)],
}

const POSTGRES: &[(&str, Shape)] = &[
    ("username", Shape::Fixed("meridian")),
    ("password", Shape::Random(32)),
    ("superuserPassword", Shape::Random(32)),
    ("temporalPassword", Shape::Random(32)),
];
const CLICKHOUSE: &[(&str, Shape)] =
    &[("username", Shape::Fixed("meridian")), ("password", Shape::Random(32))];
const KAFKA: &[(&str, Shape)] = &[
    ("username", Shape::Fixed("meridian")),
    ("password", Shape::Random(32)),
    ("controllerPassword", Shape::Random(32)),
    ("clusterId", Shape::KafkaClusterId),
];
const REDIS: &[(&str, Shape)] = &[("password", Shape::Random(32))];
const ACCESS_KEYS: &[(&str, Shape)] =
    &[("accessKeyId", Shape::Random(20)), ("secretAccessKey", Shape::Random(40))];
const API: &[(&str, Shape)] = &[("controlToken", Shape::Random(43))];

/// The Secrets that a region needs.
pub fn needed(region: &ValidRegion) -> Vec<CredentialSecret> {
    let of =
        |component, keys| CredentialSecret { component, name: secret_name(&region.name, component), keys };
    let mut secrets: Vec<_> = region
        .managed_stores()
        .filter_map(|(component, _)| keys(component).map(|keys| of(component, keys)))
        .collect();
    secrets.push(of(Component::Api, API));
    secrets
}

const fn keys(store: Component) -> Option<&'static [(&'static str, Shape)]> {
    match store {
        Component::Postgres => Some(POSTGRES),
        Component::ClickHouse => Some(CLICKHOUSE),
        Component::Kafka => Some(KAFKA),
        Component::Redis => Some(REDIS),
        Component::Buffer | Component::ObjectStore => Some(ACCESS_KEYS),
        // Its password is Postgres'.
        Component::Temporal => None,
        Component::Migrate | Component::Consumer | Component::Worker | Component::Api | Component::Ingest => {
            None
        }
    }
}

pub fn secret_name(region: &str, component: Component) -> String {
    format!("{region}-{}-credentials", component.name())
}

impl CredentialSecret {
    /// The keys that `data` lacks. An empty value is a lost one.
    pub fn missing(&self, data: &BTreeMap<String, Vec<u8>>) -> Vec<(&'static str, Shape)> {
        let has = |key: &str| data.get(key).is_some_and(|value| !value.is_empty());
        self.keys.iter().filter(|(key, _)| !has(key)).copied().collect()
    }
}

/// A Secret that an external store names, and the keys that pods read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub store: Component,
    pub secret: String,
    pub keys: Vec<String>,
}

/// The Secrets that the external stores of a region name.
pub fn referenced(region: &ValidRegion) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for (store, external) in &region.stores {
        let Store::External(external) = external else { continue };
        for variable in &external.connection.variables {
            let Value::Secret { secret, key, optional: false } = &variable.value else { continue };
            match references.iter_mut().find(|other| other.store == *store && other.secret == *secret) {
                Some(reference) => reference.keys.push(key.clone()),
                None => references.push(Reference {
                    store: *store,
                    secret: secret.clone(),
                    keys: vec![key.clone()],
                }),
            }
        }
    }
    references
}

/// What an external store's Secret lacks, so that no pod that reads it can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    Secret { name: String, keys: Vec<String> },
    Keys { name: String, keys: Vec<String> },
}

/// The credentials of a region as they stand in its Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    data: BTreeMap<Component, BTreeMap<String, Vec<u8>>>,
    lacks: BTreeMap<Component, Lack>,
}

impl Credentials {
    pub fn insert(&mut self, component: Component, data: BTreeMap<String, Vec<u8>>) {
        self.data.insert(component, data);
    }

    /// Takes from a Secret what `reference` reads of it, or notes what it lacks. None: there is no such Secret.
    pub fn read(&mut self, reference: &Reference, found: Option<&BTreeMap<String, Vec<u8>>>) {
        let Reference { store, secret, keys } = reference;
        let Some(found) = found else {
            let lack = Lack::Secret { name: secret.clone(), keys: keys.clone() };
            self.lacks.insert(*store, lack);
            return;
        };
        let mut lost = Vec::new();
        for key in keys {
            match found.get(key).filter(|value| !value.is_empty()) {
                Some(value) => {
                    self.data.entry(*store).or_default().insert(key.clone(), value.clone());
                }
                None => lost.push(key.clone()),
            }
        }
        if !lost.is_empty() {
            self.lacks.insert(*store, Lack::Keys { name: secret.clone(), keys: lost });
        }
    }

    /// What keeps the pods that talk to this external store from starting.
    pub fn lack(&self, store: Component) -> Option<&Lack> {
        self.lacks.get(&store)
    }

    /// The value of one key, as text. The catalogue sync reads the control token by it.
    pub fn text(&self, component: Component, key: &str) -> Option<String> {
        let value = self.data.get(&component)?.get(key)?;
        String::from_utf8(value.clone()).ok()
    }

    /// A hash over the credentials of some components, for the annotation by which pods roll.
    pub fn hash(&self, components: &[Component]) -> String {
        let mut parts: Vec<&[u8]> = Vec::new();
        for component in components {
            for (key, value) in self.data.get(component).into_iter().flatten() {
                parts.extend([component.name().as_bytes(), key.as_bytes(), value]);
            }
        }
        short_hash(&parts)
    }
}
