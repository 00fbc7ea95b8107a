//! YAML in, YAML out: every object of a region. `UPDATE_EXPECT=1 cargo test -p meridian-desired` rewrites; review the diff.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test fails by panicking, reads its golden files, and shares fixtures with its siblings"
)]

mod fixture;

use std::path::Path;

use jiff::Timestamp;
use meridian_desired::build::build;
use meridian_desired::object::Kind;
use meridian_desired::observed::Observed;

fn check(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let input = std::fs::read_to_string(directory.join(format!("{name}.in.yaml"))).unwrap();
    let region = fixture::valid(&input);
    let found = all_objects(&region);
    let path = directory.join(format!("{name}.out.yaml"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != found {
        let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let context =
            |text: &str| text.lines().skip(line.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
        panic!(
            "{name}: differs from line {}:\n--- expected\n{}\n--- found\n{}\nUPDATE_EXPECT=1 accepts it",
            line + 1,
            context(&expected),
            context(&found)
        );
    }
}

/// Every object, gated ones included: a world in which each stage finds the one before it finished.
fn all_objects(region: &meridian_desired::region::ValidRegion) -> String {
    let credentials = fixture::credentials(region);
    let mut objects = build(region, &credentials, &Observed::default(), Timestamp::UNIX_EPOCH).apply;
    let gated = meridian_desired::services::migration(region, &credentials)
        .into_iter()
        .filter(|object| object.key.kind == Kind::Job);
    objects.extend(gated);
    for (component, service) in &region.services {
        let all = meridian_desired::services::objects(region, *component, service, &credentials);
        objects.extend(all.into_iter().filter(|object| object.key.kind == Kind::Deployment));
    }
    objects.dedup_by(|a, b| a.key == b.key);
    objects.iter().map(|object| format!("---\n{}", serde_saphyr::to_string(&object.body).unwrap())).collect()
}

#[test]
fn a_dev_region_with_every_store_managed() {
    check("dev-managed");
}

#[test]
fn a_region_with_every_store_external() {
    check("all-external");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let region = fixture::with_spec("");
    let once = all_objects(&fixture::judge(&region, &[]).unwrap());
    let twice = all_objects(&fixture::judge(&region, &[]).unwrap());
    assert_eq!(once, twice);
}
