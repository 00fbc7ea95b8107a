//! The Secrets that external stores name. They are others': read, never written.
//!
//! That one exists, and in which version, is watched; what it holds is asked for once a version. So a pass in which nothing
//! changed asks nothing, and a password that its owner rotates reaches the pods: the hash on their template changes with it.

use std::collections::{BTreeMap, HashMap};

use kube::Api;
use kube::core::DynamicObject;
use meridian_desired::credentials::{Credentials, referenced};
use meridian_desired::object::{Kind, short_hash};
use meridian_desired::region::ValidRegion;
use tokio::sync::Mutex;

use crate::apply;
use crate::context::Context;
use crate::credentials::{Error, data};

/// What is known of the Secrets of others, by namespace and name.
#[derive(Default)]
pub struct ForeignSecrets(Mutex<HashMap<(String, String), Known>>);

struct Known {
    version: String,
    /// A hash of each value. That it changed must be known, not what it is.
    hashes: BTreeMap<String, Vec<u8>>,
}

/// Adds to `credentials` what the external stores of `region` need, and what of that is missing.
pub async fn read(ctx: &Context, region: &ValidRegion, credentials: &mut Credentials) -> Result<(), Error> {
    for reference in referenced(region) {
        let found = find(ctx, &region.namespace, &reference.secret).await?;
        credentials.read(&reference, found.as_ref());
    }
    Ok(())
}

async fn find(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
    // Its owner may have given it our label.
    if let Some(labelled) = ctx.caches.object(Kind::Secret, namespace, name) {
        return Ok(Some(hashes(&labelled)));
    }
    let key = (namespace.to_owned(), name.to_owned());
    let mut known = ctx.foreign_secrets.0.lock().await;
    let Some(version) = ctx.caches.foreign_secret_version(namespace, name) else {
        known.remove(&key);
        return Ok(None);
    };
    if let Some(known) = known.get(&key).filter(|known| known.version == version) {
        return Ok(Some(known.hashes.clone()));
    }
    let secrets: Api<DynamicObject> = apply::api(ctx, namespace, Kind::Secret);
    let stored =
        secrets.get_opt(name).await.map_err(|source| Error::Get { name: name.to_owned(), source })?;
    let Some(stored) = stored else { return Ok(None) };
    let hashes = hashes(&stored);
    // As the watch names it: what was read may be newer, and is read again when the watch gets there.
    known.insert(key, Known { version, hashes: hashes.clone() });
    Ok(Some(hashes))
}

/// An empty value stays empty: it is a lost one.
fn hashes(secret: &DynamicObject) -> BTreeMap<String, Vec<u8>> {
    let hash = |value: Vec<u8>| if value.is_empty() { value } else { short_hash(&[&value]).into_bytes() };
    data(secret).into_iter().map(|(key, value)| (key, hash(value))).collect()
}
