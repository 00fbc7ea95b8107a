//! The control port of a region's api: how Meters, Plans and Tenants get there.
//!
//! What the api says that it has is read once and believed for a while; only what differs is sent. So a pass, and a restart of
//! the operator, in which nothing changed sends nothing but one GET a region, and an api whose database was put back is healed
//! when the belief runs out. Neighbour: `meridian_desired::catalogue` says what is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_crds::conditions::Reason;
use meridian_daemon::{ExposeSecret, SecretString};
use meridian_desired::catalogue::{Entry, EntryKind, KeyHash};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::fence::Fence;

/// Speaks to the control ports of all regions.
pub struct ControlPort {
    http: reqwest::Client,
    /// With `{region}` and `{namespace}` to be filled in.
    url: String,
    /// A leader that is no longer one sends nothing here either.
    fence: Fence,
    beliefs: Mutex<HashMap<String, Arc<Mutex<Option<Belief>>>>>,
}

/// Which api is meant, and the credential for it.
#[derive(Clone)]
pub struct Address {
    pub namespace: String,
    pub region: String,
    pub token: SecretString,
}

struct Belief {
    since: Instant,
    token: String,
    catalogue: Catalogue,
}

/// What an api has, by kind and name.
type Catalogue = BTreeMap<(EntryKind, String), Row>;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Row {
    name: String,
    uid: String,
    generation: i64,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    version: Option<i64>,
    /// Of tenants. None when the api does not tell.
    #[serde(default, rename = "apiKeys")]
    api_keys: Option<Vec<KeyHash>>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    meters: Vec<Row>,
    #[serde(default)]
    plans: Vec<Row>,
    #[serde(default)]
    tenants: Vec<Row>,
}

#[derive(Deserialize)]
struct Stored {
    version: Option<i64>,
}

/// The api's answer to a bad request: problem+json.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    detail: String,
    field: Option<String>,
}

/// What sending an entry came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The api has it. `written` tells whether it had to be sent.
    Stored { version: Option<i64>, written: bool },
    /// The api understood and said no: nothing is to be sent again until something changes.
    Refused { reason: Reason, message: String },
    /// The api lacks something that another object brings: to be sent again soon.
    Waits { message: String },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("asking {url}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{url} answered {status}: {body}")]
    Answer { url: String, status: StatusCode, body: String },
    #[error("not the leader: nothing was sent")]
    NotLeader,
}

