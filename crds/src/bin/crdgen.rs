//! Writes the CustomResourceDefinitions: `crdgen DIRECTORY` as plain YAML, `crdgen --chart DIRECTORY` as templates of
//! the chart `meridian-crds`, and without an argument all of them to standard output, for `kubectl apply -f -`.
//!
//! The files in the repository are compared with what this writes by tests/generated.rs; `UPDATE_EXPECT=1 cargo test
//! -p meridian-crds --test generated` rewrites both places at once.

use std::path::Path;
use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use meridian_crds::{all_crds, chart_template, file_name, to_yaml};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {
            for crd in all_crds() {
                println!("---\n{}", to_yaml(&crd));
            }
            ExitCode::SUCCESS
        }
        ["--chart", directory] => write(Path::new(directory), chart_template),
        [directory] if !directory.starts_with('-') => write(Path::new(directory), to_yaml),
        _ => {
            eprintln!("usage: crdgen [[--chart] DIRECTORY]");
            ExitCode::from(2)
        }
    }
}

fn write(directory: &Path, render: fn(&CustomResourceDefinition) -> String) -> ExitCode {
    for crd in all_crds() {
        let path = directory.join(file_name(&crd));
        if let Err(error) = std::fs::write(&path, render(&crd)) {
            eprintln!("crdgen: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}
