//! From a spec to a [`ValidRegion`], or to every reason why not.
//!
//! The API server has already held the schema and its CEL rules against the object. What is checked here is what they cannot
//! see (siblings, the image catalogue, how the stores fit together) and what building leans on, in case that an object was
//! stored under an older schema.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube_core::Resource;
use meridian_crds::BillingRegion;
use meridian_crds::conditions::Reason;
use meridian_crds::region::{
    BillingRegionSpec, BufferStore, ClickHouseStore, ExposedService, Exposure as ExposureSpec, ExposureType,
    InternalService, KafkaStore, ManagedKafka, ManagedStore, ManagedTemporal, NotExactlyOne, ObjectStore,
    OperatorRef, PostgresStore, Profile, REGION_NAME_LENGTH_MAX, RedisStore, Services, StoreSource, Stores,
    TemporalStore, Tenancy as TenancySpec, TenancyMode,
};

use crate::component::Component;
use crate::connect;
use crate::discovery::service_url;
use crate::images::Images;
use crate::profile::{self, resources};
use crate::region::{Exposure, External, Managed, Operator, Service, Store, Tenancy, ValidRegion};

/// Why a spec cannot be carried out, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: Reason,
    pub message: String,
}

/// What else must be known to judge a region.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The other regions of the same namespace.
    pub siblings: Vec<&'a BillingRegion>,
    pub operator: &'a Operator,
    /// The catalogue that the operator was installed with.
    pub images: &'a Images,
    /// The data of the ConfigMap that `images.catalogRef` names, if it is there.
    pub image_catalogue: Option<&'a BTreeMap<String, String>>,
}

/// Judges a region. All problems are told at once.
pub fn validate(
    region: &BillingRegion,
    surroundings: &Surroundings<'_>,
) -> Result<ValidRegion, Vec<Problem>> {
    let mut problems = Problems::default();
    let identity = problems.identity(region);
    problems.namespace_is_free(region, &surroundings.siblings);
    // Deletion is the controller's; `paused` and `protected` change nothing of what is wanted.
    let BillingRegionSpec {
        location,
        tenancy,
        profile,
        stores,
        services,
        images,
        deletion_policy: _,
        protected: _,
        paused: _,
    } = &region.spec;

    let tenancy = problems.tenancy(tenancy);
    let event_partitions = event_partitions(stores);
    let stores = problems.stores(&identity, *profile, stores);
    let services = valid_services(&identity, *profile, services);
    let catalogue = images.as_ref().map(|images| images.catalog_ref.name.as_str());
    let images = problems.images(catalogue, surroundings, &stores);
    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    Ok(ValidRegion {
        name: identity.name,
        namespace: identity.namespace,
        uid: identity.owner.uid.clone(),
        generation: region.metadata.generation.unwrap_or_default(),
        owner: identity.owner,
        location: location.clone(),
        tenancy,
        profile: *profile,
        stores,
        services,
        event_partitions,
        images,
        operator: surroundings.operator.clone(),
    })
}

