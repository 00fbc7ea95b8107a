//! How to reach Postgres. The pool connects when first used, so that a service starts while its store is still starting.

use std::time::Duration;

use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};

use crate::{Records, error::StoreError};

/// Where the system of record is. Every service fills it from MERIDIAN_POSTGRES_*.
#[derive(Clone)]
pub struct PostgresOptions {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
    /// libpq's words: disable, allow, prefer, require, verify-ca, verify-full.
    pub sslmode: String,
    /// Shown in pg_stat_activity.
    pub application_name: String,
    pub connections_max: u32,
    /// How long a query may wait for a free connection before it is refused.
    pub acquire_timeout: Duration,
    /// The schema that holds the tables; None: the role's default, `public`. Tests take one each.
    pub schema: Option<String>,
}

impl PostgresOptions {
    /// Ten connections, five seconds of patience; change the fields if you need otherwise.
    pub fn new(host: &str, port: u16, database: &str, user: &str, password: &str) -> Self {
        Self {
            host: host.to_owned(),
            port,
            database: database.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            sslmode: "prefer".to_owned(),
            application_name: "meridian".to_owned(),
            connections_max: 10,
            acquire_timeout: Duration::from_secs(5),
            schema: None,
        }
    }

    pub(crate) fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        let sslmode: PgSslMode = self.sslmode.parse().map_err(|_| {
            StoreError::unreadable(
                "reading MERIDIAN_POSTGRES_SSLMODE",
                format!(
                    "{:?} is none of disable, allow, prefer, require, verify-ca, verify-full",
                    self.sslmode
                ),
            )
        })?;
        let connect_options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.database)
            .username(&self.user)
            .password(&self.password)
            .ssl_mode(sslmode)
            .application_name(&self.application_name)
            // A lock that is not had in five seconds is a bug or a long migration: fail, and let the caller retry.
            .options([("lock_timeout", "5s"), ("statement_timeout", "30s"), ("timezone", "UTC")]);
        Ok(match &self.schema {
            Some(schema) => connect_options.options([("search_path", schema.as_str())]),
            None => connect_options,
        })
    }
}

/// A lazily connecting pool; fails only on options that cannot be right. Cheap to clone.
pub fn connect(options: &PostgresOptions) -> Result<Records, StoreError> {
    let connect_options = options.connect_options()?;
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .after_connect(|connection, _| Box::pin(refuse_roles_above_policies(connection)))
        .connect_lazy_with(connect_options.clone());
    Ok(Records { pool, connect_options: std::sync::Arc::new(connect_options) })
}

/// Row-level security does not bind superusers and roles with BYPASSRLS: as one of them the second wall would be painted
/// on. So no connection of ours works as one.
pub(crate) async fn refuse_roles_above_policies(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let role: Option<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)",
    )
    .fetch_optional(connection)
    .await?;
    match role {
        None => Ok(()),
        Some(role) => Err(sqlx::Error::Configuration(
            format!(
                "the Postgres role {role:?} is a superuser or has BYPASSRLS, so row-level security would not hold; \
                 give MERIDIAN_POSTGRES_USER an ordinary role that owns the database"
            )
            .into(),
        )),
    }
}
