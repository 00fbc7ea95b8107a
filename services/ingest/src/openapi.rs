//! GET /openapi.json: what a client of this service can rely on.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

const DOCUMENT: &str = include_str!("openapi.json");

pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use meridian_billing::event::RejectionCode;
    use serde_json::Value;

    use super::*;
    use crate::refusal::Refusal;

    fn codes(schema: &str) -> Vec<String> {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let listed = document["components"]["schemas"][schema]["properties"]["code"]["enum"].clone();
        serde_json::from_value(listed).unwrap()
    }

    #[test]
    fn every_code_of_an_event_is_documented() {
        let ours = ["wrong_tenant", "wrong_project", "not_stored"];
        let mut expected: Vec<&str> =
            RejectionCode::ALL.iter().map(|code| code.as_str()).chain(ours).collect();
        let mut listed = codes("Result");
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }

    #[test]
    fn every_code_of_a_request_is_documented() {
        let mut listed = codes("Problem");
        let mut expected: Vec<&str> = Refusal::examples().iter().map(Refusal::code).collect();
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}
