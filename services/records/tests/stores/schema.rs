//! Migrating: again it changes nothing, many at once do it once, skipped versions are refused.

use meridian_records::{SchemaError, connect};

use crate::region::{Region, VERSION, options, raw_connection};

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let region = Region::start().await;
    let again = region.records.migrate(VERSION).await.expect("migrated");
    assert_eq!(again.applied, Vec::<String>::new());
    assert_eq!(again.before, Some(again.after));
    assert_eq!(region.records.schema_version().await.expect("asked"), Some(again.after));
    region.end().await;
}

#[tokio::test]
async fn many_that_migrate_at_once_all_succeed() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut admin = raw_connection("public").await;
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&mut admin)
        .await
        .expect("schema");
    let records = connect(&options(&schema)).expect("options");
    let all = (0..4).map(|_| {
        let records = records.clone();
        tokio::spawn(async move { records.migrate(VERSION).await })
    });
    for migrated in futures::future::join_all(all).await {
        migrated.expect("no panic").expect("migrated");
    }
    Region { records, schema }.end().await;
}

#[tokio::test]
async fn a_newer_schema_and_a_skipped_version_are_refused_and_nothing_changes() {
    let region = Region::start().await;
    let mut owner = region.raw().await;
    for (schema, program) in [("0.9.0", "0.8.3"), ("0.7.0", "0.9.0")] {
        sqlx::query("UPDATE schema_info SET program_version = $1")
            .bind(schema)
            .execute(&mut owner)
            .await
            .expect("set");
        let error = region.records.migrate(program).await.expect_err("refused");
        assert!(
            matches!(error, SchemaError::NewerThanProgram { .. } | SchemaError::SkipsVersions { .. }),
            "{error}"
        );
        assert!(!error.is_transient(), "waiting does not help");
        assert_eq!(region.records.schema_version().await.expect("asked").expect("there").to_string(), schema);
    }
    region.records.migrate("0.8.0").await.expect("one minor version up is fine");
    region.end().await;
}