impl ControlPort {
    pub fn new(url: &str, fence: Fence) -> Result<ControlPort, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(15))
            // In-cluster names only: a proxy of the environment is not for them.
            .no_proxy()
            .build()?;
        Ok(ControlPort { http, url: url.to_owned(), fence, beliefs: Mutex::default() })
    }

    /// Sees to it that the api has `entry`. `patience` is how long its own word is believed.
    pub async fn ensure(&self, to: &Address, entry: &Entry, patience: Duration) -> Result<Sent, Error> {
        let slot = self.slot(to).await;
        let mut belief = slot.lock().await;
        let catalogue = self.believed(&mut belief, to, patience).await?;
        let key = (entry.kind, entry.name.clone());
        if let Some(row) = catalogue.get(&key).filter(|row| row.is(entry)) {
            return Ok(Sent::Stored { version: row.version, written: false });
        }
        let sent = self.put(to, entry).await?;
        if let Sent::Stored { version, .. } = &sent {
            catalogue.insert(key, Row::of(entry, *version));
        }
        Ok(sent)
    }

    /// Archives an entry. One that the api never had is archived already.
    pub async fn archive(&self, to: &Address, kind: EntryKind, name: &str) -> Result<(), Error> {
        let slot = self.slot(to).await;
        let mut belief = slot.lock().await;
        let path = format!("{}/{name}", kind.path());
        match self.send(to, Method::DELETE, &path, None).await {
            Ok(_) => {}
            Err(Error::Answer { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(belief) = belief.as_mut() {
            belief.catalogue.remove(&(kind, name.to_owned()));
        }
        Ok(())
    }

    async fn slot(&self, to: &Address) -> Arc<Mutex<Option<Belief>>> {
        let key = format!("{}/{}", to.namespace, to.region);
        self.beliefs.lock().await.entry(key).or_default().clone()
    }

    async fn believed<'a>(
        &self,
        belief: &'a mut Option<Belief>,
        to: &Address,
        patience: Duration,
    ) -> Result<&'a mut Catalogue, Error> {
        let token = to.token.expose_secret();
        let holds =
            belief.as_ref().is_some_and(|belief| belief.token == token && belief.since.elapsed() < patience);
        if !holds {
            let before = belief.take();
            let mut catalogue = self.read(to).await?;
            // An api that does not tell the keys of its tenants is believed to have those that it was sent.
            for (key, row) in &mut catalogue {
                let known = before
                    .as_ref()
                    .and_then(|before| before.catalogue.get(key))
                    .filter(|known| known.uid == row.uid);
                row.api_keys = row.api_keys.take().or_else(|| known.and_then(|known| known.api_keys.clone()));
            }
            *belief = Some(Belief { since: Instant::now(), token: token.to_owned(), catalogue });
        }
        Ok(&mut belief.as_mut().expect("it was filled above").catalogue)
    }

    async fn read(&self, to: &Address) -> Result<Catalogue, Error> {
        let answer = self.send(to, Method::GET, "catalogue", None).await?;
        let url = answer.url().to_string();
        let Listing { meters, plans, tenants } =
            answer.json().await.map_err(|source| Error::Unreachable { url, source })?;
        let keyed = |kind| move |row: Row| ((kind, row.name.clone()), row);
        Ok(meters
            .into_iter()
            .map(keyed(EntryKind::Meter))
            .chain(plans.into_iter().map(keyed(EntryKind::Plan)))
            .chain(tenants.into_iter().map(keyed(EntryKind::Tenant)))
            .collect())
    }

    async fn put(&self, to: &Address, entry: &Entry) -> Result<Sent, Error> {
        let path = format!("{}/{}", entry.kind.path(), entry.name);
        match self.send(to, Method::PUT, &path, Some(entry.body())).await {
            Ok(answer) => {
                let url = answer.url().to_string();
                let Stored { version } =
                    answer.json().await.map_err(|source| Error::Unreachable { url, source })?;
                Ok(Sent::Stored { version, written: true })
            }
            Err(Error::Answer { status, body, url }) => {
                refusal(status, &body).ok_or(Error::Answer { url, status, body })
            }
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        to: &Address,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<reqwest::Response, Error> {
        if method != Method::GET && !self.fence.is_open() {
            return Err(Error::NotLeader);
        }
        let base = self.url.replace("{region}", &to.region).replace("{namespace}", &to.namespace);
        let url = format!("{base}/control/v1/{path}");
        let mut request = self.http.request(method, &url).bearer_auth(to.token.expose_secret());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer =
            request.send().await.map_err(|source| Error::Unreachable { url: url.clone(), source })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        // A few words are enough, whatever answered.
        let body: String = answer.text().await.unwrap_or_default().chars().take(2000).collect();
        Err(Error::Answer { url, status, body })
    }
}

impl Row {
    fn of(entry: &Entry, version: Option<i64>) -> Row {
        Row {
            name: entry.name.clone(),
            uid: entry.uid.clone(),
            generation: entry.generation,
            archived: false,
            version,
            api_keys: Some(entry.api_keys.clone()),
        }
    }

    fn is(&self, entry: &Entry) -> bool {
        let Row { name: _, uid, generation, archived, version: _, api_keys } = self;
        let sorted = |keys: &[KeyHash]| {
            let mut keys = keys.to_vec();
            keys.sort();
            keys
        };
        let keys = match entry.kind {
            EntryKind::Tenant => {
                api_keys.as_ref().is_some_and(|keys| sorted(keys) == sorted(&entry.api_keys))
            }
            EntryKind::Meter | EntryKind::Plan => true,
        };
        *uid == entry.uid && *generation == entry.generation && !archived && keys
    }
}

/// The reasons of a refusal.
pub const REFUSALS: [Reason; 3] = [Reason::CatalogueRefused, Reason::MeterMisfit, Reason::TenancyRefused];

/// What the api says no to for good: a bad spec, or a tenancy that it does not admit.
fn refusal(status: StatusCode, body: &str) -> Option<Sent> {
    let ProblemBody { code, detail, field } = serde_json::from_str(body).unwrap_or_default();
    let message = match field {
        Some(field) if !field.is_empty() => format!("{field}: {detail}"),
        Some(_) | None => detail,
    };
    let refused = |reason| Some(Sent::Refused { reason, message: message.clone() });
    match status {
        StatusCode::UNPROCESSABLE_ENTITY if code == "meter_misfit" => refused(Reason::MeterMisfit),
        StatusCode::UNPROCESSABLE_ENTITY => refused(Reason::CatalogueRefused),
        StatusCode::CONFLICT if code == "tenancy_refused" => refused(Reason::TenancyRefused),
        StatusCode::CONFLICT if code == "name_taken" => refused(Reason::CatalogueRefused),
        StatusCode::CONFLICT => Some(Sent::Waits { message }),
        _ => None,
    }
}
