//! The Temporal namespace in which a region's billing cycles run.

use std::time::Duration;

use meridian_daemon::TemporalSettings;
use temporalio_client::{
    Connection, ConnectionOptions, RegisterNamespaceOptions,
    errors::ClientConnectError,
    grpc::WorkflowService,
    tonic::{Code, Request, Status},
};

use crate::patience::Failure;

/// How long the history of a closed workflow can be looked at.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// A new namespace is known to every part of the server only after its cache has been refreshed.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("MERIDIAN_TEMPORAL_ADDRESS is not host:port")]
    Address(#[from] url::ParseError),
    #[error("Temporal does not answer")]
    Away(#[from] ClientConnectError),
    #[error("Temporal refused the namespace")]
    Refused(#[from] Status),
}

impl From<NamespaceError> for Failure {
    fn from(error: NamespaceError) -> Self {
        match &error {
            NamespaceError::Address(_) => Self::permanent(error),
            NamespaceError::Away(_) | NamespaceError::Refused(_) => Self::transient(error),
        }
    }
}

/// Registers the namespace unless it is there, and waits until it can be used.
pub async fn ensure_namespace(settings: &TemporalSettings) -> Result<String, Failure> {
    Ok(register(settings).await?)
}

async fn register(settings: &TemporalSettings) -> Result<String, NamespaceError> {
    let url = format!("http://{}", settings.address).parse::<url::Url>()?;
    let options = ConnectionOptions::new(url).identity("meridian-migrate".to_owned()).build();
    let connection = Connection::connect(options).await?;
    let namespace = RegisterNamespaceOptions::builder()
        .namespace(settings.namespace.as_str())
        .description("Meridian: billing cycles of one region")
        .workflow_execution_retention_period(RETENTION)
        .build();
    let mut service = connection.workflow_service();
    let created = match service.register_namespace(Request::new(namespace.into())).await {
        Ok(_) => true,
        Err(status) if status.code() == Code::AlreadyExists => false,
        Err(status) => return Err(status.into()),
    };
    wait_until_known(service.as_mut(), &settings.namespace).await?;
    Ok(format!("{} {}", settings.namespace, if created { "registered" } else { "there already" }))
}

async fn wait_until_known(service: &mut dyn WorkflowService, namespace: &str) -> Result<(), Status> {
    use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
    let started = tokio::time::Instant::now();
    loop {
        let request = DescribeNamespaceRequest { namespace: namespace.to_owned(), ..Default::default() };
        match service.describe_namespace(Request::new(request)).await {
            Ok(_) => return Ok(()),
            Err(status) if started.elapsed() > KNOWN_WITHIN => return Err(status),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}
