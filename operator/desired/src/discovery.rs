//! The discovery Secret: how other programs find the region, in the shape of the Service Binding specification.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::component::{Component, HTTP};
use crate::object::{Object, labels, metadata};
use crate::region::ValidRegion;

/// The Secret's name.
pub fn name(region: &ValidRegion) -> String {
    format!("{}-discovery", region.name)
}

pub fn secret(region: &ValidRegion) -> Object {
    let text = |value: String| ByteString(value.into_bytes());
    let data = BTreeMap::from([
        ("type".to_owned(), text("meridian".to_owned())),
        ("provider".to_owned(), text("meridian".to_owned())),
        ("host".to_owned(), text(region.host(Component::Api))),
        ("port".to_owned(), text(HTTP.number.to_string())),
        ("region".to_owned(), text(region.name.clone())),
        ("location".to_owned(), text(region.location.clone())),
        ("apiUrl".to_owned(), text(url(region, Component::Api))),
        ("ingestUrl".to_owned(), text(url(region, Component::Ingest))),
    ]);
    Object::of(Secret {
        metadata: metadata(region, &name(region), labels(region, None)),
        type_: Some("servicebinding.io/meridian".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// The base URL of an exposed service: the user's own, or its Service's.
pub fn url(region: &ValidRegion, component: Component) -> String {
    let exposure = region.services.get(&component).and_then(|service| service.exposure.as_ref());
    exposure.map_or_else(
        || service_url(&region.name, &region.namespace, component),
        |exposure| exposure.url.clone(),
    )
}

pub fn service_url(region: &str, namespace: &str, component: Component) -> String {
    format!("http://{region}-{}.{namespace}.svc:{}", component.name(), HTTP.number)
}
