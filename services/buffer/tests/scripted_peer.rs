//! The group commit against a scripted DynamoDB endpoint over real HTTP: what real stores do only under load.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use meridian_billing::{
    event::{EventDraft, EventLimits, EventOrigin},
    ids::{ProjectId, TenantId},
};
use meridian_buffer::{Buffer, BufferOptions, EventRecord, PutError, Tuning};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

const TABLE: &str = "events-7";

/// How the peer answers its next call; it takes everything when the script is over.
#[derive(Clone)]
enum Step {
    Take,
    /// Leaves the last items of the batch unprocessed.
    Leave(usize),
    Fail(StatusCode, &'static str),
    /// Refuses a batch that has an item with this id.
    RefuseId(&'static str),
    Hang,
}

#[derive(Default)]
struct Peer {
    script: VecDeque<Step>,
    always: Option<Step>,
    /// The items of each call.
    calls: Vec<Vec<Value>>,
    stored: Vec<Value>,
    slow: Duration,
}

type Shared = Arc<Mutex<Peer>>;

async fn answer(State(peer): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["x-amz-target"], "DynamoDB_20120810.BatchWriteItem");
    let request: Value = serde_json::from_slice(&body).unwrap();
    let items: Vec<Value> = request["RequestItems"][TABLE]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["PutRequest"]["Item"].clone())
        .collect();
    let (step, slow) = {
        let mut peer = peer.lock().unwrap();
        peer.calls.push(items.clone());
        let step = peer.script.pop_front().or_else(|| peer.always.clone()).unwrap_or(Step::Take);
        (step, peer.slow)
    };
    tokio::time::sleep(slow).await;
    let error = |status: StatusCode, code: &str| {
        let body =
            json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "scripted"});
        (status, [("content-type", "application/x-amz-json-1.0")], body.to_string()).into_response()
    };
    let left = match step {
        Step::Take => 0,
        Step::Leave(left) => left.min(items.len()),
        Step::Fail(status, code) => return error(status, code),
        Step::RefuseId(id) if items.iter().any(|i| i["sk"]["S"].as_str().unwrap().contains(id)) => {
            return error(StatusCode::BAD_REQUEST, "ValidationException");
        }
        Step::RefuseId(_) => 0,
        Step::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            0
        }
    };
    let (taken, left) = items.split_at(items.len() - left);
    peer.lock().unwrap().stored.extend_from_slice(taken);
    let unprocessed: Vec<Value> = left.iter().map(|i| json!({"PutRequest": {"Item": i}})).collect();
    let unprocessed = if unprocessed.is_empty() { json!({}) } else { json!({TABLE: unprocessed}) };
    let body = json!({"UnprocessedItems": unprocessed}).to_string();
    ([("content-type", "application/x-amz-json-1.0")], body).into_response()
}

