//! A TCP proxy in front of ClickHouse that can lose replies: the request arrives and takes effect, the answer never comes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub struct Proxy {
    port: u16,
    to_lose: Arc<AtomicI64>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of `http://host:port`.
    pub async fn start(url: &str) -> Self {
        let target = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (to_lose, lost) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)));
        let proxy = Self { port, to_lose: to_lose.clone(), lost: lost.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(carry(client, server, to_lose.clone(), lost.clone()));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn lose_replies_to_inserts(&self, count: i64) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, server: TcpStream, to_lose: Arc<AtomicI64>, lost: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let inserting = Arc::new(AtomicU64::new(0));
    let noticed = inserting.clone();
    let up = async move {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(size @ 1..) = from_client.read(&mut piece).await {
            if piece[..size].starts_with(b"POST ") {
                let head = String::from_utf8_lossy(&piece[..size.min(4_096)]).into_owned();
                noticed.store(u64::from(head.contains("INSERT")), Ordering::SeqCst);
            }
            if to_server.write_all(&piece[..size]).await.is_err() {
                return;
            }
        }
    };
    let down = async move {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(size @ 1..) = from_server.read(&mut piece).await {
            if inserting.load(Ordering::SeqCst) == 1 && to_lose.fetch_sub(1, Ordering::SeqCst) > 0 {
                lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if to_client.write_all(&piece[..size]).await.is_err() {
                return;
            }
        }
    };
    // Whichever ends first takes the connection with it.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
