//! Closing a period: starting the Temporal workflow that does it, or finding the one that runs, and telling how it goes.
//!
//! The workflow itself is the worker's. What both sides agree on is here: its type name, its id and its input.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use meridian_billing::ids::{SubscriptionId, TenantId};
use serde::Serialize;
use serde_json::Value;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow, WorkflowGetResultOptions,
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::{HasWorkflowDefinition, WorkflowDefinition};
use tokio::sync::RwLock;

/// The worker's workflow type.
const CLOSE_BILLING_PERIOD: &str = "CloseBillingPeriod";
/// Longest wait for one answer of Temporal.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where Temporal is.
#[derive(Debug, Clone)]
pub struct TemporalOptions {
    /// host:port
    pub address: String,
    pub namespace: String,
    pub task_queue: String,
}

/// Connects when first used, because Temporal may start later than we do.
#[derive(Clone)]
pub struct BillingRuns {
    options: TemporalOptions,
    client: Arc<RwLock<Option<Client>>>,
}

/// Which period of whose subscription. Its text is the workflow's id, so that one period has one run at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start: Timestamp,
}

/// The workflow's input, as the worker reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct CloseInput {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start_us: i64,
    pub issue: bool,
    pub on_demand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// running, completed, failed, canceled, terminated, timed_out, paused or unknown
    pub status: &'static str,
    pub started_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("there is no such billing run")]
    NotFound,
    #[error("Temporal's address {0:?} is no host:port")]
    Address(String),
    #[error("Temporal did not answer while {doing}")]
    Away { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

/// The definition that start_workflow wants; the worker has the code behind the name.
struct CloseBillingPeriod;

impl WorkflowDefinition for CloseBillingPeriod {
    type Input = CloseInput;
    type Output = Value;

    fn name(&self) -> &str {
        CLOSE_BILLING_PERIOD
    }
}

impl HasWorkflowDefinition for CloseBillingPeriod {
    type Run = Self;
}

impl RunId {
    /// None when it is no id of a billing run.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("close/")?.splitn(3, '/');
        Some(Self {
            tenant: parts.next()?.parse().ok()?,
            subscription: parts.next()?.parse().ok()?,
            period_start: Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?,
        })
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "close/{}/{}/{}", self.tenant, self.subscription, self.period_start.as_microsecond())
    }
}

impl BillingRuns {
    pub fn new(options: TemporalOptions) -> Self {
        Self { options, client: Arc::default() }
    }

    /// Starts the run, or joins the one that is running. A finished one may run again: it finds its invoice and keeps it.
    pub async fn start(&self, id: &RunId, issue: bool) -> Result<(), RunError> {
        let input = CloseInput {
            tenant: id.tenant.clone(),
            subscription: id.subscription.clone(),
            period_start_us: id.period_start.as_microsecond(),
            issue,
            on_demand: true,
        };
        let options = WorkflowStartOptions::new(&self.options.task_queue, id.to_string())
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .build();
        let client = self.client().await?;
        let doing = "starting a billing run";
        match answered(doing, client.start_workflow(CloseBillingPeriod, input, options)).await? {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(self.away(doing, error).await),
        }
    }

    pub async fn find(&self, id: &RunId) -> Result<Run, RunError> {
        let client = self.client().await?;
        let handle = client.get_workflow_handle::<UntypedWorkflow>(id.to_string());
        let doing = "asking for a billing run";
        let described = match answered(doing, handle.describe(Default::default())).await? {
            Ok(described) => described,
            Err(WorkflowInteractionError::NotFound(_)) => return Err(RunError::NotFound),
            Err(error) => return Err(self.away(doing, error).await),
        };
        let status = status_name(described.status());
        let failure = if status == "failed" {
            match answered(doing, handle.get_result(WorkflowGetResultOptions::default())).await? {
                Err(WorkflowGetResultError::Failed(failure)) => Some(failure.to_string()),
                Err(error) => Some(error.to_string()),
                Ok(_) => None,
            }
        } else {
            None
        };
        Ok(Run {
            status,
            started_at: described.start_time().and_then(timestamp),
            closed_at: described.close_time().and_then(timestamp),
            failure,
        })
    }