async fn start(peer: Peer, tuning: Tuning) -> (Buffer, Shared) {
    let peer = Arc::new(Mutex::new(peer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(peer.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let options = BufferOptions {
        endpoint: Some(endpoint),
        aws_region: "eu-test-7".to_owned(),
        access_key_id: "AKIA7".to_owned(),
        secret_access_key: "scripted".into(),
        table: TABLE.to_owned(),
    };
    (Buffer::connect_tuned(&options, tuning), peer)
}

fn record(id: &str, units: i64) -> EventRecord {
    let origin = EventOrigin {
        tenant: TenantId::new("acme").unwrap(),
        project: ProjectId::default_project(),
        default_source: "key".to_owned(),
    };
    let draft = EventDraft {
        id: Some(id.to_owned()),
        event_type: "calls".to_owned(),
        time_us: Some(1),
        properties: [("units".to_owned(), json!(units))].into(),
        ..EventDraft::default()
    };
    EventRecord::of(&draft.validate(&origin, &EventLimits::default(), 1_000_007).unwrap())
}

fn records(count: usize) -> Vec<EventRecord> {
    (0..count).map(|n| record(&format!("e-{n:04}"), 1)).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn ids(items: &[Value]) -> Vec<String> {
    let id = |item: &Value| item["sk"]["S"].as_str().unwrap().split('#').nth(1).unwrap().to_owned();
    let mut ids: Vec<String> = items.iter().map(id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_request_is_cut_into_batches_of_25_and_answered_once_all_are_in() {
    let (buffer, peer) = start(Peer::default(), Tuning::default()).await;
    assert_eq!(buffer.put_records(&records(60), soon()).await, vec![Ok(()); 60]);
    let peer = peer.lock().unwrap();
    let mut sizes: Vec<usize> = peer.calls.iter().map(Vec::len).collect();
    sizes.sort();
    assert_eq!(sizes, [10, 25, 25]);
    assert_eq!(ids(&peer.stored).len(), 60);
    let item = &peer.stored[0];
    assert_eq!(
        item["pk"]["S"].as_str().unwrap().split('#').take(2).collect::<Vec<_>>(),
        ["acme", "19700101T0000"]
    );
    assert_eq!(item["expires_at"]["N"], (1 + 366 * 24 * 3600).to_string());
    let event: Value = serde_json::from_str(item["event"]["S"].as_str().unwrap()).unwrap();
    assert_eq!((&event["tenant"], &event["properties"]["units"]), (&json!("acme"), &json!(1)));
}

#[tokio::test]
async fn requests_that_come_together_share_calls() {
    let peer = Peer { slow: Duration::from_millis(40), ..Peer::default() };
    let (buffer, peer) = start(peer, Tuning { batches_in_flight: 2, ..Tuning::default() }).await;
    let all = records(100);
    let puts = all.iter().map(|record| buffer.put_records(std::slice::from_ref(record), soon()));
    let answers = futures::future::join_all(puts).await;
    assert!(answers.iter().all(|a| a == &[Ok(())]));
    let calls = peer.lock().unwrap().calls.len();
    assert!(calls <= 10, "100 single events took {calls} calls");
}

#[tokio::test]
async fn unprocessed_items_are_sent_again_before_anything_is_answered() {
    let script = [Step::Leave(20), Step::Leave(19), Step::Leave(1)].into();
    let (buffer, peer) = start(Peer { script, ..Peer::default() }, Tuning::default()).await;
    assert_eq!(buffer.put_records(&records(25), soon()).await, vec![Ok(()); 25]);
    let peer = peer.lock().unwrap();
    assert_eq!(peer.calls.iter().map(Vec::len).collect::<Vec<_>>(), [25, 20, 19, 1]);
    assert_eq!(ids(&peer.stored), ids(&peer.calls[0]), "each stored once");
}

#[tokio::test]
async fn items_that_stay_unprocessed_are_not_answered_as_stored() {
    let peer = Peer { always: Some(Step::Leave(3)), ..Peer::default() };
    let (buffer, peer) = start(peer, Tuning::default()).await;
    let answers = buffer.put_records(&records(5), Instant::now() + Duration::from_millis(600)).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 2);
    assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(PutError::Throttled | PutError::Deadline))));
    let calls = peer.lock().unwrap().calls.len();
    assert!((3..30).contains(&calls), "backing off, not hammering: {calls} calls in 600 ms");
}

#[tokio::test]
async fn the_same_event_twice_in_a_batch_is_one_item_and_two_answers() {
    let (buffer, peer) = start(Peer::default(), Tuning::default()).await;
    let twice = [record("same", 1), record("other", 1), record("same", 1)];
    assert_eq!(buffer.put_records(&twice, soon()).await, vec![Ok(()); 3]);
    assert_eq!(ids(&peer.lock().unwrap().stored), ["other", "same"]);
}

#[tokio::test]
async fn the_same_id_with_another_payload_does_not_replace_the_first() {
    let (buffer, peer) = start(Peer::default(), Tuning::default()).await;
    let both = [record("same", 1), record("same", 2)];
    assert_eq!(buffer.put_records(&both, soon()).await, vec![Ok(()); 2]);
    let peer = peer.lock().unwrap();
    let keys: std::collections::BTreeSet<_> = peer.stored.iter().map(|i| i["sk"]["S"].to_string()).collect();
    assert_eq!(keys.len(), 2);
}

#[tokio::test]
async fn one_item_that_is_refused_does_not_take_its_neighbours_with_it() {
    let peer = Peer { always: Some(Step::RefuseId("e-0017")), ..Peer::default() };
    let (buffer, peer) = start(peer, Tuning::default()).await;
    let answers = buffer.put_records(&records(25), soon()).await;
    for (n, answer) in answers.iter().enumerate() {
        match n {
            17 => assert!(matches!(answer, Err(PutError::Refused(_))), "{answer:?}"),
            _ => assert_eq!(*answer, Ok(()), "event {n}"),
        }
    }
    assert_eq!(peer.lock().unwrap().stored.len(), 24);
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let throttle = Step::Fail(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException");
    let script = vec![throttle; 5].into();
    let (buffer, _) = start(Peer { script, ..Peer::default() }, Tuning::default()).await;
    assert_eq!(buffer.put_records(&records(3), soon()).await, vec![Ok(()); 3]);
}

#[tokio::test]
async fn a_missing_table_is_a_store_that_is_away_not_a_bad_item() {
    let missing = Step::Fail(StatusCode::BAD_REQUEST, "ResourceNotFoundException");
    let (buffer, peer) = start(Peer { always: Some(missing), ..Peer::default() }, Tuning::default()).await;
    let answers = buffer.put_records(&records(25), soon()).await;
    assert!(answers.iter().all(|a| matches!(a, Err(PutError::Unavailable(_)))), "{answers:?}");
    assert_eq!(peer.lock().unwrap().calls.len(), 1);
}

#[tokio::test]
async fn a_store_that_hangs_costs_its_deadline_and_its_queue_stays_bounded() {
    let tuning = Tuning { events_queued_max: 40, ..Tuning::default() };
    let (buffer, _) = start(Peer { always: Some(Step::Hang), ..Peer::default() }, tuning).await;
    let started = Instant::now();
    let deadline = started + Duration::from_millis(300);
    let (first, second, third) = (records(30), records(10), records(1));
    let (first, second, third) = tokio::join!(
        buffer.put_records(&first, deadline),
        buffer.put_records(&second, deadline),
        buffer.put_records(&third, deadline),
    );
    assert_eq!(first, vec![Err(PutError::Deadline); 30]);
    assert_eq!(second, vec![Err(PutError::Deadline); 10]);
    assert_eq!(third, [Err(PutError::Overloaded)]);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn an_event_that_cannot_fit_is_refused_before_it_is_sent() {
    let (buffer, peer) = start(Peer::default(), Tuning::default()).await;
    let mut large = record("large", 1);
    large.json = "x".repeat(401 << 10).into();
    let answers = buffer.put_records(&[large, record("small", 1)], soon()).await;
    assert!(matches!(answers[0], Err(PutError::TooLarge { .. })) && answers[1].is_ok());
    assert_eq!(ids(&peer.lock().unwrap().stored), ["small"]);
}

#[tokio::test]
async fn an_endpoint_that_is_dead_is_told_quickly_and_in_words() {
    let options = BufferOptions {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        aws_region: "eu-test-7".to_owned(),
        access_key_id: "AKIA7".to_owned(),
        secret_access_key: "scripted".into(),
        table: TABLE.to_owned(),
    };
    let started = Instant::now();
    let answers = Buffer::connect(&options).put_records(&records(1), soon()).await;
    let Err(PutError::Unavailable(reason)) = &answers[0] else { panic!("{answers:?}") };
    assert!(reason.contains("onnect"), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(!format!("{options:?}").contains("scripted"), "credentials do not print");
}
