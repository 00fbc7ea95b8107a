//! The description is the API: what it lists exists, is guarded, and says what it takes and gives.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::region::{Region, answer, key_of};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// (method, path, operation) of each operation.
pub fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| -> Vec<(Method, String, Value)> {
        let present = METHODS.iter().filter_map(|method| Some((method, item.get(*method)?)));
        present
            .map(|(method, operation)| {
                (method.to_uppercase().parse().expect("a method"), path.clone(), operation.clone())
            })
            .collect()
    };
    paths.iter().flat_map(of_path).collect()
}

fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_documented_operation_exists_and_asks_who_calls() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let document = answer(region.rest_request(Method::GET, "/openapi.json")).await.expect(200);
    let documented = operations(&document);
    assert!(documented.len() >= 20, "{} operations", documented.len());
    for (method, path, _) in documented {
        // A path that is not routed is 404 for everybody: 401 says that it is there and guarded.
        answer(region.rest_request(method, &filled(&path))).await.problem(401, "unauthorized");
    }
    answer(region.rest_request(Method::GET, "/v1/nothing")).await.problem(404, "not_found");

    let document = answer(region.control_request(Method::GET, "/openapi.json")).await.expect(200);
    for (method, path, _) in operations(&document) {
        answer(region.control_request(method.clone(), &filled(&path))).await.problem(401, "unauthorized");
        let with_a_tenants_key = region.control_request(method, &filled(&path)).bearer_auth(key_of("acme"));
        answer(with_a_tenants_key).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_takes_and_gives() {
    let region = Region::start().await;
    let rest = answer(region.rest_request(Method::GET, "/openapi.json")).await.expect(200);
    let control = answer(region.control_request(Method::GET, "/openapi.json")).await.expect(200);
    for document in [rest, control] {
        assert!(
            document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
            "{}",
            document["openapi"]
        );
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations(&document) {
            let name = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            assert!(!id.is_empty() && ids.insert(id), "{name}: an id of its own");
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 8), "{name}: a summary");
            assert!(operation["tags"][0].is_string(), "{name}: a tag");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("default"), "{name}: problems");
            let success = responses.iter().find(|(status, _)| status.starts_with('2')).expect("a success").1;
            assert!(success["content"]["application/json"]["schema"].is_object(), "{name}: what it gives");
            let parameters: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                assert!(parameters.contains(&part.trim_end_matches('}')), "{name}: parameter {part}");
            }
            assert_eq!(parameters.contains(&"Idempotency-Key"), method == Method::POST, "{name}");
        }
    }
}
