//! The generated files are what the types say, are small enough for `kubectl apply`, and hold the promises that the rest
//! of the product leans on. `UPDATE_EXPECT=1 cargo test -p meridian-crds --test generated` rewrites the files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there and then")]

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use meridian_crds::conditions::{ConditionType, Reason};
use meridian_crds::{all_crds, chart_template, file_name, to_yaml};
use serde_json::Value;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_committed_yaml_is_what_the_types_say() {
    compare(&repository().join("crds/yaml"), to_yaml);
}

#[test]
fn the_committed_chart_is_what_the_types_say() {
    compare(&repository().join("charts/meridian-crds/templates"), chart_template);
}

fn compare(directory: &Path, render: fn(&CustomResourceDefinition) -> String) {
    let mut expected_names = Vec::new();
    for crd in all_crds() {
        let path = directory.join(file_name(&crd));
        let rendered = render(&crd);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == rendered,
            "{} is not what the types say: UPDATE_EXPECT=1 cargo test -p meridian-crds --test generated",
            path.display()
        );
        expected_names.push(file_name(&crd));
    }
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    expected_names.sort();
    assert_eq!(names, expected_names, "no file of a kind that is gone stays in {}", directory.display());
}

/// Client-side `kubectl apply` writes the whole object into an annotation of at most 256 KiB.
#[test]
fn each_definition_is_under_100_kb() {
    for crd in all_crds() {
        let json = serde_json::to_vec(&crd).unwrap().len();
        let yaml = to_yaml(&crd).len();
        println!("{}: {json} bytes of JSON, {yaml} bytes of YAML", crd.spec.names.kind);
        assert!(json < 100_000 && yaml < 100_000, "{}: {json} and {yaml} bytes", crd.spec.names.kind);
    }
}

#[test]
fn a_template_survives_helm_and_is_kept_on_uninstall() {
    for crd in all_crds() {
        let template = chart_template(&crd);
        assert!(!template.contains("{{"), "helm would take it for an action: {}", crd.spec.names.kind);
        assert!(template.contains("helm.sh/resource-policy: keep"));
    }
}

#[test]
fn every_kind_starts_with_a_status_that_nobody_takes_for_healthy() {
    for crd in all_crds() {
        let value = serde_json::to_value(&crd).unwrap();
        let status = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"]["observedGeneration"], -1, "{}", crd.spec.names.kind);
        assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-map-keys"][0], "type");
        assert!(value["spec"]["versions"][0]["subresources"]["status"].is_object());
    }
}

#[test]
fn every_field_of_a_spec_is_explained() {
    fn undocumented(node: &Value, path: &str, found: &mut Vec<String>) {
        for (name, child) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if child["description"].as_str().is_none_or(str::is_empty) {
                found.push(path.clone());
            }
            undocumented(child, &path, found);
            undocumented(&child["items"], &path, found);
        }
    }
    let mut found = Vec::new();
    for crd in all_crds() {
        let value = serde_json::to_value(&crd).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        undocumented(&schema["properties"]["spec"], &crd.spec.names.kind, &mut found);
    }
    assert!(found.is_empty(), "`kubectl explain` has nothing to say about {found:?}");
}

/// `has(self.x)` is true for an explicit null: an Option that is serialized as null would make a one-of rule lie.
#[test]
fn an_absent_field_is_never_written_as_null() {
    let sources = walk(&repository().join("crds/src"));
    let mut found = Vec::new();
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in
            lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("pub "))
        {
            let optional = line.contains(": Option<") && !line.contains("fn ");
            // The attributes of a field stand between it and the field before.
            let attributes =
                lines[..index].iter().rev().take_while(|line| !line.trim_start().starts_with("pub "));
            if optional && !attributes.into_iter().any(|line| line.contains("skip_serializing_if")) {
                found.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The API server refuses a condition whose type or reason is not of this form.
#[test]
fn the_words_of_conditions_are_camel_case_and_distinct() {
    let types: Vec<&str> = ConditionType::ALL.iter().map(|word| word.as_str()).collect();
    let reasons: Vec<&str> = Reason::ALL.iter().map(|word| word.as_str()).collect();
    for word in types.iter().chain(&reasons) {
        assert!(
            word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_alphanumeric()),
            "{word}"
        );
    }
    for kstatus in ["Ready", "Reconciling", "Stalled"] {
        assert!(types.contains(&kstatus), "kstatus looks for {kstatus}");
    }
}
