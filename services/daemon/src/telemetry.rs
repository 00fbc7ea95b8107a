//! Structured logs to standard output, and traces by OTLP/HTTP when an endpoint is configured.

use anyhow::Context;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{Common, LogFormat};

/// Keeps the exporter alive; dropping it flushes what is left.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last traces could not be sent: {error}");
        }
    }
}

/// Installs the global subscriber. Called once, before anything logs.
pub fn install(program: &'static str, common: &Common) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&common.log).context("MERIDIAN_LOG is not a valid filter")?;
    let logs = match common.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_target(false).boxed(),
    };
    let provider = common.otlp_endpoint.as_deref().map(|url| exporter(program, common, url)).transpose()?;
    let traces = provider.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer(program)));
    tracing_subscriber::registry()
        .with(filter)
        .with(logs)
        .with(traces)
        .try_init()
        .context("installing the log")?;
    Ok(Telemetry { provider })
}

fn exporter(program: &'static str, common: &Common, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder()
        .with_service_name(program)
        .with_attributes([
            KeyValue::new("service.namespace", "meridian"),
            KeyValue::new("meridian.region", common.region.clone()),
            KeyValue::new("meridian.location", common.location.clone()),
        ])
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
