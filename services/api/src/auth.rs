//! Who asks. On the REST port a tenant's API key, of which only the SHA-256 is ever looked up or kept; on the control port
//! the operator's token. The tenant of a request comes from here and from nowhere else.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use meridian_records::{ApiKeyGrant, By, Records, Scope, TenantRecords};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    app::App,
    problem::{Code, Problem},
};

/// Keys that were looked up lately. Unknown ones are kept as well, so that a wrong key costs Postgres one query an interval.
const KEYS_CACHED_MAX: u64 = 100_000;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) struct KeyCache {
    records: Records,
    /// By hash, so that a dump of this process holds no key.
    grants: Cache<[u8; 32], Option<Arc<ApiKeyGrant>>>,
}

impl KeyCache {
    pub fn new(records: Records, believed_for: Duration) -> Self {
        Self {
            records,
            grants: Cache::builder().max_capacity(KEYS_CACHED_MAX).time_to_live(believed_for).build(),
        }
    }

    /// Concurrent look-ups of one key share one query. A failed one is not kept.
    async fn grant(&self, key: &str) -> Result<Option<Arc<ApiKeyGrant>>, Problem> {
        let hash = sha256(key.as_bytes());
        let look_up = async { Ok(self.records.api_key(&hex::encode(hash)).await?.map(Arc::new)) };
        self.grants.try_get_with(hash, look_up).await.map_err(|problem: Arc<Problem>| (*problem).clone())
    }
}

/// The tenant that asks, and by which key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub scope: Scope,
    pub key_name: String,
}

impl Caller {
    pub fn records(&self, app: &App) -> TenantRecords {
        app.records().tenant(self.scope.clone())
    }

    pub fn usage_scope(&self) -> meridian_usage_store::Scope {
        meridian_usage_store::Scope::of(self.scope.tenant().clone())
    }

    /// Who and why, for the audit log.
    pub fn by(&self, reason: &str) -> By {
        By::new(format!("api-key/{}", self.key_name), reason)
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// Every route of the REST port but the API's own description stands behind this.
pub(crate) async fn require_api_key(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match authenticate(&app, request.headers()).await {
        Ok(caller) => {
            tracing::Span::current().record("tenant", caller.scope.tenant().as_str());
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let key = bearer(headers).ok_or_else(|| unauthorized("send an API key: Authorization: Bearer mrd_…"))?;
    let grant = app.parts.keys.grant(key).await?;
    let grant = grant.ok_or_else(|| unauthorized("this API key is not known in this region"))?;
    if grant.revoked {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, Code::KeyRevoked, "this API key was revoked"));
    }
    Ok(Caller { scope: Scope::of(grant.tenant.clone()), key_name: grant.key_name.clone() })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only when a route was mounted outside of the layer above: then nobody gets in.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| unauthorized("send an API key: Authorization: Bearer mrd_…"))
    }
}

/// The control port's one credential. Hashes are compared, in constant time, so that neither the token's length nor the
/// place of the first wrong byte shows in the time of an answer.
pub(crate) async fn require_control_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let given = bearer(request.headers()).map(|token| sha256(token.as_bytes()));
    let right = given.is_some_and(|given| bool::from(given.ct_eq(&app.parts.control_token_hash)));
    if right {
        next.run(request).await
    } else {
        unauthorized("this port takes the operator's token only").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer_of(text: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().expect("a header"))]);
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_bearer_credentials_are_taken() {
        assert_eq!(bearer_of("Bearer mrd_x").as_deref(), Some("mrd_x"));
        assert_eq!(bearer_of("bearer  mrd_x ").as_deref(), Some("mrd_x"));
        assert_eq!(bearer_of("Basic bXJkX3g="), None);
        assert_eq!(bearer_of("mrd_x"), None);
    }
}
