//! A Tenant's API keys: made once into the Secrets that the Tenant names. The region is told only their hashes.
//!
//! As with credentials, a Secret is created by POST and its key never overwritten; one that is not the Tenant's is left alone.

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use meridian_crds::tenant::ApiKey;
use meridian_crds::{BillingRegion, Tenant};
use meridian_desired::catalogue::{KeyHash, key_hash, key_secret};
use meridian_desired::object::{Key, Kind, Object};
use meridian_desired::observed::json;
use meridian_desired::status::Obstacle;
use meridian_desired::subset::is_subset;
use serde_json::json;

use crate::apply::{self, Owner, in_the_way};
use crate::context::Context;
use crate::credentials::{data, random};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading Secret {name}")]
    Get { name: String, source: kube::Error },
    #[error("creating Secret {name}")]
    Create { name: String, source: kube::Error },
    #[error("updating Secret {name}")]
    Update { name: String, source: kube::Error },
    #[error("Secret {0} was there and is gone again")]
    Vanished(String),
}

/// The hashes of all keys, or what stands in the way.
pub enum Found {
    Hashes(Vec<KeyHash>),
    Obstacle(Obstacle),
}

pub async fn ensure(ctx: &Context, tenant: &Tenant, region: &BillingRegion) -> Result<Found, Error> {
    let namespace = tenant.namespace().unwrap_or_default();
    let (uid, region_name) = (tenant.uid().unwrap_or_default(), region.name_any());
    let owner = Owner { kind: "Tenant", uid: &uid, namespace: &namespace, region: &region_name };
    let secrets = apply::api(ctx, &namespace, Kind::Secret);
    let mut hashes = Vec::new();
    for key in &tenant.spec.api_keys {
        let name = &key.secret_ref.name;
        let stored = match ctx.caches.object(Kind::Secret, &namespace, name) {
            Some(stored) => DynamicObject::clone(&stored),
            None => get_or_create(&secrets, tenant, key, region).await?,
        };
        let object_key = Key { kind: Kind::Secret, name: name.clone() };
        // A Secret without an owner is nobody's key: credentials of the region look like that.
        let unowned = stored.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        if let Some(obstacle) = in_the_way(owner, &object_key, &stored) {
            return Ok(Found::Obstacle(obstacle));
        }
        if unowned {
            return Ok(Found::Obstacle(foreign(&object_key)));
        }
        let api_key = keep(&secrets, tenant, key, region, &stored).await?;
        hashes.push(KeyHash { name: key.name.clone(), hash: key_hash(&api_key) });
    }
    Ok(Found::Hashes(hashes))
}

fn foreign(key: &Key) -> Obstacle {
    Obstacle {
        reason: meridian_crds::conditions::Reason::NameConflict,
        message: format!(
            "{key} exists and is not this Tenant's, so it is left untouched: name another in apiKeys[].secretRef."
        ),
    }
}

async fn get_or_create(
    secrets: &Api<DynamicObject>,
    tenant: &Tenant,
    key: &ApiKey,
    region: &BillingRegion,
) -> Result<DynamicObject, Error> {
    let name = &key.secret_ref.name;
    let get =
        || async { secrets.get_opt(name).await.map_err(|source| Error::Get { name: name.clone(), source }) };
    if let Some(stored) = get().await? {
        return Ok(stored);
    }
    let Object { key: _, body } = key_secret(tenant, key, region, &new_key());
    let secret: DynamicObject = serde_json::from_value(body).expect("a Secret is an object");
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            get().await?.ok_or_else(|| Error::Vanished(name.clone()))
        }
        Err(source) => Err(Error::Create { name: name.clone(), source }),
    }
}

/// The key that a Secret holds. A lost one is made anew; what else the Secret says is brought up to date.
async fn keep(
    secrets: &Api<DynamicObject>,
    tenant: &Tenant,
    key: &ApiKey,
    region: &BillingRegion,
    stored: &DynamicObject,
) -> Result<String, Error> {
    let held = data(stored).remove("apiKey").and_then(|held| String::from_utf8(held).ok());
    let api_key = held.filter(|held| !held.is_empty()).unwrap_or_else(new_key);
    let Object { key: _, body } = key_secret(tenant, key, region, &api_key);
    if is_subset(&body["data"], &json(stored)["data"]) {
        return Ok(api_key);
    }
    // With the resourceVersion: a key that somebody put there meanwhile is not overwritten.
    let patch = json!({
        "metadata": {"resourceVersion": stored.metadata.resource_version},
        "data": body["data"],
    });
    let name = &key.secret_ref.name;
    secrets
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|source| Error::Update { name: name.clone(), source })?;
    Ok(api_key)
}

/// 43 letters and digits are 256 bits.
fn new_key() -> String {
    format!("mrd_{}", random(43))
}