    /// Whether Temporal answers. For readiness, which shows it and never depends on it.
    pub async fn ping(&self) -> Result<(), RunError> {
        let client = self.client().await?;
        let doing = "asking whether Temporal is alive";
        // Any answer will do: an unknown workflow is the cheapest question.
        let handle = client.get_workflow_handle::<UntypedWorkflow>("meridian-api-ping");
        match answered(doing, handle.describe(Default::default())).await? {
            Ok(_) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(error) => Err(self.away(doing, error).await),
        }
    }

    async fn client(&self) -> Result<Client, RunError> {
        if let Some(client) = self.client.read().await.as_ref() {
            return Ok(client.clone());
        }
        let mut slot = self.client.write().await;
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let client = connect(&self.options).await?;
        *slot = Some(client.clone());
        Ok(client)
    }

    /// The next call connects anew: what failed may have been the connection.
    async fn away(
        &self,
        doing: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> RunError {
        *self.client.write().await = None;
        RunError::Away { doing, source: Box::new(error) }
    }
}

async fn connect(options: &TemporalOptions) -> Result<Client, RunError> {
    let doing = "connecting to Temporal";
    let url = url::Url::parse(&format!("http://{}", options.address))
        .map_err(|_| RunError::Address(options.address.clone()))?;
    let connection_options = ConnectionOptions::new(url)
        .identity("meridian-api".to_owned())
        .connect_timeout(ANSWER_WAIT_MAX)
        .build();
    let away = |source: Box<dyn std::error::Error + Send + Sync>| RunError::Away { doing, source };
    let connection = answered(doing, Connection::connect(connection_options))
        .await?
        .map_err(|error| away(Box::new(error)))?;
    Client::new(connection, ClientOptions::new(&options.namespace).build())
        .map_err(|error| away(Box::new(error)))
}

async fn answered<T>(doing: &'static str, question: impl Future<Output = T>) -> Result<T, RunError> {
    let late = |elapsed| RunError::Away { doing, source: Box::new(elapsed) };
    tokio::time::timeout(ANSWER_WAIT_MAX, question).await.map_err(late)
}

fn status_name(status: temporalio_client::WorkflowExecutionStatus) -> &'static str {
    use temporalio_client::WorkflowExecutionStatus as Status;
    match status {
        Status::Running | Status::ContinuedAsNew => "running",
        Status::Completed => "completed",
        Status::Canceled => "canceled",
        Status::Terminated => "terminated",
        Status::TimedOut => "timed_out",
        Status::Failed => "failed",
        Status::Paused => "paused",
        // The enum may grow; and what a server leaves unspecified we do not make up.
        _ => "unknown",
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = RunId {
            tenant: TenantId::new("acme").expect("a name"),
            subscription: SubscriptionId::new("sub_1").expect("an id"),
            period_start: "2026-07-01T00:00:00Z".parse().expect("an instant"),
        };
        assert_eq!(id.to_string(), "close/acme/sub_1/1782864000000000");
        assert_eq!(RunId::parse(&id.to_string()), Some(id));
        for wrong in
            ["", "close/", "close/acme", "close/acme/sub_1/yesterday", "cycle/acme/sub_1/1782864000000000"]
        {
            assert_eq!(RunId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_input_is_what_the_worker_reads() {
        let input = CloseInput {
            tenant: TenantId::new("acme").expect("a name"),
            subscription: SubscriptionId::new("sub_1").expect("an id"),
            period_start_us: 1_782_864_000_000_000,
            issue: true,
            on_demand: true,
        };
        assert_eq!(
            serde_json::to_string(&input).expect("json"),
            r#"{"tenant":"acme","subscription":"sub_1","period_start_us":1782864000000000,"issue":true,"on_demand":true}"#
        );
    }
}
