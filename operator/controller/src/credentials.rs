//! The Secrets of generated credentials: made once, read for ever after.
//!
//! They are created by POST, never applied: if the cache has not seen a Secret yet, the server says that it exists, and what it
//! holds is used. A credential is therefore never overwritten, whatever the operator has forgotten.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use meridian_desired::credentials::{CredentialSecret, Credentials, Shape, needed};
use meridian_desired::object::{Key, Kind, region_labels};
use meridian_desired::region::ValidRegion;
use meridian_desired::status::Obstacle;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::{Map, Value, json};

use crate::apply::{self, Owner, in_the_way};
use crate::context::Context;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading Secret {name}")]
    Get { name: String, source: kube::Error },
    #[error("creating Secret {name}")]
    Create { name: String, source: kube::Error },
    #[error("completing Secret {name}")]
    Complete { name: String, source: kube::Error },
    #[error("Secret {0} was there and is gone again")]
    Vanished(String),
}

/// Credentials that can be built with, or what stands in the way.
pub enum Found {
    Credentials(Credentials),
    Obstacle(Obstacle),
}

/// Reads the region's credentials and makes the ones that are missing.
pub async fn ensure(ctx: &Context, owner: Owner<'_>, region: &ValidRegion) -> Result<Found, Error> {
    let secrets = apply::api(ctx, owner.namespace, Kind::Secret);
    let mut credentials = Credentials::default();
    for wanted in needed(region) {
        let key = Key { kind: Kind::Secret, name: wanted.name.clone() };
        let stored = match ctx.caches.object(Kind::Secret, owner.namespace, &wanted.name) {
            Some(stored) => DynamicObject::clone(&stored),
            None => get_or_create(&secrets, owner, &wanted).await?,
        };
        if let Some(obstacle) = in_the_way(owner, &key, &stored) {
            return Ok(Found::Obstacle(obstacle));
        }
        let data = data(&stored);
        let missing = wanted.missing(&data);
        let data =
            if missing.is_empty() { data } else { complete(&secrets, &stored, &wanted, &missing).await? };
        credentials.insert(wanted.component, data);
    }
    Ok(Found::Credentials(credentials))
}

/// What is there, for a region in which nothing may be changed.
pub fn read(ctx: &Context, owner: Owner<'_>, region: &ValidRegion) -> Credentials {
    let mut credentials = Credentials::default();
    for wanted in needed(region) {
        if let Some(stored) = ctx.caches.object(Kind::Secret, owner.namespace, &wanted.name) {
            credentials.insert(wanted.component, data(&stored));
        }
    }
    credentials
}

async fn get_or_create(
    secrets: &Api<DynamicObject>,
    owner: Owner<'_>,
    wanted: &CredentialSecret,
) -> Result<DynamicObject, Error> {
    let name = &wanted.name;
    let get =
        || async { secrets.get_opt(name).await.map_err(|source| Error::Get { name: name.clone(), source }) };
    if let Some(stored) = get().await? {
        return Ok(stored);
    }
    match secrets.create(&PostParams::default(), &fresh(owner, wanted)).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            get().await?.ok_or_else(|| Error::Vanished(name.clone()))
        }
        Err(source) => Err(Error::Create { name: name.clone(), source }),
    }
}

/// A new Secret. Nothing owns it: it outlives the region, unless the region says `Delete`.
fn fresh(owner: Owner<'_>, wanted: &CredentialSecret) -> DynamicObject {
    let mut secret = DynamicObject::new(&wanted.name, &Kind::Secret.api_resource()).within(owner.namespace);
    secret.metadata.labels = Some(region_labels(owner.region, Some(wanted.component)));
    secret.data = json!({"type": "Opaque", "data": encoded(wanted.keys)});
    secret
}

/// Fills the keys that a Secret lost; the others stay as they are.
async fn complete(
    secrets: &Api<DynamicObject>,
    stored: &DynamicObject,
    wanted: &CredentialSecret,
    missing: &[(&'static str, Shape)],
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    tracing::warn!(secret = wanted.name, ?missing, "a credential is gone: making a new one");
    // With the resourceVersion: whoever puts the key back first wins.
    let patch = json!({
        "metadata": {"resourceVersion": stored.metadata.resource_version},
        "data": encoded(missing),
    });
    let patched = secrets
        .patch(&wanted.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|source| Error::Complete { name: wanted.name.clone(), source })?;
    Ok(data(&patched))
}

fn encoded(keys: &[(&'static str, Shape)]) -> Map<String, Value> {
    keys.iter().map(|(key, shape)| ((*key).to_owned(), STANDARD.encode(generate(*shape)).into())).collect()
}

fn generate(shape: Shape) -> String {
    match shape {
        Shape::Fixed(text) => text.to_owned(),
        Shape::Random(length) => random(length),
        // 16 bytes are 21 digits and 2 bits: `A` ends them with zeros.
        Shape::KafkaClusterId => format!("{}A", random(21)),
    }
}

/// Letters and digits from a cryptographic generator that the operating system seeds.
pub fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// The decoded data of a Secret. A value that is not base64 cannot come from an API server; it counts as lost.
pub fn data(secret: &DynamicObject) -> BTreeMap<String, Vec<u8>> {
    let entries = secret.data.get("data").and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?))).collect()
}
