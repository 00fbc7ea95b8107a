//! kubectl, as a user has it. `KUBECTL` names another binary; `KUBECONFIG` and `MERIDIAN_CONTEXT` choose the cluster.

use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

/// kubectl in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub namespace: String,
}

/// A command with the cluster chosen and no namespace.
pub fn kubectl() -> Command {
    let mut command = Command::from(blocking_kubectl());
    command.kill_on_drop(true);
    command
}

/// The same for the end of a failed test, where nothing can be awaited.
pub(crate) fn blocking_kubectl() -> std::process::Command {
    let binary = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let mut command = std::process::Command::new(binary);
    if let Ok(context) = std::env::var("MERIDIAN_CONTEXT") {
        command.args(["--context", &context]);
    }
    command
}

impl Kubectl {
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// Standard output; a failure carries what kubectl said.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = kubectl()
            .args(["-n", &self.namespace])
            .args(args)
            .output()
            .await
            .context("starting kubectl (KUBECTL names it)")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub async fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        let text = self.run(&["get", kind, name, "-o", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("{kind}/{name}"))
    }

    /// The items of a kind, or of several (`a,b`), perhaps by label.
    pub async fn list(&self, kinds: &str, selector: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let mut args = vec!["get", kinds, "-o", "json"];
        if let Some(selector) = selector {
            args.extend(["-l", selector]);
        }
        let mut list: Value = serde_json::from_str(&self.run(&args).await?)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("kubectl get {kinds} gave no items: {other}"),
        }
    }

    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let mut child = kubectl()
            .args(["-n", &self.namespace, "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        stdin.write_all(yaml.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// One condition of an object: `(status, reason, message)`.
    pub async fn condition(
        &self,
        kind: &str,
        name: &str,
        of: &str,
    ) -> anyhow::Result<(String, String, String)> {
        let object = self.get(kind, name).await?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == of)
            .map(|c| (text(&c["status"]), text(&c["reason"]), text(&c["message"])))
            .with_context(|| format!("{kind}/{name} has no condition {of}"))
    }

    /// The decoded value of one key of a Secret.
    pub async fn secret(&self, name: &str, key: &str) -> anyhow::Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.run(&["get", "secret", name, "-o", &template]).await
    }
}
