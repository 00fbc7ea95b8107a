//! What a region gets where its spec says nothing: replicas, resources and volumes by profile.
//!
//! `Dev` is sized so that a whole region and its cluster fit under 4 GiB; the memory figures of the stores are those under
//! which their images were tried.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use meridian_crds::region::Profile;
use meridian_crds::resources::{Compute, Resources};

use crate::component::Component;
use crate::subset::quantity_millis;

/// Sizes of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub replicas: i32,
    pub cpu: &'static str,
    pub memory: &'static str,
    pub memory_limit: &'static str,
    /// Empty: no volume.
    pub storage: &'static str,
}

const fn size(
    replicas: i32,
    cpu: &'static str,
    memory: &'static str,
    memory_limit: &'static str,
    storage: &'static str,
) -> Size {
    Size { replicas, cpu, memory, memory_limit, storage }
}

pub const fn of(profile: Profile, component: Component) -> Size {
    match profile {
        Profile::Dev => dev(component),
        Profile::Standard => standard(component),
        Profile::Large => large(component),
    }
}

const fn dev(component: Component) -> Size {
    match component {
        Component::Postgres => size(1, "50m", "128Mi", "512Mi", "2Gi"),
        Component::ClickHouse => size(1, "100m", "512Mi", "1536Mi", "5Gi"),
        Component::Kafka => size(1, "100m", "384Mi", "768Mi", "2Gi"),
        Component::Redis => size(1, "10m", "32Mi", "128Mi", "256Mi"),
        Component::Buffer => size(1, "20m", "96Mi", "256Mi", "1Gi"),
        Component::ObjectStore => size(1, "10m", "64Mi", "256Mi", "2Gi"),
        Component::Temporal => size(1, "50m", "192Mi", "512Mi", ""),
        Component::Migrate => size(1, "20m", "64Mi", "256Mi", ""),
        Component::Consumer => size(1, "20m", "64Mi", "384Mi", ""),
        Component::Worker => size(1, "20m", "48Mi", "256Mi", ""),
        Component::Api => size(1, "20m", "48Mi", "256Mi", ""),
        Component::Ingest => size(1, "20m", "64Mi", "384Mi", ""),
    }
}

const fn standard(component: Component) -> Size {
    match component {
        Component::Postgres => size(1, "1", "2Gi", "4Gi", "50Gi"),
        Component::ClickHouse => size(1, "2", "8Gi", "16Gi", "200Gi"),
        Component::Kafka => size(1, "1", "2Gi", "4Gi", "100Gi"),
        Component::Redis => size(1, "250m", "512Mi", "1Gi", "5Gi"),
        Component::Buffer => size(1, "500m", "512Mi", "1Gi", "50Gi"),
        Component::ObjectStore => size(1, "500m", "512Mi", "1Gi", "200Gi"),
        Component::Temporal => size(1, "500m", "1Gi", "2Gi", ""),
        Component::Migrate => size(1, "100m", "128Mi", "512Mi", ""),
        Component::Consumer => size(2, "500m", "512Mi", "2Gi", ""),
        Component::Worker => size(2, "250m", "256Mi", "1Gi", ""),
        Component::Api => size(2, "250m", "256Mi", "1Gi", ""),
        Component::Ingest => size(2, "500m", "256Mi", "1Gi", ""),
    }
}

const fn large(component: Component) -> Size {
    match component {
        Component::Postgres => size(1, "4", "16Gi", "32Gi", "500Gi"),
        Component::ClickHouse => size(1, "8", "32Gi", "64Gi", "2Ti"),
        Component::Kafka => size(1, "4", "8Gi", "16Gi", "1Ti"),
        Component::Redis => size(1, "1", "4Gi", "8Gi", "20Gi"),
        Component::Buffer => size(1, "2", "2Gi", "4Gi", "500Gi"),
        Component::ObjectStore => size(1, "2", "2Gi", "4Gi", "2Ti"),
        Component::Temporal => size(1, "2", "4Gi", "8Gi", ""),
        Component::Migrate => size(1, "250m", "256Mi", "1Gi", ""),
        Component::Consumer => size(6, "2", "2Gi", "4Gi", ""),
        Component::Worker => size(3, "1", "1Gi", "2Gi", ""),
        Component::Api => size(3, "1", "512Mi", "2Gi", ""),
        Component::Ingest => size(6, "2", "512Mi", "2Gi", ""),
    }
}

/// The room for the consumer's index of known ids, on the node's disk.
pub const fn consumer_index(profile: Profile) -> &'static str {
    match profile {
        Profile::Dev => "2Gi",
        Profile::Standard => "20Gi",
        Profile::Large => "100Gi",
    }
}

/// The profile's resources with the user's in front. There is no default CPU limit: it only slows down.
pub fn resources(size: Size, asked: Option<&Resources>) -> ResourceRequirements {
    let no_compute = Compute::default();
    let (requests, limits) = match asked {
        Some(Resources { requests, limits }) => (requests.as_ref(), limits.as_ref()),
        None => (None, None),
    };
    let requests = requests.unwrap_or(&no_compute);
    let limits = limits.unwrap_or(&no_compute);
    let memory_limit = limits.memory.as_deref().unwrap_or(size.memory_limit);
    // A user who asks for more than the profile's limit, or limits below its request, means both.
    let memory = requests.memory.as_deref().unwrap_or_else(|| smaller(size.memory, memory_limit));
    let memory_limit = limits.memory.as_deref().unwrap_or_else(|| larger(size.memory_limit, memory));
    let cpu = requests
        .cpu
        .as_deref()
        .unwrap_or_else(|| limits.cpu.as_deref().map_or(size.cpu, |limit| smaller(size.cpu, limit)));
    ResourceRequirements {
        requests: Some(amounts(Some(cpu), Some(memory))),
        limits: Some(amounts(limits.cpu.as_deref(), Some(memory_limit))),
        claims: None,
    }
}

fn smaller<'a>(a: &'a str, b: &'a str) -> &'a str {
    if quantity_millis(b) < quantity_millis(a) { b } else { a }
}

fn larger<'a>(a: &'a str, b: &'a str) -> &'a str {
    if quantity_millis(b) > quantity_millis(a) { b } else { a }
}

fn amounts(cpu: Option<&str>, memory: Option<&str>) -> BTreeMap<String, Quantity> {
    let cpu = cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.to_owned())));
    let memory = memory.map(|memory| ("memory".to_owned(), Quantity(memory.to_owned())));
    cpu.into_iter().chain(memory).collect()
}
