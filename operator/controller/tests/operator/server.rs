//! An API server in process: enough of one to hold objects, apply, watch, delete with finalizers and refuse.
//!
//! It is scripted by faults: a call may be answered with an error, its reply lost, or be the last that its client ever makes.
//! It is no fake of our own code's making: the operator talks to it through its real client, request by request.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{BoxError, Service};

use super::merge;

/// The body of an answer: whole, or a watch that goes on.
type Reply = UnsyncBoxBody<Bytes, BoxError>;

/// Where an object is: its API (`apis/apps/v1/statefulsets`), its namespace, its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub api: String,
    pub namespace: String,
    pub name: String,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub manager: String,
    pub forced: bool,
}

impl Call {
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// What happens to one call of those that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out and answered, and is the client's last: the process died.
    DiesAfter,
    /// It is carried out, but the client sees a broken connection.
    ReplyLost,
    /// It is not carried out; the client sees this status.
    Answered(u16),
}

#[derive(Clone, Default)]
pub struct State {
    pub objects: BTreeMap<At, Stored>,
    pub version: u64,
    /// (version, ADDED | MODIFIED | DELETED, where, object), for watches.
    history: Vec<(u64, &'static str, At, Value)>,
    pub calls: Vec<Call>,
    faults: BTreeMap<usize, Fault>,
    dead: bool,
    uids: u64,
    clock: i64,
    /// Writes whose path ends so are refused: (end, code, message).
    refusals: Vec<(String, u16, String)>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
}

/// An object and who wrote which field.
#[derive(Clone, Debug)]
pub struct Stored {
    pub body: Value,
    pub owners: merge::Owners,
}

#[derive(Clone, Default)]
pub struct Server {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Server {
    pub fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Another server in the same state.
    pub fn fork(&self) -> Server {
        Server { state: Arc::new(Mutex::new(self.state().clone())), changed: Arc::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Forgets the calls so far; the next one is number 0.
    pub fn script(&self, faults: impl IntoIterator<Item = (usize, Fault)>) {
        let mut state = self.state();
        state.calls.clear();
        state.faults = faults.into_iter().collect();
        state.dead = false;
    }

    /// Writes whose path ends so are refused, as admission or a quota does.
    pub fn refuse(&self, path_end: &str, code: u16, message: &str) {
        self.state().refusals.push((path_end.to_owned(), code, message.to_owned()));
    }

    pub fn admit_everything(&self) {
        self.state().refusals.clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn writes(&self) -> usize {
        self.calls().iter().filter(|call| call.is_write()).count()
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// A call that is not this server's but counts as one: the control port's.
    pub fn count(&self, call: Call) -> Result<Option<Fault>, BoxError> {
        let mut state = self.state();
        if state.dead {
            return Err("the process is dead".into());
        }
        let number = state.calls.len();
        state.calls.push(call);
        let fault = state.faults.get(&number).copied();
        if fault == Some(Fault::DiesAfter) {
            state.dead = true;
        }
        Ok(fault)
    }

    /// Puts an object as somebody called `manager` would, whatever was there.
    pub fn put(&self, manager: &str, body: Value) {
        let at = At::of(&body);
        self.state().write(&at, manager, body);
        self.changed.notify_waiters();
    }

    pub fn get(&self, api: &str, namespace: &str, name: &str) -> Option<Value> {
        let at = At { api: api.into(), namespace: namespace.into(), name: name.into() };
        self.state().objects.get(&at).map(|stored| stored.body.clone())
    }

    pub fn list(&self, api: &str) -> Vec<Value> {
        let state = self.state();
        state.objects.iter().filter(|(at, _)| at.api == api).map(|(_, stored)| stored.body.clone()).collect()
    }

    /// Changes an object as somebody called `manager` would.
    pub fn edit(&self, manager: &str, api: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut body =
            self.get(api, namespace, name).unwrap_or_else(|| panic!("no {api} {namespace}/{name}"));
        edit(&mut body);
        self.put(manager, body);
    }

    pub fn delete(&self, api: &str, namespace: &str, name: &str) {
        let at = At { api: api.into(), namespace: namespace.into(), name: name.into() };
        self.state().delete(&at);
        self.changed.notify_waiters();
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = parts.uri.path().trim_start_matches('/').to_owned();
        let query: BTreeMap<String, String> = parts.uri.query().map(form).unwrap_or_default();
        if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            return Ok(self.watch(&path, &query));
        }
        let listing =
            parts.method == Method::GET && Target::parse(&path).is_some_and(|target| target.name.is_none());
        let call = Call {
            method: parts.method.clone(),
            path: path.clone(),
            manager: query.get("fieldManager").cloned().unwrap_or_default(),
            forced: query.get("force").is_some_and(|force| force == "true"),
        };
        // Lists fill caches; what is counted is what a pass asks for.
        let fault = if listing { None } else { self.count(call)? };
        if let Some(Fault::Answered(code)) = fault {
            return Ok(failure(code, "Scripted", "as scripted", json!({})));
        }
        let content_type =
            parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = self.state().handle(&parts.method, &path, &query, content_type, &body);
        self.changed.notify_waiters();
        match fault {
            Some(Fault::ReplyLost) => Err("connection reset".into()),
            Some(Fault::DiesAfter | Fault::Answered(_)) | None => Ok(answer),
        }
    }

    fn watch(&self, path: &str, query: &BTreeMap<String, String>) -> Response<Reply> {
        let target = Target::parse(path).expect("watches are of collections");
        let selector = query.get("labelSelector").cloned().unwrap_or_default();
        let from = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let (sender, receiver) =
            tokio::sync::mpsc::channel::<Result<hyper::body::Frame<Bytes>, BoxError>>(64);
        let server = self.clone();
        tokio::spawn(async move {
            let mut seen: u64 = from;
            loop {
                let woken = server.changed.notified();
                let events = server.state().events_after(seen, &target, &selector);
                for (version, line) in events {
                    seen = version;
                    if sender.send(Ok(hyper::body::Frame::data(Bytes::from(line)))).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
                    () = sender.closed() => return,
                }
            }
        });
        let frames = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|item| (item, receiver))
        });
        Response::builder()
            .header("content-type", "application/json")
            .body(http_body_util::StreamBody::new(Box::pin(frames)).boxed_unsync())
            .unwrap()
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}

/// A request's path, taken apart.
#[derive(Clone, Debug)]
struct Target {
    api: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Option<Target> {
        let parts: Vec<&str> = path.split('/').collect();
        let prefix = match parts.first() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            _ => return None,
        };
        let group = parts.get(..prefix)?.join("/");
        let owned = |index: usize| parts.get(index).map(|part| (*part).to_owned());
        // `namespaces` itself, or what is in one.
        let in_namespace = parts.get(prefix) == Some(&"namespaces") && parts.len() > prefix + 2;
        let (namespace, at) = if in_namespace { (owned(prefix + 1), prefix + 2) } else { (None, prefix) };
        Some(Target {
            api: format!("{group}/{}", parts.get(at)?),
            namespace,
            name: owned(at + 1),
            subresource: owned(at + 2),
        })
    }

