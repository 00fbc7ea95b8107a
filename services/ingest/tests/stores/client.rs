//! A load of events, and the ledger of what was acknowledged.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What the client knows about the events it sent.
#[derive(Default)]
pub struct Ledger {
    pub acknowledged: BTreeSet<String>,
    /// Each answer of 202: when, how long it took, whether degraded.
    pub answers: Vec<Answer>,
    /// Requests that failed on the wire or were answered otherwise, by what was said.
    pub failures: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Instant,
    pub took: Duration,
    pub degraded: bool,
    pub durability: String,
}

pub struct Load {
    pub ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

const WORKERS: usize = 8;
const EVENTS_PER_REQUEST: usize = 20;

impl Load {
    /// Sends until `stop`, each id once: a request that fails is not repeated, so that the ledger alone says what
    /// must be there.
    pub fn start(url: String, key: String) -> Load {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let http = reqwest::Client::new();
        let workers = (0..WORKERS)
            .map(|_| {
                let (http, url, key) = (http.clone(), url.clone(), key.clone());
                let (ledger, stop, sent) = (ledger.clone(), stop.clone(), sent.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let first = sent.fetch_add(EVENTS_PER_REQUEST, Ordering::Relaxed);
                        request(&http, &url, &key, first, &ledger).await;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
            })
            .collect();
        Load { ledger, stop, workers }
    }

    pub async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        std::mem::take(&mut *self.ledger.lock().unwrap())
    }
}

async fn request(http: &reqwest::Client, url: &str, key: &str, first: usize, ledger: &Mutex<Ledger>) {
    let events: Vec<Value> = (first..first + EVENTS_PER_REQUEST)
        .map(|n| json!({"id": format!("load-{n:07}"), "type": "api-calls", "properties": {"n": n}}))
        .collect();
    let started = Instant::now();
    let answer = send(http, url, key, &json!(events)).await;
    let mut ledger = ledger.lock().unwrap();
    match answer {
        Ok((202, body)) => {
            let accepted = body["results"].as_array().unwrap().iter().filter(|r| r["status"] == "accepted");
            let ids: Vec<String> = accepted.map(|r| r["id"].as_str().unwrap().to_owned()).collect();
            ledger.acknowledged.extend(ids);
            ledger.answers.push(Answer {
                at: Instant::now(),
                took: started.elapsed(),
                degraded: body["degraded"].as_bool().unwrap(),
                durability: body["durability"].to_string(),
            });
        }
        Ok((status, body)) => ledger.failures.push(format!("{status} {}", body["code"])),
        Err(error) => ledger.failures.push(error),
    }
}

/// Status and body of one POST.
pub async fn send(
    http: &reqwest::Client,
    url: &str,
    key: &str,
    body: &Value,
) -> Result<(u16, Value), String> {
    let answer =
        http.post(url).bearer_auth(key).json(body).send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status().as_u16();
    let body = answer.json().await.map_err(|error| format!("{error:?}"))?;
    Ok((status, body))
}
