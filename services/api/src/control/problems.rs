//! What the catalogue refuses, in the words that the operator passes on: 422 for a spec that is wrong for good, 409 for what
//! another object has to settle first.

use axum::http::StatusCode;
use meridian_billing::catalogue::SpecError;
use meridian_records::ControlError;

use crate::problem::{Code, Problem};

pub(super) fn spec_problem(error: SpecError) -> Problem {
    let SpecError { field, code, detail } = error;
    // The kind of mistake is part of the sentence; the code of the problem stays the same for all of them.
    tracing::debug!(?code, field, "a spec was refused");
    Problem::invalid(below_spec(&field), detail)
}

/// Paths are the object's own, so that the operator can show them as they are.
fn below_spec(field: &str) -> String {
    if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") }
}

pub(super) fn control_problem(error: ControlError) -> Problem {
    let detail = error.to_string();
    match error {
        ControlError::Immutable { field } => Problem::invalid(below_spec(field), detail),
        ControlError::Invalid { field, detail } => Problem::invalid(below_spec(&field), detail),
        ControlError::MeterMissing { field, .. } => {
            Problem::conflict(Code::MeterMissing, detail).field(below_spec(&field))
        }
        ControlError::MeterMisfit { field, detail } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::MeterMisfit, detail)
                .field(below_spec(&field))
        }
        ControlError::PlanMisfit { .. } => Problem::conflict(Code::PlanMisfit, detail),
        ControlError::PlanMissing { .. } => {
            Problem::conflict(Code::PlanMissing, detail).field("spec.planRef.name")
        }
        ControlError::TenantMissing { .. } => {
            Problem::conflict(Code::TenantMissing, detail).field("spec.tenantRef.name")
        }
        ControlError::TenancyRefused { .. } => {
            Problem::new(StatusCode::CONFLICT, Code::TenancyRefused, detail)
        }
        ControlError::NameTaken { .. } => Problem::conflict(Code::NameTaken, detail),
        ControlError::KeyTaken { .. } => Problem::invalid("apiKeys", detail),
        ControlError::Store(error) => error.into(),
    }
}
