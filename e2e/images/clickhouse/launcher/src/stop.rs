//! From a signal to a clean stop: the signal closes a pipe, the query that reads the pipe ends, the engine ends.
#![allow(unsafe_code, reason = "signal masks and pipes are calls into libc")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct KeepAlive {
    read_end: OwnedFd,
    signalled: Arc<AtomicBool>,
}

impl KeepAlive {
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    pub fn was_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }
}

/// Ends the process without running the library's destructors: the engine's threads outlive its last query,
/// and destroying what they use under them crashes. What matters is on the disk by then.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Blocks SIGTERM and SIGINT in this thread and in every thread that it starts from now on.
pub fn block_signals() -> io::Result<libc::sigset_t> {
    // SAFETY: `set` is initialised by sigemptyset before it is read; the calls touch nothing else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(set),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Starts the thread that waits for the signal. A second signal ends the process at once.
pub fn until_signalled(signals: libc::sigset_t) -> io::Result<KeepAlive> {
    let (read_end, write_end) = pipe()?;
    let signalled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&signalled);
    std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        let signal = wait_for(&signals);
        eprintln!("clickhouse-server: signal {signal}, stopping");
        flag.store(true, Ordering::SeqCst);
        drop(write_end);
        let signal = wait_for(&signals);
        leave(128 + signal);
    })?;
    Ok(KeepAlive { read_end, signalled })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors, which nobody else owns afterwards.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

fn wait_for(signals: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call. sigwait fails only for an invalid set, and this one is not.
    unsafe { libc::sigwait(signals, &raw mut signal) };
    signal
}