    fn at(&self, name: &str) -> At {
        At {
            api: self.api.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    fn admits(&self, at: &At) -> bool {
        at.api == self.api && self.namespace.as_ref().is_none_or(|namespace| *namespace == at.namespace)
    }
}

impl At {
    pub fn of(body: &Value) -> At {
        let version = body["apiVersion"].as_str().unwrap();
        let kind = body["kind"].as_str().unwrap().to_lowercase();
        let plural = match kind.as_str() {
            "networkpolicy" => "networkpolicies".to_owned(),
            _ => format!("{kind}s"),
        };
        let prefix = if version.contains('/') { "apis" } else { "api" };
        At {
            api: format!("{prefix}/{version}/{plural}"),
            namespace: body["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(),
            name: body["metadata"]["name"].as_str().unwrap().to_owned(),
        }
    }
}

impl State {
    fn handle(
        &mut self,
        method: &Method,
        path: &str,
        query: &BTreeMap<String, String>,
        content_type: &str,
        body: &[u8],
    ) -> Response<Reply> {
        let Some(target) = Target::parse(path) else { return failure(404, "NotFound", path, json!({})) };
        let refusal =
            self.refusals.iter().find(|(end, ..)| *method != Method::GET && path.ends_with(end.as_str()));
        if let Some((_, code, message)) = refusal {
            return failure(*code, "Forbidden", message, json!({}));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let manager = query.get("fieldManager").map_or("unknown", String::as_str);
        match (method, &target.name) {
            (&Method::GET, None) => self.answer_list(&target, query),
            (&Method::GET, Some(name)) => self.answer_get(&target.at(name)),
            (&Method::POST, None) => self.create(&target, manager, body),
            (&Method::PUT, Some(name)) => self.replace(&target.at(name), manager, body),
            (&Method::DELETE, Some(name)) => self.answer_delete(&target.at(name), &body),
            (&Method::PATCH, Some(name)) => {
                let at = target.at(name);
                match (content_type, target.subresource.as_deref()) {
                    ("application/apply-patch+yaml", Some("status")) => self.apply_status(&at, &body),
                    ("application/apply-patch+yaml", None) => {
                        let force = query.get("force").is_some_and(|force| force == "true");
                        self.apply(&at, manager, force, &body)
                    }
                    ("application/merge-patch+json", None) => self.merge(&at, &body),
                    other => failure(415, "UnsupportedMediaType", &format!("{other:?}"), json!({})),
                }
            }
            other => failure(405, "MethodNotAllowed", &format!("{other:?}"), json!({})),
        }
    }

    fn answer_get(&self, at: &At) -> Response<Reply> {
        match self.objects.get(at) {
            Some(stored) => success(200, &stored.body),
            None => not_found(at),
        }
    }

    fn answer_list(&self, target: &Target, query: &BTreeMap<String, String>) -> Response<Reply> {
        let selector = query.get("labelSelector").map_or("", String::as_str);
        // As a real one does: the list says once what its items are, and they do not.
        let untyped = |stored: &Stored| {
            let mut body = stored.body.clone();
            let fields = body.as_object_mut().unwrap();
            fields.remove("apiVersion");
            fields.remove("kind");
            body
        };
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(at, stored)| target.admits(at) && selected(&stored.body, selector))
            .map(|(_, stored)| untyped(stored))
            .collect();
        success(
            200,
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items}),
        )
    }

    fn create(&mut self, target: &Target, manager: &str, mut body: Value) -> Response<Reply> {
        let name = body["metadata"]["name"].as_str().map_or_else(
            || format!("{}{}", body["metadata"]["generateName"].as_str().unwrap_or("x"), self.version),
            str::to_owned,
        );
        body["metadata"]["name"] = name.clone().into();
        let at = target.at(&name);
        if !at.namespace.is_empty() {
            body["metadata"]["namespace"] = at.namespace.clone().into();
        }
        if self.objects.contains_key(&at) {
            return failure(409, "AlreadyExists", &format!("{name} already exists"), json!({}));
        }
        self.write(&at, manager, body);
        success(201, &self.objects[&at].body)
    }

    fn replace(&mut self, at: &At, manager: &str, body: Value) -> Response<Reply> {
        let Some(stored) = self.objects.get(at) else { return not_found(at) };
        if body["metadata"]["resourceVersion"] != stored.body["metadata"]["resourceVersion"] {
            return failure(409, "Conflict", "the object has been modified", json!({}));
        }
        self.write(at, manager, body);
        success(200, &self.objects[at].body)
    }

    fn merge(&mut self, at: &At, patch: &Value) -> Response<Reply> {
        let Some(stored) = self.objects.get(at) else { return not_found(at) };
        for field in ["resourceVersion", "uid"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != stored.body["metadata"][field] {
                return failure(409, "Conflict", "the object has been modified", json!({}));
            }
        }
        let mut body = stored.body.clone();
        merge::merge_patch(&mut body, patch);
        self.write(at, "merge", body);
        // The object may have lost its last finalizer.
        self.collect(at);
        let answer = self.objects.get(at).map(|stored| stored.body.clone());
        success(200, &answer.unwrap_or_else(|| patch.clone()))
    }

    fn apply(&mut self, at: &At, manager: &str, force: bool, body: &Value) -> Response<Reply> {
        let stored = self.objects.get(at).cloned();
        let mut object = stored.unwrap_or_else(|| {
            let metadata =
                json!({"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]});
            let mut identity =
                json!({"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata});
            drop_nulls(&mut identity["metadata"]);
            Stored { body: identity, owners: merge::Owners::new() }
        });
        let conflicts = merge::apply(&mut object.body, &mut object.owners, manager, force, body);
        if !conflicts.is_empty() {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|(field, owner)| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {owner:?}"), "field": field}))
                .collect();
            return failure(409, "Conflict", "Apply failed with conflicts", json!({"causes": causes}));
        }
        let owners = object.owners;
        self.write(at, manager, object.body);
        let stored = self.objects.get_mut(at).unwrap();
        stored.owners = owners;
        success(200, &stored.body)
    }

    fn apply_status(&mut self, at: &At, body: &Value) -> Response<Reply> {
        let Some(stored) = self.objects.get(at) else { return not_found(at) };
        let uid = &body["metadata"]["uid"];
        if !uid.is_null() && *uid != stored.body["metadata"]["uid"] {
            return failure(409, "Conflict", "uid mismatch", json!({}));
        }
        let mut object = stored.body.clone();
        object["status"] = body["status"].clone();
        self.write(at, "status", object);
        success(200, &self.objects[at].body)
    }

    fn answer_delete(&mut self, at: &At, options: &Value) -> Response<Reply> {
        let Some(stored) = self.objects.get(at) else { return not_found(at) };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != stored.body["metadata"]["uid"] {
            return failure(409, "Conflict", "the UID in the precondition differs", json!({}));
        }
        self.delete(at);
        success(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    /// Stores an object: a new one gets its identity, a changed one its version, an unchanged one nothing.
    pub fn write(&mut self, at: &At, manager: &str, mut body: Value) {
        let before = self.objects.get(at).cloned();
        let metadata = &mut body["metadata"];
        match &before {
            None => {
                self.uids += 1;
                self.clock += 1;
                metadata["uid"] = format!("uid-{}", self.uids).into();
                metadata["generation"] = 1.into();
                metadata["creationTimestamp"] =
                    jiff::Timestamp::from_second(1_700_000_000 + self.clock).unwrap().to_string().into();
                if body["kind"].as_str().is_some_and(|_| at.api.starts_with("apis/billing"))
                    && body["status"].is_null()
                {
                    body["status"] = json!({"observedGeneration": -1});
                }
            }
            Some(before) => {
                for field in
                    ["uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"]
                {
                    metadata[field] = before.body["metadata"][field].clone();
                }
                drop_nulls(metadata);
                if body == before.body {
                    return;
                }
                self.violations.extend(overwritten(at, &before.body, &body));
                let meaning = |body: &Value| {
                    let mut body = body.clone();
                    body["metadata"] = Value::Null;
                    body["status"] = Value::Null;
                    body
                };
                if meaning(&body) != meaning(&before.body) {
                    let generation = before.body["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
                    body["metadata"]["generation"] = generation.into();
                }
            }
        }
        let mut owners = before.as_ref().map(|before| before.owners.clone()).unwrap_or_default();
        let old = before.as_ref().map_or(Value::Null, |before| before.body.clone());
        merge::take_changed(&mut owners, manager, &old, &body);
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        let event = if before.is_none() { "ADDED" } else { "MODIFIED" };
        self.history.push((self.version, event, at.clone(), body.clone()));
        self.objects.insert(at.clone(), Stored { body, owners });
    }

    pub fn delete(&mut self, at: &At) {
        let Some(stored) = self.objects.get_mut(at) else { return };
        if stored.body["metadata"]["deletionTimestamp"].is_null() {
            stored.body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            let generation = stored.body["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            stored.body["metadata"]["generation"] = generation.into();
            self.version += 1;
            stored.body["metadata"]["resourceVersion"] = self.version.to_string().into();
            let body = stored.body.clone();
            self.history.push((self.version, "MODIFIED", at.clone(), body));
        }
        self.collect(at);
    }

    /// Removes an object that is being deleted and that nothing holds.
    pub fn collect(&mut self, at: &At) {
        let Some(stored) = self.objects.get(at) else { return };
        let metadata = &stored.body["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        if metadata["deletionTimestamp"].is_null() || held {
            return;
        }
        let mut body = stored.body.clone();
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, "DELETED", at.clone(), body));
        self.objects.remove(at);
    }

    fn events_after(&self, version: u64, target: &Target, selector: &str) -> Vec<(u64, String)> {
        self.history
            .iter()
            .filter(|(at_version, _, at, body)| {
                *at_version > version && target.admits(at) && selected(body, selector)
            })
            .map(|(at_version, event, _, body)| {
                (*at_version, format!("{}\n", json!({"type": event, "object": body})))
            })
            .collect()
    }
}

/// A generated credential is made once.
fn overwritten(at: &At, before: &Value, after: &Value) -> Option<String> {
    let secret = [
        "password",
        "superuserPassword",
        "temporalPassword",
        "controllerPassword",
        "clusterId",
        "accessKeyId",
        "secretAccessKey",
        "controlToken",
        "apiKey",
    ];
    let data = before["data"].as_object().filter(|_| at.api == "api/v1/secrets")?;
    data.iter()
        .find(|(key, value)| secret.contains(&key.as_str()) && after["data"][key.as_str()] != **value)
        .map(|(key, _)| format!("{key} of Secret {} was overwritten", at.name))
}

fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// `key=value` and `key!=value`: the operator has no other selectors.
fn selected(body: &Value, selector: &str) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term.split_once('=').unwrap();
        match key.strip_suffix('!') {
            Some(key) => body["metadata"]["labels"][key].as_str() != Some(value),
            None => body["metadata"]["labels"][key].as_str() == Some(value),
        }
    })
}

fn form(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",").replace("%21", "!").replace('+', " ")
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn success(code: u16, body: &Value) -> Response<Reply> {
    respond(code, body)
}

fn not_found(at: &At) -> Response<Reply> {
    failure(404, "NotFound", &format!("{} {} not found", at.api, at.name), json!({}))
}

fn failure(code: u16, reason: &str, message: &str, details: Value) -> Response<Reply> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "message": message, "reason": reason, "details": details, "code": code,
    });
    respond(code, &body)
}

fn respond(code: u16, body: &Value) -> Response<Reply> {
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())).map_err(BoxError::from).boxed_unsync())
        .unwrap()
}
