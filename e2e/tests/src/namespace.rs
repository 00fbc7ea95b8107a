//! A namespace for one test. It goes away when the test passes; when the test fails its state is dumped first.

use std::path::PathBuf;

use anyhow::Context;

use crate::kubectl::{Kubectl, blocking_kubectl, kubectl};

/// Deleted on [`TestNamespace::done`]. Dropped without that (the test failed), everything that helps to find out why
/// is written to `MERIDIAN_E2E_DUMPS` (default: `e2e-dumps` in the temporary directory), and it goes away all the same
/// unless `MERIDIAN_E2E_KEEP` is set.
pub struct TestNamespace {
    pub kubectl: Kubectl,
    name: String,
    passed: bool,
}

impl TestNamespace {
    /// `claim` is the test's name; the namespace is named after it.
    pub async fn create(claim: &str) -> anyhow::Result<Self> {
        let name = format!("e2e-{}", claim.replace('_', "-"));
        let status =
            kubectl().args(["delete", "namespace", &name, "--ignore-not-found", "--wait"]).status().await?;
        anyhow::ensure!(status.success(), "an old namespace {name} could not be deleted");
        let status = kubectl()
            .args(["create", "namespace", &name])
            .stdout(std::process::Stdio::null())
            .status()
            .await?;
        anyhow::ensure!(status.success(), "namespace {name} could not be created");
        Ok(Self { kubectl: Kubectl::new(&name), name, passed: false })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The end of a test that passed. Volumes are in the namespace and go with it.
    pub async fn done(mut self) -> anyhow::Result<()> {
        self.passed = true;
        let delete = ["delete", "br,mtr,bplan,tnt", "--all", "--timeout=120s"];
        self.kubectl.run(&delete).await.context("cleaning up")?;
        let status = kubectl()
            .args(["delete", "namespace", &self.name, "--wait=false"])
            .stdout(std::process::Stdio::null())
            .status()
            .await?;
        anyhow::ensure!(status.success(), "namespace {} could not be deleted", self.name);
        Ok(())
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if !self.passed {
            let directory = dump(&self.name);
            eprintln!("state of namespace {} at the failure: {}", self.name, directory.display());
            // A node has room for two regions: what failed must not take it from the tests that follow.
            if std::env::var_os("MERIDIAN_E2E_KEEP").is_none() {
                remove(&self.name);
            }
        }
    }
}

fn remove(namespace: &str) {
    for args in [
        &["-n", namespace, "delete", "tnt,mtr,bplan,br", "--all", "--timeout=60s"][..],
        &["delete", "namespace", namespace, "--timeout=60s"][..],
    ] {
        if let Err(error) = blocking_kubectl().args(args).output() {
            eprintln!("namespace {namespace} is left behind: {error}");
        }
    }
}

/// Objects, events and the logs of every container, previous ones too.
fn dump(namespace: &str) -> PathBuf {
    let root = std::env::var("MERIDIAN_E2E_DUMPS")
        .map(PathBuf::from)
        .unwrap_or_else(|_| std::env::temp_dir().join("e2e-dumps"));
    let directory = root.join(namespace);
    if let Err(error) = std::fs::create_dir_all(&directory) {
        eprintln!("no dump: {}: {error}", directory.display());
        return directory;
    }
    let save = |file: &str, args: &[&str]| {
        let text = match blocking_kubectl().args(["-n", namespace]).args(args).output() {
            Ok(output) => [output.stdout, output.stderr].concat(),
            Err(error) => error.to_string().into_bytes(),
        };
        if let Err(error) = std::fs::write(directory.join(file), &text) {
            eprintln!("no dump of {file}: {error}");
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    save("meridian.yaml", &["get", "br,mtr,bplan,tnt", "-o", "yaml"]);
    save("objects.txt", &["get", "all,pvc,cm,secret,networkpolicy", "-o", "wide"]);
    save("events.txt", &["get", "events", "--sort-by=.lastTimestamp"]);
    save("pods.txt", &["describe", "pods"]);
    let pods = save("pod-names.txt", &["get", "pods", "-o", "name"]);
    for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
        let file = pod.trim_start_matches("pod/");
        save(&format!("{file}.log"), &["logs", pod, "--all-containers", "--tail=500"]);
        save(&format!("{file}.previous.log"), &["logs", pod, "--all-containers", "--previous", "--tail=200"]);
    }
    directory
}
