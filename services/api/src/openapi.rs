//! The API's description, made from the handlers: OpenAPI 3.1 at GET /openapi.json of each port.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        HeaderBuilder, RefOr, Required,
        path::{Operation, ParameterBuilder, ParameterIn},
        response::ResponseBuilder,
        schema::{Object, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::{
    app::App,
    idempotency::REMEMBERED_DAYS,
    problem::{Code, Problem},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Meridian",
        description = "Usage-based billing of one region. Amounts and quantities are decimal strings; times are RFC 3339 in UTC; \
                       lists come in pages; every POST takes an Idempotency-Key. Usage events go to the ingest service."
    ),
    components(schemas(Problem, Code)),
    security(("api_key" = [])),
    modifiers(&TenantKey)
)]
pub(crate) struct Tenant;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Meridian control port",
        description = "How the operator tells a region its meters, plans and tenants. Saying the same thing again writes nothing."
    ),
    components(schemas(Problem, Code)),
    security(("control_token" = [])),
    modifiers(&ControlToken)
)]
pub(crate) struct Control;

struct TenantKey;

impl Modify for TenantKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        bearer(document, "api_key", "A tenant's API key, mrd_…");
    }
}

struct ControlToken;

impl Modify for ControlToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        bearer(document, "control_token", "The operator's token");
    }
}

fn bearer(document: &mut utoipa::openapi::OpenApi, name: &str, description: &str) {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some(description.to_owned());
    document.components.get_or_insert_default().add_security_scheme(name, SecurityScheme::Http(scheme));
}

/// What holds for every operation is added here, once, and so cannot be forgotten on one.
pub(crate) fn finish(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            add_problems(operation);
        }
        if let Some(post) = &mut item.post {
            add_idempotency_key(post);
        }
    }
}

fn add_problems(operation: &mut Operation) {
    use utoipa::openapi::{ContentBuilder, Ref};
    let problem = ResponseBuilder::new()
        .description("A problem; `code` says which")
        .header("x-request-id", HeaderBuilder::new().schema(Object::with_type(Type::String)).build())
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
        )
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(problem));
}

fn add_idempotency_key(operation: &mut Operation) {
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(format!(
            "1 to 255 visible characters of your choice. The same request with the same key is carried out once and \
             answered the same; another request with it is refused. It is remembered for {REMEMBERED_DAYS} days."
        )))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(parameter);
}

/// The document as it is served.
#[derive(Clone)]
pub(crate) struct Document(String);

impl Document {
    pub fn new(document: &utoipa::openapi::OpenApi) -> Self {
        Self(document.to_pretty_json().expect("a document of strings and maps always serializes"))
    }
}

pub(crate) fn route(document: Document) -> Router<App> {
    let serve = move || {
        let text = document.0.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], text).into_response() }
    };
    Router::new().route("/openapi.json", get(serve))
}
