//! Bad input over the wire: each with a clear answer, memory bounded, nothing of it stored, nothing secret logged.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    client::send,
    kafka,
    world::{World, key, until},
};

async fn post(world: &World, body: Vec<u8>, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(world.url("/v1/events")).bearer_auth(key('a')).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn gzip(chunk: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..times {
        encoder.write_all(chunk).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_its_reason_and_stored_nowhere() {
    let mut world = World::start("refusals").await;
    let whole: &[(&str, &str, u16)] = &[
        ("{", "malformed_json", 400),
        ("{\"type\":\"a\",\"properties\":{\"n\":NaN}}", "malformed_json", 400),
        ("[]", "no_events", 400),
    ];
    for (body, code, status) in whole {
        let answer = post(&world, body.as_bytes().to_vec(), &[]).await;
        assert_eq!((answer.0, &answer.1["code"]), (*status, &json!(code)), "{body}");
    }

    let day_us = 86_400_000_000i64;
    let now_us = meridian_ingest::drain::now_us();
    let events = json!([
        {"id": "good", "type": "api-calls", "properties": {"n": 7}},
        {"id": "old", "type": "api-calls", "time": now_us - 5 * 365 * day_us},
        {"id": "ahead", "type": "api-calls", "time": now_us + 2 * day_us},
        {"id": "stolen", "type": "api-calls", "tenant": "globex"},
        {"type": 7},
    ]);
    let huge = r#"{"id":"huge","type":"a","properties":{"n":1e400}}]"#;
    let body = format!("{},{huge}", events.to_string().strip_suffix(']').unwrap());
    let (status, answer) = post(&world, body.into_bytes(), &[]).await;
    let codes: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap_or("-")).collect();
    assert_eq!(status, 202);
    assert_eq!(
        codes,
        ["-", "too_old", "too_far_ahead", "wrong_tenant", "malformed_event", "number_out_of_range"]
    );
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(5)));

    let (status, answer) = post(&world, br#"[{"type":7}]"#.to_vec(), &[]).await;
    assert_eq!((status, &answer["accepted"]), (422, &json!(0)), "no good event at all: {answer}");

    let many = json!(vec![json!({"type": "a"}); 1001]).to_string().into_bytes();
    let (status, answer) = post(&world, many, &[]).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_many_events")));

    let before = world.resident_mib();
    let bomb = gzip(&[b' '; 1 << 20], 1000);
    for _ in 0..20 {
        let (status, answer) = post(&world, bomb.clone(), &[("content-encoding", "gzip")]).await;
        assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));
    }
    let grown = world.resident_mib().saturating_sub(before);
    eprintln!("20 gzip bombs of 1 GiB each: resident memory grew by {grown} MiB");
    assert!(grown < 64, "{grown} MiB");

    wrong_and_revoked_keys(&mut world).await;

    let there: Vec<String> = kafka::ids(&world.environment).into_keys().collect();
    assert_eq!(there, ["good"], "what was refused is nowhere");
    assert_eq!(world.outbox_entries().await, 0);
    let log = world.log();
    for secret in [&key('a'), &key('b'), &key('z'), &world.environment["MERIDIAN_POSTGRES_PASSWORD"]] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}

async fn wrong_and_revoked_keys(world: &mut World) {
    let http = reqwest::Client::new();
    let event = json!({"id": "never", "type": "api-calls", "time": 7});
    let refused = async |key: &str| {
        let (status, answer) = send(&http, &world.url("/v1/events"), key, &event).await.unwrap();
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused(&key('z')).await, (401, "invalid_api_key".to_owned()));
    assert_eq!(refused("mrd_short").await, (401, "invalid_api_key".to_owned()));
    // The key is good: the event is judged, and refused for its time.
    assert_eq!(refused(&key('b')).await.0, 422);
    world.grant(&['a']).await;
    let url = world.url("/v1/events");
    until("a revoked key is dead", Duration::from_secs(10), async || {
        let (status, answer) = send(&http, &url, &key('b'), &event).await.unwrap();
        (status, answer["code"].as_str()) == (401, Some("revoked_api_key"))
    })
    .await;
    assert_eq!(send(&http, &url, &key('a'), &event).await.unwrap().0, 422, "the other key still lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_let_go_and_others_do_not_wait() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start("slow").await;
    let address = world.url("").strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        // Half of them never finish the head, half never finish the body.
        let head = if n % 2 == 0 {
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned()
        } else {
            format!(
                "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 50\r\n\r\n{{",
                key('a')
            )
        };
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let event = json!({"id": "quick", "type": "api-calls"});
    let started = std::time::Instant::now();
    assert_eq!(
        send(&reqwest::Client::new(), &world.url("/v1/events"), &key('a'), &event).await.unwrap().0,
        202
    );
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for mut stream in slow {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        ended.expect("a slow client is let go").ok();
    }
}
