//! Tenant: an organisation, its keys, and the plan that the platform bills it by.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{NameRef, SpecError, SpecErrorCode, check_distinct_names, read_shape};
use crate::{ids::ProjectId, period};

/// `Tenant.spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSpec {
    pub region_ref: NameRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The platform's plan for this tenant; absent: the platform bills it nothing (ruling C11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_ref: Option<NameRef>,
    /// Start of the first period; absent: the start of the calendar month of the Tenant's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_start: Option<Timestamp>,
    /// IANA name; absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Besides `default`, which always exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<ApiKeySpec>,
}

/// A key, and the Secret that the operator puts it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeySpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    pub secret_ref: NameRef,
}

impl TenantSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let tenant: Self = read_shape(spec)?;
        tenant.validate()?;
        Ok(tenant)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        if let Some(zone) = &self.time_zone {
            period::zone(zone).map_err(|_| {
                let detail =
                    format!("{zone:?} is not a time zone of the IANA database, such as \"Europe/Berlin\"");
                SpecError::new("timeZone", SpecErrorCode::UnknownTimeZone, detail)
            })?;
        }
        for (index, project) in self.projects.iter().enumerate() {
            let field = format!("projects[{index}]");
            ProjectId::new(project.as_str())
                .map_err(|problem| SpecError::new(field, SpecErrorCode::InvalidName, problem.problem))?;
        }
        check_distinct_names("apiKeys", self.api_keys.iter().map(|key| key.name.as_str()))?;
        for (index, key) in self.api_keys.iter().enumerate() {
            let known = key.project_name() == "default"
                || self.projects.iter().any(|project| project == key.project_name());
            if !known {
                let detail = format!("{:?} is not in projects", key.project_name());
                return Err(SpecError::new(
                    format!("apiKeys[{index}].project"),
                    SpecErrorCode::Missing,
                    detail,
                ));
            }
        }
        Ok(())
    }

    pub fn time_zone_name(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }
}

impl ApiKeySpec {
    pub fn project_name(&self) -> &str {
        self.project.as_deref().unwrap_or("default")
    }
}
