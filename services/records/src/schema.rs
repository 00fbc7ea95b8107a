//! The schema: bringing it up to this program's version, and refusing to where that would skip a version.
//!
//! Migrations expand first and contract a minor version later, so that the programs of one minor version run on the
//! schema of the next while a rollout is under way. That holds for neighbours only: a schema that is newer than the
//! program, or more than one minor version behind it, is refused. Migrating again changes nothing.

use std::{fmt, str::FromStr};

use sqlx::{Connection, PgConnection, migrate::Migrator};

use crate::{
    Records,
    connect::refuse_roles_above_policies,
    error::{Doing, StoreError},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// major.minor.patch of a program, as Cargo.toml says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// None: the database was empty.
    pub before: Option<ProgramVersion>,
    pub after: ProgramVersion,
    /// Names of the migrations that were applied now.
    pub applied: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "the schema was made by Meridian {schema}, which is newer than this program ({program}): run the newer program, or \
         restore a backup made before the upgrade; going back is not possible in place"
    )]
    NewerThanProgram { schema: ProgramVersion, program: ProgramVersion },
    #[error(
        "the schema was made by Meridian {schema} and this program is {program}: upgrade one minor version at a time \
         (next: {}.{}.x), because each step contracts what the step before it expanded",
        schema.major, schema.minor + 1
    )]
    SkipsVersions { schema: ProgramVersion, program: ProgramVersion },
    #[error("{0:?} is not a version (major.minor.patch)")]
    NotAVersion(String),
    #[error("running the migrations")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SchemaError {
    /// Whether the store may only not be ready yet.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::NewerThanProgram { .. }
            | Self::SkipsVersions { .. }
            | Self::NotAVersion(_)
            | Self::Migration(_) => false,
        }
    }
}

impl Records {
    /// Brings the schema to `program`'s version, normally `env!("CARGO_PKG_VERSION")`. Several may try at once: one does.
    pub async fn migrate(&self, program: &str) -> Result<MigrationReport, SchemaError> {
        let program: ProgramVersion = program.parse()?;
        let mut connection = PgConnection::connect_with(&self.connect_options)
            .await
            .doing("connecting to migrate the schema")?;
        // A long migration is not a stuck query, and waiting for another migration is not a stuck lock.
        sqlx::query(
            "SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '60s', false)",
        )
        .execute(&mut connection)
        .await
        .doing("preparing to migrate")?;
        refuse_roles_above_policies(&mut connection).await.doing("checking the role that migrates")?;
        let before = recorded_version(&mut connection).await?;
        if let Some(schema) = before {
            check_step(schema, program)?;
        }
        let known_before = applied_versions(&mut connection).await?;
        // Not `run`: its future is not Send for every lifetime, and so could not be spawned.
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(SchemaError::Migration)?;
        let after = record_version(&mut connection, program).await?;
        let applied = MIGRATIONS
            .iter()
            .filter(|migration| !known_before.contains(&migration.version))
            .map(|migration| format!("{:04} {}", migration.version, migration.description))
            .collect();
        connection.close().await.doing("closing the migration's connection")?;
        Ok(MigrationReport { before, after, applied })
    }

    /// Which program's schema is there; None before the first migration.
    pub async fn schema_version(&self) -> Result<Option<ProgramVersion>, SchemaError> {
        let mut connection = self.pool.acquire().await.doing("connecting to read the schema's version")?;
        recorded_version(&mut connection).await
    }
}

/// Same minor version, or the next one; patches do not change a schema.
fn check_step(schema: ProgramVersion, program: ProgramVersion) -> Result<(), SchemaError> {
    let (from, to) = ((schema.major, schema.minor), (program.major, program.minor));
    if from > to {
        return Err(SchemaError::NewerThanProgram { schema, program });
    }
    let one_step = from == to || (schema.major == program.major && schema.minor + 1 == program.minor);
    if one_step { Ok(()) } else { Err(SchemaError::SkipsVersions { schema, program }) }
}

async fn table_exists(connection: &mut PgConnection, table: &'static str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(connection)
        .await
        .doing("looking for the schema")
}

async fn recorded_version(connection: &mut PgConnection) -> Result<Option<ProgramVersion>, SchemaError> {
    if !table_exists(connection, "schema_info").await? {
        return Ok(None);
    }
    let text: Option<String> = sqlx::query_scalar("SELECT program_version FROM schema_info")
        .fetch_optional(connection)
        .await
        .doing("reading the schema's version")?;
    text.map(|text| text.parse()).transpose()
}

async fn applied_versions(connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    if !table_exists(connection, "_sqlx_migrations").await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(connection)
        .await
        .doing("reading which migrations ran")
}

/// Never lowers it: an older patch of the same minor version leaves the newer record.
async fn record_version(
    connection: &mut PgConnection,
    program: ProgramVersion,
) -> Result<ProgramVersion, SchemaError> {
    let recorded = recorded_version(connection).await?;
    let version = recorded.map_or(program, |recorded| recorded.max(program));
    sqlx::query(
        "INSERT INTO schema_info (program_version) VALUES ($1) ON CONFLICT (only_row) DO UPDATE
         SET program_version = excluded.program_version, migrated_at = now()
         WHERE schema_info.program_version <> excluded.program_version",
    )
    .bind(version.to_string())
    .execute(connection)
    .await
    .doing("recording the schema's version")?;
    Ok(version)
}

impl FromStr for ProgramVersion {
    type Err = SchemaError;

    /// A pre-release suffix (`-rc.1`) does not change which schema it is.
    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let wrong = || SchemaError::NotAVersion(text.to_owned());
        let core = text.split(['-', '+']).next().unwrap_or(text);
        let numbers =
            core.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_| wrong())?;
        match numbers[..] {
            [major, minor, patch] => Ok(Self { major, minor, patch }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ProgramVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(schema: &str, program: &str) -> Result<(), String> {
        let parse = |text: &str| text.parse().expect("a version");
        check_step(parse(schema), parse(program)).map_err(|error| error.to_string())
    }

    #[test]
    fn one_minor_version_at_a_time() {
        for (schema, program) in
            [("0.1.0", "0.1.0"), ("0.1.9", "0.1.2"), ("0.1.0", "0.2.5"), ("1.4.0", "1.5.0-rc.1")]
        {
            assert_eq!(step(schema, program), Ok(()), "{schema} -> {program}");
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_says_so() {
        for (schema, program) in [("0.2.0", "0.1.9"), ("1.0.0", "0.9.0")] {
            assert!(step(schema, program).expect_err("refused").contains("newer than this program"));
        }
    }

    #[test]
    fn a_skipped_version_is_refused_and_names_the_next_one() {
        assert!(step("0.1.3", "0.3.0").expect_err("refused").contains("(next: 0.2.x)"));
        assert!(step("0.9.0", "1.0.0").is_err());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "1", "1.2", "a.b.c", "1.2.3.4", "1.2.-3"] {
            assert!(text.parse::<ProgramVersion>().is_err(), "{text:?}");
        }
    }
}