struct Identity {
    name: String,
    namespace: String,
    owner: OwnerReference,
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, reason: Reason, message: impl Into<String>) {
        self.0.push(Problem { reason, message: message.into() });
    }

    fn identity(&mut self, region: &BillingRegion) -> Identity {
        let ObjectMeta { name, namespace, .. } = &region.metadata;
        let name = name.clone().unwrap_or_default();
        if name.is_empty() || name.len() > REGION_NAME_LENGTH_MAX {
            self.add(
                Reason::InvalidSpec,
                format!("metadata.name: the name of a region has 1 to {REGION_NAME_LENGTH_MAX} characters"),
            );
        }
        let owner = region.controller_owner_ref(&()).unwrap_or_default();
        if owner.uid.is_empty() {
            self.add(
                Reason::InvalidSpec,
                "metadata.uid is missing: the object does not come from an API server",
            );
        }
        Identity { name, namespace: namespace.clone().unwrap_or_default(), owner }
    }

    /// A region owns the namespace that it stands in. Of two, the older one does; equally old ones go by name.
    fn namespace_is_free(&mut self, region: &BillingRegion, siblings: &[&BillingRegion]) {
        let age = |region: &BillingRegion| {
            (region.metadata.creation_timestamp.as_ref().map(|time| time.0), region.metadata.name.clone())
        };
        let older =
            siblings.iter().filter(|sibling| age(sibling) < age(region)).min_by_key(|sibling| age(sibling));
        if let Some(older) = older {
            let name = older.metadata.name.as_deref().unwrap_or_default();
            self.add(
                Reason::NamespaceTaken,
                format!("BillingRegion {name} already owns this namespace: create this region in a namespace of its own"),
            );
        }
    }

    fn tenancy(&mut self, tenancy: &TenancySpec) -> Tenancy {
        let TenancySpec { mode, tenant_name } = tenancy;
        match (mode, tenant_name) {
            (TenancyMode::Shared, None) => Tenancy::Shared,
            (TenancyMode::Dedicated, Some(tenant)) => Tenancy::Dedicated { tenant: tenant.clone() },
            (TenancyMode::Shared, Some(_)) => {
                self.add(
                    Reason::InvalidSpec,
                    "spec.tenancy.tenantName is only allowed when mode is Dedicated",
                );
                Tenancy::Shared
            }
            (TenancyMode::Dedicated, None) => {
                self.add(Reason::InvalidSpec, "spec.tenancy.tenantName is required when mode is Dedicated");
                Tenancy::Shared
            }
        }
    }

    fn stores(
        &mut self,
        identity: &Identity,
        profile: Profile,
        stores: &Stores,
    ) -> BTreeMap<Component, Store> {
        let Stores { postgres, clickhouse, kafka, redis, buffer, object_store, temporal } = stores;
        let sized = Sized { identity, profile };
        let mut found = BTreeMap::new();
        let mut put = |component, store: Option<Store>| {
            if let Some(store) = store {
                found.insert(component, store);
            }
        };
        use Component as C;
        let plain = |component| move |managed: &ManagedStore| sized.plain(component, managed);
        put(
            C::Postgres,
            self.store(
                "postgres",
                PostgresStore::source(postgres.as_ref()),
                plain(C::Postgres),
                connect::postgres,
            ),
        );
        put(
            C::ClickHouse,
            self.store(
                "clickhouse",
                ClickHouseStore::source(clickhouse.as_ref()),
                plain(C::ClickHouse),
                connect::clickhouse,
            ),
        );
        put(
            C::Kafka,
            self.store(
                "kafka",
                KafkaStore::source(kafka.as_ref()),
                |managed| sized.kafka(managed),
                connect::kafka,
            ),
        );
        put(
            C::Redis,
            self.store("redis", RedisStore::source(redis.as_ref()), plain(C::Redis), connect::redis),
        );
        put(
            C::Buffer,
            self.store("buffer", BufferStore::source(buffer.as_ref()), plain(C::Buffer), connect::buffer),
        );
        put(
            C::ObjectStore,
            self.store(
                "objectStore",
                ObjectStore::source(object_store.as_ref()),
                plain(C::ObjectStore),
                connect::object_store,
            ),
        );
        put(
            C::Temporal,
            self.store(
                "temporal",
                TemporalStore::source(temporal.as_ref()),
                |managed| sized.temporal(managed),
                connect::temporal,
            ),
        );
        self.stores_fit(&found);
        found
    }

    fn store<M, E>(
        &mut self,
        field: &str,
        source: Result<StoreSource<M, E>, NotExactlyOne>,
        managed: impl Fn(&M) -> Managed,
        external: impl Fn(&E) -> External,
    ) -> Option<Store> {
        match source {
            Ok(StoreSource::Managed(spec)) => Some(Store::Managed(managed(&spec))),
            Ok(StoreSource::External(spec)) => Some(Store::External(external(&spec))),
            Ok(StoreSource::OperatorRef(OperatorRef { api_version, kind, name })) => {
                self.add(
                    Reason::NotSupported,
                    format!(
                        "spec.stores.{field}.operatorRef ({api_version} {kind} {name}) is not acted upon by this version: \
                         use `managed`, or `external` with the address and the Secret of what that operator runs"
                    ),
                );
                None
            }
            Err(NotExactlyOne) => {
                self.add(
                    Reason::InvalidSpec,
                    format!(
                        "spec.stores.{field}: exactly one of managed, external and operatorRef must be set"
                    ),
                );
                None
            }
        }
    }

    fn stores_fit(&mut self, stores: &BTreeMap<Component, Store>) {
        let managed = |component| matches!(stores.get(&component), Some(Store::Managed(_)));
        let external = |component| matches!(stores.get(&component), Some(Store::External(_)));
        if managed(Component::Temporal) && external(Component::Postgres) {
            self.add(
                Reason::NotSupported,
                "spec.stores.temporal: a managed Temporal keeps its tables in the managed Postgres, and this region's \
                 Postgres is external: make temporal external too",
            );
        }
        if let Some(Store::Managed(Managed { replicas: 2, .. })) = stores.get(&Component::Kafka) {
            self.add(
                Reason::InvalidSpec,
                "spec.stores.kafka.managed.brokers: two brokers have no majority when one is lost: use 1, or 3 or more",
            );
        }
    }

    fn images(
        &mut self,
        catalogue: Option<&str>,
        surroundings: &Surroundings<'_>,
        stores: &BTreeMap<Component, Store>,
    ) -> Images {
        let images = match (catalogue, surroundings.image_catalogue) {
            (None, _) => surroundings.images.clone(),
            (Some(_), Some(data)) => surroundings.images.overlaid(data),
            (Some(name), None) => {
                self.add(
                    Reason::ReferenceNotFound,
                    format!(
                        "spec.images.catalogRef: there is no ConfigMap {name} with the label \
                         app.kubernetes.io/part-of=meridian in this namespace: create or label it"
                    ),
                );
                surroundings.images.clone()
            }
        };
        let needed = Component::ALL
            .into_iter()
            .filter(|part| !part.is_store() || matches!(stores.get(part), Some(Store::Managed(_))));
        let mut missing: Vec<&str> =
            needed.filter(|part| images.get(*part).is_none()).map(Images::key).collect();
        missing.dedup();
        if !missing.is_empty() {
            self.add(
                Reason::ImageMissing,
                format!(
                    "no image for {}: add it to the operator's catalogue, or to the ConfigMap that spec.images.catalogRef names",
                    missing.join(", ")
                ),
            );
        }
        images
    }
}

