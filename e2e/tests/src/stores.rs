//! Questions to a region's stores, behind the services' backs: through a port-forward, which ends in the pod itself and
//! so passes no network policy.

use std::{collections::BTreeSet, process::Stdio};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::{
    kubectl::{Kubectl, kubectl},
    region::Region,
};

/// A port of a Service or pod on this machine, until it is dropped.
pub struct Forward {
    pub port: u16,
    _child: Child,
}

impl Forward {
    /// `target` as kubectl names it, such as `svc/demo-clickhouse`.
    pub async fn open(namespace: &str, target: &str, port: u16) -> anyhow::Result<Self> {
        let mut child = kubectl()
            .args(["-n", namespace, "port-forward", "--address", "127.0.0.1", target, &format!(":{port}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let stdout = child.stdout.take().context("kubectl has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        // "Forwarding from 127.0.0.1:40123 -> 8123"
        while let Some(line) = lines.next_line().await? {
            let local =
                line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
            if let Some(local) = local {
                let port = local.parse().with_context(|| line.clone())?;
                // Its later lines have to be read, or it blocks on a full pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { port, _child: child });
            }
        }
        bail!("kubectl port-forward {target} ended before it forwarded")
    }
}

/// The region's ClickHouse.
pub struct ClickHouse {
    forward: Forward,
    user: String,
    password: String,
    client: reqwest::Client,
}

impl ClickHouse {
    pub async fn open(region: &Region) -> anyhow::Result<Self> {
        let service = format!("svc/{}-clickhouse", region.name);
        let secret = format!("{}-clickhouse-credentials", region.name);
        let k = Kubectl::new(&region.namespace);
        Ok(Self {
            forward: Forward::open(&region.namespace, &service, 8123).await?,
            user: k.secret(&secret, "username").await?,
            password: k.secret(&secret, "password").await?,
            client: reqwest::Client::new(),
        })
    }

    /// Rows of one query as tab-separated lines.
    pub async fn query(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        let response = self
            .client
            .post(format!("http://127.0.0.1:{}/?database=meridian", self.forward.port))
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password)
            .body(sql.to_owned())
            .send()
            .await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{sql}: {text}");
        Ok(text.lines().map(str::to_owned).collect())
    }

    pub async fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let rows = self.query(sql).await?;
        let row = rows.first().with_context(|| format!("{sql}: no row"))?;
        row.parse().with_context(|| format!("{sql}: {row}"))
    }

    /// Distinct event ids of a table that begin with `prefix`.
    pub async fn ids(&self, table: &str, prefix: &str) -> anyhow::Result<BTreeSet<String>> {
        let sql = format!("SELECT DISTINCT id FROM {table} WHERE startsWith(id, '{prefix}-') FORMAT TSVRaw");
        Ok(self.query(&sql).await?.into_iter().collect())
    }

    /// Rows of a table whose event id begins with `prefix`: more than the ids means that one was stored twice.
    pub async fn rows(&self, table: &str, prefix: &str) -> anyhow::Result<u64> {
        self.number(&format!("SELECT count() FROM {table} WHERE startsWith(id, '{prefix}-')")).await
    }
}
