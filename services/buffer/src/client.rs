//! The two SDK clients, built without the SDK's default chain: our own HTTP client (rustls with ring), static
//! credentials, bounded retries and timeouts.

use std::time::Duration;

use aws_sdk_dynamodb as dynamodb;
use aws_sdk_s3 as s3;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use secrecy::ExposeSecret;

use crate::{BufferOptions, ObjectStoreOptions};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Objects may be large; a part of a slow upload must not be cut off as a DynamoDB call is.
const OBJECT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn dynamodb(options: &BufferOptions) -> dynamodb::Client {
    use dynamodb::config::{
        BehaviorVersion, Config, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig,
    };
    let credentials = Credentials::new(
        &options.access_key_id,
        options.secret_access_key.expose_secret(),
        None,
        None,
        "meridian-settings",
    );
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(options.aws_region.clone()))
        .credentials_provider(credentials)
        .http_client(http_client())
        .retry_config(
            RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(25)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    dynamodb::Client::from_conf(config.build())
}

pub(crate) fn s3(options: &ObjectStoreOptions) -> s3::Client {
    use s3::config::{
        BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, retry::RetryConfig,
        timeout::TimeoutConfig,
    };
    let credentials = Credentials::new(
        &options.access_key_id,
        options.secret_access_key.expose_secret(),
        None,
        None,
        "meridian-settings",
    );
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(options.aws_region.clone()))
        .credentials_provider(credentials)
        .http_client(http_client())
        // Trailing checksums are the SDK's default and unknown to several S3 servers.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(OBJECT_ATTEMPT_TIMEOUT)
                .build(),
        );
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint).force_path_style(true);
    }
    s3::Client::from_conf(config.build())
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