/// Partitions of the event topic where the spec does not say.
const EVENT_PARTITIONS: i32 = 12;

fn event_partitions(stores: &Stores) -> i32 {
    let managed = |managed: &ManagedKafka| managed.partitions.unwrap_or(EVENT_PARTITIONS);
    match KafkaStore::source(stores.kafka.as_ref()) {
        Ok(StoreSource::Managed(kafka)) => managed(&kafka),
        Ok(StoreSource::External(kafka)) => kafka.partitions,
        // Refused elsewhere.
        Ok(StoreSource::OperatorRef(_)) | Err(NotExactlyOne) => EVENT_PARTITIONS,
    }
}

/// Fills in the profile's sizes.
#[derive(Clone, Copy)]
struct Sized<'a> {
    identity: &'a Identity,
    profile: Profile,
}

impl Sized<'_> {
    fn plain(self, component: Component, managed: &ManagedStore) -> Managed {
        let ManagedStore { storage, storage_class_name, resources } = managed;
        let kafka = ManagedKafka {
            brokers: Some(1),
            partitions: None,
            storage: storage.clone(),
            storage_class_name: storage_class_name.clone(),
            resources: resources.clone(),
        };
        self.managed(component, &kafka)
    }

    fn kafka(self, managed: &ManagedKafka) -> Managed {
        self.managed(Component::Kafka, managed)
    }

    fn temporal(self, managed: &ManagedTemporal) -> Managed {
        let ManagedTemporal { resources } = managed;
        self.managed(
            Component::Temporal,
            &ManagedKafka { resources: resources.clone(), ..ManagedKafka::default() },
        )
    }

    /// Kafka's settings are those of every other store and two more.
    fn managed(self, component: Component, managed: &ManagedKafka) -> Managed {
        let ManagedKafka { brokers, partitions, storage, storage_class_name, resources: asked } = managed;
        let size = profile::of(self.profile, component);
        let replicas = brokers.unwrap_or(size.replicas);
        let partitions = partitions.unwrap_or(EVENT_PARTITIONS);
        let by_profile = (!size.storage.is_empty()).then(|| size.storage.to_owned());
        let Identity { name, namespace, owner: _ } = self.identity;
        Managed {
            replicas,
            storage: storage.clone().or(by_profile),
            storage_class: storage_class_name.clone(),
            resources: resources(size, asked.as_ref()),
            connection: connect::managed(name, namespace, component, replicas, partitions),
        }
    }
}

fn valid_services(
    identity: &Identity,
    profile: Profile,
    services: &Services,
) -> BTreeMap<Component, Service> {
    let Services { ingest, api, consumer, worker } = services;
    let exposed = |component, spec: &ExposedService| {
        let ExposedService { replicas, resources: asked, exposure } = spec;
        let size = profile::of(profile, component);
        Service {
            replicas: replicas.unwrap_or(size.replicas),
            resources: resources(size, asked.as_ref()),
            exposure: Some(valid_exposure(identity, component, exposure)),
        }
    };
    let internal = |component, spec: &InternalService| {
        let InternalService { replicas, resources: asked } = spec;
        let size = profile::of(profile, component);
        Service {
            replicas: replicas.unwrap_or(size.replicas),
            resources: resources(size, asked.as_ref()),
            exposure: None,
        }
    };
    BTreeMap::from([
        (Component::Ingest, exposed(Component::Ingest, ingest)),
        (Component::Api, exposed(Component::Api, api)),
        (Component::Consumer, internal(Component::Consumer, consumer)),
        (Component::Worker, internal(Component::Worker, worker)),
    ])
}

fn valid_exposure(identity: &Identity, component: Component, exposure: &ExposureSpec) -> Exposure {
    let ExposureSpec { type_, node_port, url } = exposure;
    let service_type = match type_ {
        ExposureType::ClusterIP => "ClusterIP",
        ExposureType::NodePort => "NodePort",
        ExposureType::LoadBalancer => "LoadBalancer",
    };
    Exposure {
        service_type,
        node_port: *node_port,
        url: url.clone().unwrap_or_else(|| service_url(&identity.name, &identity.namespace, component)),
    }
}
