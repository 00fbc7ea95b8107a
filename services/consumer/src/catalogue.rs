//! The catalogue as the pipeline holds it: meters by the event type they count, and subscriptions for enrichment.
//!
//! One snapshot is shared by all partitions and replaced whole. It is kept fresh by Postgres' announcements and, because
//! those are lost with a connection, by asking for the version once a second. No event ever waits for a query of its own.
//! A snapshot that could not be confirmed for [`STALE_MAX`] is not used: partitions wait, Kafka keeps the events.
//!
//! The meters decide what counts, so they have a hash that goes into each batch's intent. Subscriptions only describe rows
//! (which subscription, which prices); they cannot change what is stored, and are taken as they are when rows are made.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use meridian_billing::catalogue::MeterSpec;
use meridian_daemon::HealthFlag;
use meridian_records::{CatalogueSnapshot, Records, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128;

/// How long a snapshot may be used without Postgres having confirmed it.
pub const STALE_MAX: Duration = Duration::from_secs(60);
/// How often the version is asked for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A meter as counting needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// `mtr_…`
    pub id: String,
    /// `None`: shared by all tenants.
    pub tenant: Option<String>,
    pub name: String,
    pub version: i64,
    pub spec: MeterSpec,
}

/// All meters at one moment, by what they count.
#[derive(Debug, Default)]
pub struct Meters {
    all: Vec<Meter>,
    hash: String,
    shared: HashMap<String, Vec<usize>>,
    /// For tenants with meters of their own: every meter that holds for them. Their own go before shared ones of the same name.
    by_tenant: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl Meters {
    pub fn new(mut all: Vec<Meter>) -> Self {
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let hash = format!("{:032x}", xxh3_128(to_json(&all).as_bytes()));
        let shared = by_type(&all, |meter| meter.tenant.is_none());
        let mut by_tenant = HashMap::new();
        for tenant in all.iter().filter_map(|meter| meter.tenant.clone()) {
            if by_tenant.contains_key(&tenant) {
                continue;
            }
            let own = |meter: &Meter| meter.tenant.as_deref() == Some(tenant.as_str());
            let hidden = |meter: &Meter| all.iter().any(|other| own(other) && other.name == meter.name);
            let holds = by_type(&all, |meter| own(meter) || (meter.tenant.is_none() && !hidden(meter)));
            by_tenant.insert(tenant, holds);
        }
        Self { all, hash, shared, by_tenant }
    }

    /// In the order of their ids.
    pub fn all(&self) -> &[Meter] {
        &self.all
    }

    pub fn by_id(&self, id: &str) -> Option<&Meter> {
        let index = self.all.binary_search_by(|meter| meter.id.as_str().cmp(id)).ok()?;
        Some(&self.all[index])
    }

    /// The meters that count events of a type for a tenant, in the order of their ids.
    pub fn counting(&self, tenant: &str, event_type: &str) -> Vec<&Meter> {
        let holds = self.by_tenant.get(tenant).unwrap_or(&self.shared);
        holds.get(event_type).into_iter().flatten().map(|&index| &self.all[index]).collect()
    }

    pub fn is_counted(&self, tenant: &str, event_type: &str) -> bool {
        self.by_tenant.get(tenant).unwrap_or(&self.shared).contains_key(event_type)
    }

    /// Every event type that some meter counts, sorted.
    pub fn event_types(&self) -> Vec<String> {
        let types: std::collections::BTreeSet<&String> =
            self.all.iter().map(|meter| &meter.spec.event_type).collect();
        types.into_iter().cloned().collect()
    }

    /// 32 hex digits over all that decides.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn to_json(&self) -> String {
        to_json(&self.all)
    }

    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        Ok(Self::new(serde_json::from_str(json)?))
    }
}

fn to_json(meters: &[Meter]) -> String {
    serde_json::to_string(meters).expect("meters are texts, numbers and lists of them")
}

fn by_type(all: &[Meter], holds: impl Fn(&Meter) -> bool) -> HashMap<String, Vec<usize>> {
    let mut types: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, meter) in all.iter().enumerate().filter(|(_, meter)| holds(meter)) {
        types.entry(meter.spec.event_type.clone()).or_default().push(index);
    }
    types
}

/// Running subscriptions by tenant and customer.
#[derive(Debug, Default)]
pub struct Subscriptions {
    by_customer: HashMap<String, HashMap<String, Vec<Subscription>>>,
}

#[derive(Debug, Clone)]
pub struct Subscription {
    pub id: String,
    /// `PLAN@VERSION`
    pub plan_version: String,
    pub starts_us: i64,
    pub ends_us: i64,
    /// Prices of the plan by the id of the meter that feeds them.
    pub prices: BTreeMap<String, Vec<String>>,
}

/// What an event's row says about where it will be billed; empty texts when nowhere yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    pub subscription: String,
    pub plan_version: String,
    pub prices: Vec<String>,
}

impl Subscriptions {
    pub fn insert(&mut self, tenant: String, customer: String, subscription: Subscription) {
        self.by_customer.entry(tenant).or_default().entry(customer).or_default().push(subscription);
    }

