//! The control port of a region's api, over real HTTP: a catalogue that refuses what it is told to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::{Value, json};

use super::server::{Call, Fault, Server};

/// The catalogue of one api, and how it behaves. It outlives the operator's processes.
#[derive(Clone, Default)]
pub struct Control {
    rows: Arc<Mutex<BTreeMap<(String, String), Value>>>,
    refused: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    tokens: Arc<Mutex<Vec<String>>>,
    puts: Arc<Mutex<usize>>,
}

impl Control {
    /// Serves on loopback and returns the base URL. Calls count as the server's.
    pub async fn serve(&self, server: Server) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/control/v1/catalogue", get(list))
            .route("/control/v1/{kind}/{name}", put(store).delete(archive))
            .with_state((self.clone(), server));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    pub fn rows(&self) -> BTreeMap<(String, String), Value> {
        self.rows.lock().unwrap().clone()
    }

    /// As after a database that was put back.
    pub fn lose_everything(&self) {
        self.rows.lock().unwrap().clear();
    }

    pub fn refuse(&self, name: &str, status: u16, problem: Value) {
        self.refused.lock().unwrap().insert(name.to_owned(), (status, problem));
    }

    pub fn puts(&self) -> usize {
        *self.puts.lock().unwrap()
    }

    pub fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }

    /// The same rows behind another server.
    pub fn fork(&self) -> Control {
        let fork = Control::default();
        *fork.rows.lock().unwrap() = self.rows();
        fork
    }
}

type Served = State<(Control, Server)>;

async fn list(State((control, server)): Served, headers: HeaderMap) -> Response {
    let Some(fault) = arrive(&control, &server, Method::GET, "catalogue", &headers) else { return dead() };
    let rows = control.rows();
    let of = |kind: &str| {
        rows.iter().filter(|((of, _), _)| of == kind).map(|(_, row)| row.clone()).collect::<Vec<_>>()
    };
    let body = json!({"meters": of("meters"), "plans": of("plans"), "tenants": of("tenants")});
    reply(fault, axum::Json(body).into_response())
}

async fn store(
    State((control, server)): Served,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(fault) = arrive(&control, &server, Method::PUT, &format!("{kind}/{name}"), &headers) else {
        return dead();
    };
    *control.puts.lock().unwrap() += 1;
    let refusal = control.refused.lock().unwrap().get(&name).cloned();
    if let Some((status, problem)) = refusal {
        return (StatusCode::from_u16(status).unwrap(), axum::Json(problem)).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let row = json!({
        "name": name, "uid": body["uid"], "generation": body["generation"], "archived": false, "version": 1,
        "apiKeys": body["apiKeys"], "spec": body["spec"],
    });
    control.rows.lock().unwrap().insert((kind, name.clone()), row);
    reply(
        fault,
        axum::Json(json!({"name": name, "generation": body["generation"], "version": 1})).into_response(),
    )
}

async fn archive(
    State((control, server)): Served,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(fault) = arrive(&control, &server, Method::DELETE, &format!("{kind}/{name}"), &headers) else {
        return dead();
    };
    control.rows.lock().unwrap().remove(&(kind, name));
    reply(fault, StatusCode::NO_CONTENT.into_response())
}

/// None: the caller is dead and did not call.
fn arrive(
    control: &Control,
    server: &Server,
    method: Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Option<Fault>> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    control.tokens.lock().unwrap().push(token.to_owned());
    let call = Call { method, path: format!("control/{path}"), manager: String::new(), forced: false };
    server.count(call).ok()
}

fn dead() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn reply(fault: Option<Fault>, answer: Response) -> Response {
    match fault {
        Some(Fault::ReplyLost) => StatusCode::BAD_GATEWAY.into_response(),
        Some(Fault::Answered(code)) => StatusCode::from_u16(code).unwrap().into_response(),
        Some(Fault::DiesAfter) | None => answer,
    }
}
