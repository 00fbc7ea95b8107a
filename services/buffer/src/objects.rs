//! The object store: one bucket, whole objects. Larger things (multipart, archives) come with those who need
//! them.

use std::sync::Arc;

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use bytes::Bytes;

use crate::{ObjectStoreError, ObjectStoreOptions, client};

/// A handle on the region's bucket. Cheap to clone; opens no connection until it is used.
#[derive(Clone)]
pub struct ObjectStore {
    client: Client,
    bucket: Arc<str>,
    /// AWS wants a bucket's region said when it is not us-east-1; other servers have no regions.
    location: Option<BucketLocationConstraint>,
}

impl ObjectStore {
    pub fn connect(options: &ObjectStoreOptions) -> ObjectStore {
        let on_aws = options.endpoint.is_none() && options.aws_region != "us-east-1";
        ObjectStore {
            client: client::s3(options),
            bucket: options.bucket.as_str().into(),
            location: on_aws.then(|| BucketLocationConstraint::from(options.aws_region.as_str())),
        }
    }

    /// Makes the bucket unless it is ours already; true when it was made now.
    pub async fn create_bucket(&self) -> Result<bool, ObjectStoreError> {
        let configuration = self
            .location
            .clone()
            .map(|l| CreateBucketConfiguration::builder().location_constraint(l).build());
        let answer = self
            .client
            .create_bucket()
            .bucket(self.bucket.as_ref())
            .set_create_bucket_configuration(configuration)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) => {
                Ok(false)
            }
            // AWS says so for our own bucket too, in us-east-1; whether it is ours shows when it is asked for.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_bucket_already_exists()) => {
                self.check().await.map(|()| false)
            }
            Err(error) => Err(ObjectStoreError::of("creating the bucket", error)),
        }
    }

    /// Whether the bucket is there and ours to use.
    pub async fn check(&self) -> Result<(), ObjectStoreError> {
        let answer = self.client.head_bucket().bucket(self.bucket.as_ref()).send().await;
        answer.map(drop).map_err(|error| ObjectStoreError::of("asking for the bucket", error))
    }

    pub async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), ObjectStoreError> {
        let answer = self
            .client
            .put_object()
            .bucket(self.bucket.as_ref())
            .key(key)
            .content_type(content_type)
            .body(ByteStream::from(body))
            .send()
            .await;
        answer.map(drop).map_err(|error| ObjectStoreError::of("writing an object", error))
    }

    /// The whole object; none when there is no such key.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectStoreError> {
        let answer = self.client.get_object().bucket(self.bucket.as_ref()).key(key).send().await;
        let object = match answer {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(ObjectStoreError::of("reading an object", error)),
        };
        let body = object.body.collect().await.map_err(|error| ObjectStoreError::Unavailable {
            doing: "reading an object's body",
            reason: error.to_string(),
        })?;
        Ok(Some(body.into_bytes()))
    }
}
