//! Bodies of the control port, in the operator's camelCase.

use meridian_records::{ApiKeyHash, CatalogueEntry, Source, Synced};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A Meter or Plan object.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"uid": "6b8b4567-327b-23c6-643c-986966334873", "generation": 3, "spec": {}}))]
pub(crate) struct PutEntry {
    pub uid: String,
    pub generation: i64,
    /// The object's `spec`, verbatim.
    #[schema(value_type = Object)]
    pub spec: Value,
}

/// A Tenant object and the hashes of its keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"uid": "6b8b4567-327b-23c6-643c-986966334873", "generation": 3, "spec": {}, "apiKeys": []}))]
pub(crate) struct PutTenant {
    pub uid: String,
    pub generation: i64,
    /// The object's `spec`, verbatim.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// Every key that is to live; the tenant's others are revoked.
    #[serde(default)]
    pub api_keys: Vec<KeyHash>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeyHash {
    pub name: String,
    /// SHA-256 of the whole key in lower-case hex.
    pub hash: String,
}

/// What the region now has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stored {
    name: String,
    generation: i64,
    version: i32,
    /// False: it was so already, and nothing was written.
    changed: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Archived {
    name: String,
    /// False: there was nothing to archive.
    changed: bool,
}

/// Everything that the operator ever put here, archived things included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing {
    pub meters: Vec<Entry>,
    pub plans: Vec<Entry>,
    pub tenants: Vec<Entry>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    name: String,
    uid: String,
    generation: i64,
    version: i32,
    archived: bool,
    /// Of tenants: the keys that live.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_keys: Option<Vec<KeyHash>>,
}

impl Entry {
    pub fn of(entry: CatalogueEntry) -> Self {
        let CatalogueEntry { name, uid, generation, version, archived, api_keys: _ } = entry;
        Self { name, uid, generation, version, archived, api_keys: None }
    }

    pub fn of_tenant(entry: CatalogueEntry) -> Self {
        let keys = entry
            .api_keys
            .iter()
            .map(|key| KeyHash { name: key.name.clone(), hash: key.hash.clone() })
            .collect();
        Self { api_keys: Some(keys), ..Self::of(entry) }
    }
}

impl Stored {
    pub fn of(synced: Synced) -> Self {
        let Synced { name, generation, version, changed } = synced;
        Self { name, generation, version, changed }
    }
}

impl Archived {
    pub fn new(name: impl Into<String>, changed: bool) -> Self {
        Self { name: name.into(), changed }
    }
}

impl KeyHash {
    /// A hash of another shape could never match a key: better said here than by every request being refused.
    pub fn checked(self, index: usize) -> Result<ApiKeyHash, crate::problem::Problem> {
        let digits = self.hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if self.hash.len() != 64 || !digits {
            let field = format!("apiKeys[{index}].hash");
            return Err(crate::problem::Problem::invalid(
                field,
                "must be a SHA-256 in 64 lower-case hex digits",
            ));
        }
        Ok(ApiKeyHash { name: self.name, hash: self.hash })
    }
}

impl PutEntry {
    pub fn source(&self) -> Source {
        Source { uid: self.uid.clone(), generation: self.generation }
    }
}
