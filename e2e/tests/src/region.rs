//! A region brought up from manifests/samples, and the way into it.

use std::path::Path;

use anyhow::{Context, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    closed_month,
    namespace::TestNamespace,
    wait::{Limit, eventually},
};

/// What a test changes about the sample before it is applied.
#[derive(Clone, Debug)]
pub struct RegionSpec {
    pub name: String,
    pub deletion_policy: &'static str,
}

impl Default for RegionSpec {
    fn default() -> Self {
        Self { name: "demo".to_owned(), deletion_policy: "Delete" }
    }
}

/// A region that is Ready, with the sample's meter, plan and tenant in it.
pub struct Region {
    pub name: String,
    pub namespace: String,
    pub api_key: String,
    ingest: String,
    api: String,
    client: reqwest::Client,
}

/// One sample, moved into the test's namespace and to the month that the tests bill.
fn sample(file: &str, namespace: &str, spec: &RegionSpec) -> anyhow::Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/samples");
    let text =
        std::fs::read_to_string(root.join(file)).with_context(|| format!("manifests/samples/{file}"))?;
    let month = closed_month().0.to_string();
    // A sample may hold several documents, its Namespace among them: that one is the test's own already.
    let documents = text.split("\n---").filter(|d| !d.contains("kind: Namespace\n"));
    let moved: Vec<String> = documents
        .map(|document| {
            document
                .lines()
                .map(|line| {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    match line.trim_start().split(':').next() {
                        Some("namespace") => format!("{indent}namespace: {namespace}"),
                        Some("billingStart") => format!("{indent}billingStart: \"{month}\""),
                        Some("deletionPolicy") => String::new(),
                        Some("profile") => {
                            format!("{line}\n{indent}deletionPolicy: {}", spec.deletion_policy)
                        }
                        _ => line.replace("name: demo", &format!("name: {}", spec.name)),
                    }
                })
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    Ok(moved.join("\n---"))
}

impl Region {
    /// Applies the samples and waits until all four objects are Ready.
    pub async fn up(namespace: &TestNamespace, spec: &RegionSpec) -> anyhow::Result<Self> {
        Self::apply(namespace, spec).await?;
        Self::ready(namespace, spec).await
    }

    /// Applies the four sample objects.
    pub async fn apply(namespace: &TestNamespace, spec: &RegionSpec) -> anyhow::Result<()> {
        for file in ["region.yaml", "meter.yaml", "plan.yaml", "tenant.yaml"] {
            let yaml = sample(file, namespace.name(), spec)?;
            namespace.kubectl.apply(&yaml).await.with_context(|| file.to_owned())?;
        }
        Ok(())
    }

    /// Waits until all four objects are Ready.
    pub async fn ready(namespace: &TestNamespace, spec: &RegionSpec) -> anyhow::Result<Self> {
        let k = &namespace.kubectl;
        for (kind, name) in
            [("br", spec.name.as_str()), ("mtr", "api-calls"), ("bplan", "starter"), ("tnt", "acme")]
        {
            eventually(&format!("{kind}/{name} becomes Ready"), Limit::seconds(300), async || {
                let (status, reason, message) = k.condition(kind, name, "Ready").await?;
                ensure!(status == "True", "{reason}: {message}");
                Ok(())
            })
            .await?;
        }
        Self::open(namespace, &spec.name).await
    }

    /// The way into a region that is there.
    pub async fn open(namespace: &TestNamespace, name: &str) -> anyhow::Result<Self> {
        let k = &namespace.kubectl;
        let tenant = k.get("tnt", "acme").await?;
        let secret =
            tenant["spec"]["apiKeys"][0]["secretRef"]["name"].as_str().context("the sample has a key")?;
        let address = async |component: &str| -> anyhow::Result<String> {
            let service = k.get("service", &format!("{name}-{component}")).await?;
            let ip = service["spec"]["clusterIP"].as_str().context("a ClusterIP")?.to_owned();
            Ok(format!("http://{ip}:8080"))
        };
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.name().to_owned(),
            api_key: k.secret(secret, "apiKey").await?,
            ingest: address("ingest").await?,
            api: address("api").await?,
            client: reqwest::Client::builder().timeout(std::time::Duration::from_secs(15)).build()?,
        })
    }

    /// A raw request to ingest, for tests of bad input.
    pub fn ingest_request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.ingest)).bearer_auth(&self.api_key)
    }

    /// A request to ingest with somebody else's key.
    pub fn ingest_request_with(&self, key: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.ingest)).bearer_auth(key)
    }

    /// A request to the api with somebody else's key.
    pub fn api_request_with(&self, key: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.api)).bearer_auth(key)
    }

    /// A request to the api with the tenant's key.
    pub fn api_request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.api)).bearer_auth(&self.api_key)
    }

    /// Sends a batch of events; the status and the answer's body.
    pub async fn send(&self, events: &[Value]) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.ingest_request(reqwest::Method::POST, "/v1/events");
        let response = request.json(&json!({ "events": events })).send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// GET from the api; anything but a success is an error that carries the problem.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.api_request(reqwest::Method::GET, path).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "GET {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// POST to the api with an idempotency key of its own.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let key = format!("{:032x}", rand::random::<u128>());
        let request =
            self.api_request(reqwest::Method::POST, path).header("Idempotency-Key", key).json(&body);
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "POST {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// The tenant's own subscription, by which the platform bills it.
    pub async fn subscription(&self) -> anyhow::Result<String> {
        let list = self.get("/v1/subscriptions").await?;
        let id = list["data"][0]["id"].as_str().with_context(|| format!("no subscription in {list}"))?;
        Ok(id.to_owned())
    }

    /// Closes the month that the tests bill and returns its invoice.
    pub async fn close_month(&self, limit: Limit) -> anyhow::Result<Value> {
        let subscription = self.subscription().await?;
        let path = format!("/v1/subscriptions/{subscription}/close");
        let start = closed_month().0.to_string();
        self.post(&path, json!({"period_start": start, "issue": true})).await?;
        self.invoice_of_month(limit).await
    }

    /// The issued invoice of the month that the tests bill.
    pub async fn invoice_of_month(&self, limit: Limit) -> anyhow::Result<Value> {
        let start = closed_month().0;
        eventually("the month's invoice is issued", limit, async || {
            let list = self.get("/v1/invoices").await?;
            let found = list["data"].as_array().into_iter().flatten().find(|invoice| {
                let period = invoice["period_start"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
                period == Some(start) && invoice["status"] != "draft"
            });
            let id = found.and_then(|i| i["id"].as_str()).with_context(|| format!("invoices are {list}"))?;
            self.get(&format!("/v1/invoices/{id}")).await
        })
        .await
    }
}