    /// The subscription that runs at the event's time and charges for the meter, else one that merely runs.
    pub fn line(&self, tenant: &str, customer: &str, time_us: i64, meter_id: &str) -> Line {
        let Some(all) = self.by_customer.get(tenant).and_then(|customers| customers.get(customer)) else {
            return Line::default();
        };
        let running = || all.iter().filter(|s| s.starts_us <= time_us && time_us < s.ends_us);
        let charging = running().find(|s| s.prices.contains_key(meter_id));
        charging.or_else(|| running().next()).map_or_else(Line::default, |s| Line {
            subscription: s.id.clone(),
            plan_version: s.plan_version.clone(),
            prices: s.prices.get(meter_id).cloned().unwrap_or_default(),
        })
    }
}

/// The catalogue at one version.
#[derive(Debug, Default)]
pub struct Catalogue {
    pub version: i64,
    pub meters: Arc<Meters>,
    pub subscriptions: Arc<Subscriptions>,
}

impl From<CatalogueSnapshot> for Catalogue {
    fn from(snapshot: CatalogueSnapshot) -> Self {
        let meters = snapshot.meters.into_iter().map(|row| Meter {
            id: row.id,
            tenant: row.tenant.map(|tenant| tenant.into_string()),
            name: row.name.into_string(),
            version: i64::from(row.version),
            spec: row.spec,
        });
        let meters = Meters::new(meters.collect());
        let mut subscriptions = Subscriptions::default();
        for row in snapshot.subscriptions {
            let mut prices: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for charge in row.charges {
                prices.entry(charge.meter_id).or_default().push(charge.price.into_string());
            }
            let subscription = Subscription {
                id: row.id.into_string(),
                plan_version: format!("{}@{}", row.plan, row.plan_version),
                starts_us: row.starts_at.as_microsecond(),
                ends_us: row.ends_at.map_or(i64::MAX, |end| end.as_microsecond()),
                prices,
            };
            subscriptions.insert(row.tenant.into_string(), row.customer.into_string(), subscription);
        }
        Self { version: snapshot.version, meters: Arc::new(meters), subscriptions: Arc::new(subscriptions) }
    }
}

/// The current catalogue, shared by all partitions.
#[derive(Clone)]
pub struct CatalogueWatch {
    records: Records,
    current: watch::Receiver<Option<Arc<Catalogue>>>,
    publish: Arc<watch::Sender<Option<Arc<Catalogue>>>>,
    /// When Postgres last confirmed the current version.
    confirmed: Arc<Mutex<Option<Instant>>>,
    /// One refresh at a time: partitions that wonder together ask once.
    refreshing: Arc<tokio::sync::Mutex<()>>,
    health: HealthFlag,
}

impl CatalogueWatch {
    pub fn new(records: Records, health: HealthFlag) -> Self {
        let (publish, current) = watch::channel(None);
        Self {
            records,
            current,
            publish: Arc::new(publish),
            confirmed: Arc::default(),
            refreshing: Arc::default(),
            health,
        }
    }

    /// Keeps the snapshot fresh until `stop`.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        let mut changes = None;
        while !stop.is_cancelled() {
            if self.refresh_since(Instant::now()).await.is_ok() && changes.is_none() {
                changes = self.records.catalogue_changes().await.ok();
            }
            let announced = async {
                match &mut changes {
                    Some(listener) => listener.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(CHECK_EVERY) => {}
                heard = announced => if !heard { changes = None },
            }
        }
    }

    /// The catalogue, as soon as there is one that was confirmed within [`STALE_MAX`].
    pub async fn fresh(&self) -> Arc<Catalogue> {
        loop {
            let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(current) = self.current.borrow().clone()
                && confirmed.is_some_and(|at| at.elapsed() < STALE_MAX)
            {
                return current;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns as soon as the meters have another hash than the given one.
    pub async fn meters_other_than(&self, hash: Option<&str>) -> Arc<Catalogue> {
        let mut current = self.current.clone();
        let changed =
            |held: &Option<Arc<Catalogue>>| held.as_ref().is_some_and(|c| Some(c.meters.hash()) != hash);
        match current.wait_for(changed).await.map(|held| held.clone()) {
            Ok(Some(catalogue)) => catalogue,
            // The sender lives as long as we do.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// What is known now, however old.
    pub fn current(&self) -> Option<Arc<Catalogue>> {
        self.current.borrow().clone()
    }

    /// Makes sure that Postgres was asked after `since`. Answers of an earlier question by somebody else are enough when they
    /// were begun later than that.
    pub async fn refresh_since(&self, since: Instant) -> Result<(), StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.is_some_and(|at| at > since) {
            return Ok(());
        }
        let asked = Instant::now();
        match self.ask().await {
            Ok(()) => {
                *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                self.health.set_ok();
                Ok(())
            }
            Err(error) => {
                self.health.set_failing(format!("the catalogue cannot be read: {error}"));
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<(), StoreError> {
        let held = self.current.borrow().as_ref().map(|catalogue| catalogue.version);
        if held.is_some() && held == Some(self.records.catalogue_version().await?) {
            return Ok(());
        }
        let catalogue = Catalogue::from(self.records.catalogue().await?);
        tracing::info!(version = catalogue.version, meters = catalogue.meters.hash(), "catalogue read");
        self.publish.send_replace(Some(Arc::new(catalogue)));
        Ok(())
    }
}
