//! `e2e/stores/tls-front` as a process of a test. Shared by the tests of several crates, by path.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A port that nobody listens on, for a process that is about to. It is below the ports that the kernel gives to outgoing
/// connections (32768 and up), one of which could take it in between, and below those of the stores.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const MANY: u16 = 8_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % u32::from(MANY)).expect("below MANY");
    (0..MANY)
        .map(|_| FIRST + offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % MANY)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 8,000 ports is free")
}

/// TLS in front of a store on loopback. Dropped, it ends.
pub struct Front {
    pub port: u16,
    /// What vouches for it.
    pub ca: PathBuf,
    directory: PathBuf,
    child: Child,
}

impl Front {
    /// `target` ends in `:port`.
    pub async fn of(target: &str) -> Front {
        let target = target.rsplit(':').next().expect("a port");
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("meridian-tls-{port}-{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/stores/tls-front");
        let child = Command::new(script)
            .args([&port.to_string(), target])
            .arg(&directory)
            .stdin(Stdio::null())
            // socat forks for each connection: they end together.
            .process_group(0)
            .spawn()
            .expect("e2e/stores/tls-front");
        let ca = directory.join("ca.pem");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "TLS in front of {target} does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Front { port, ca, directory, child }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        Command::new("kill").args(["-TERM", "--", &group]).status().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}
