//! A client that sends events and keeps a ledger: which ids were acknowledged. An acknowledged event is money; what the
//! ledger holds and a store does not is a loss.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{closed_month, region::Region};

/// The ids that ingest acknowledged, and how often it answered what.
#[derive(Default, Debug)]
pub struct Ledger {
    pub acked: BTreeSet<String>,
    pub batches: usize,
    pub degraded: usize,
    pub refused: usize,
    pub broken: usize,
}

impl Ledger {
    /// True when the batch was acknowledged, and the next one is due.
    fn record(&mut self, answer: anyhow::Result<(reqwest::StatusCode, Value)>) -> bool {
        let body = match answer {
            Ok((reqwest::StatusCode::ACCEPTED, body)) => body,
            Ok(_) => {
                self.refused += 1;
                return false;
            }
            Err(_) => {
                self.broken += 1;
                return false;
            }
        };
        self.batches += 1;
        self.degraded += usize::from(body["degraded"] == true);
        let results = body["results"].as_array().into_iter().flatten();
        let accepted = results.filter(|r| r["status"] == "accepted").filter_map(|r| r["id"].as_str());
        self.acked.extend(accepted.map(str::to_owned));
        true
    }
}

/// A load in the background: batch after batch until it is stopped. A batch that got no answer is sent again with
/// the same ids, as an SDK would.
pub struct Load {
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    task: tokio::task::JoinHandle<()>,
}

/// Event `n` of a load, at a time inside the month that the tests bill.
pub fn event(prefix: &str, n: usize) -> Value {
    let (start, end) = closed_month();
    let span = end.as_microsecond() - start.as_microsecond();
    let time = start.as_microsecond() + (n as i64 * 7_919_123) % span;
    let time = jiff::Timestamp::from_microsecond(time).unwrap_or(start);
    json!({"id": format!("{prefix}-{n}"), "type": "api-calls", "time": time.to_string(), "properties": {"path": "/v1/search"}})
}

impl Load {
    /// `batch` events every `pause`.
    pub fn start(region: Arc<Region>, prefix: &str, batch: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let task = tokio::spawn(run(region, prefix.to_owned(), batch, pause, stop.clone(), ledger.clone()));
        Self { stop, ledger, task }
    }

    /// Number of acknowledged events so far.
    pub fn acked(&self) -> usize {
        self.with(|ledger| ledger.acked.len())
    }

    /// Number of batches acknowledged as degraded so far.
    pub fn degraded(&self) -> usize {
        self.with(|ledger| ledger.degraded)
    }

    /// Ends the load after the batch that it is at.
    pub async fn stop(self) -> anyhow::Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?;
        Ok(std::mem::take(&mut *self.ledger.lock().unwrap_or_else(|p| p.into_inner())))
    }

    fn with<T>(&self, f: impl FnOnce(&Ledger) -> T) -> T {
        f(&self.ledger.lock().unwrap_or_else(|p| p.into_inner()))
    }
}

async fn run(
    region: Arc<Region>,
    prefix: String,
    batch: usize,
    pause: Duration,
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
) {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let events: Vec<Value> = (next..next + batch).map(|n| event(&prefix, n)).collect();
        let answer = region.send(&events).await;
        let acked = ledger.lock().unwrap_or_else(|p| p.into_inner()).record(answer);
        next += if acked { batch } else { 0 };
        tokio::time::sleep(pause).await;
    }
}
