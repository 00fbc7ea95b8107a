//! The Kubernetes API of Meridian and nothing else: four kinds of the group `billing.meridian.dev/v1alpha1`,
//! their validation rules, and the names of the conditions and reasons that appear in their status.
//!
//! What it never does: talk to an API server, choose an image or a default that depends on a profile, or price anything.
//! Neighbours: `meridian-desired` turns these specs into Kubernetes objects; `meridian-billing` has the same
//! Meter and Plan as its own types, because the wire format of the catalogue is the spec as written here.
//! The doc comments are what `kubectl explain` prints; `crdgen` writes the YAML under `yaml/` and the chart's templates.

pub mod conditions;
pub mod meter;
pub mod plan;
pub mod reference;
pub mod region;
pub mod resources;
pub mod tenant;

mod yaml;

pub use meter::{Meter, MeterSpec, MeterStatus};
pub use plan::{Plan, PlanSpec, PlanStatus};
pub use reference::LocalRef;
pub use region::{BillingRegion, BillingRegionSpec, BillingRegionStatus};
pub use tenant::{Tenant, TenantSpec, TenantStatus};
pub use yaml::{all_crds, chart_template, file_name, to_yaml};

/// API group of every kind.
pub const GROUP: &str = "billing.meridian.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
