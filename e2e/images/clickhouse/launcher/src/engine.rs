//! The engine in `libchdb.so`, by its C interface.
#![allow(unsafe_code, reason = "a C library is loaded and called; nothing else here is unsafe")]

use crate::arguments::Serve;
use anyhow::Context;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// What `query_stable_v2` returns; the library owns it. Only the message is of interest here.
#[repr(C)]
struct QueryResult {
    buffer: *mut c_char,
    buffer_bytes: usize,
    vector: *mut c_void,
    elapsed_seconds: f64,
    rows_read: u64,
    bytes_read: u64,
    error_message: *mut c_char,
}

type QueryStableV2 = unsafe extern "C" fn(argc: c_int, argv: *mut *mut c_char) -> *mut QueryResult;

pub struct Engine {
    // Never unloaded: its threads run until the process ends.
    library: std::mem::ManuallyDrop<Library>,
}

impl Engine {
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        // The library brings its own allocator and C++ runtime: deep binding makes it prefer its own symbols
        // over those of this program.
        let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_DEEPBIND;
        // SAFETY: the library is the pinned release of chDB; its initialisers only set up its own state.
        let library = unsafe { Library::open(Some(path), flags) }.with_context(|| {
            format!(
                "loading the engine {} (it needs a CPU with AVX2; CLICKHOUSE_LIBRARY names another file)",
                path.display()
            )
        })?;
        Ok(Self { library: std::mem::ManuallyDrop::new(library) })
    }

    /// Opens the listeners and returns when the other end of `keep_alive` has been closed and the engine has
    /// finished what it was doing.
    pub fn serve(&self, serve: &Serve, keep_alive: BorrowedFd<'_>) -> anyhow::Result<()> {
        let mut arguments: Vec<CString> = command_line(serve, keep_alive.as_raw_fd())
            .into_iter()
            .map(|argument| CString::new(argument).context("an argument contains a zero byte"))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*mut c_char> =
            arguments.iter_mut().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).context("too many arguments")?;
        pointers.push(std::ptr::null_mut());

        // SAFETY: the symbol has this signature in the pinned release (chdb.h of that release).
        let run = unsafe { self.library.get::<QueryStableV2>(b"query_stable_v2\0") }
            .context("this libchdb.so has no query_stable_v2: it is not the pinned release")?;
        // SAFETY: `pointers` holds `count` valid C strings and a terminating null, and outlives the call.
        let result = unsafe { run(count, pointers.as_mut_ptr()) };
        // SAFETY: the library returns null or a result that stays valid until it is freed, which never happens.
        let message = unsafe { result.as_ref() }.map(|result| result.error_message);
        match message {
            Some(text) if !text.is_null() => {
                // SAFETY: a non-null message is a C string of the library.
                let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
                anyhow::bail!("{text}")
            }
            _ => Ok(()),
        }
    }
}

/// `clickhouse-local` with a query that opens the listeners and then reads a pipe into which nobody writes.
///
/// The first word is the program's name and must not be `local`: the library would take it for a subcommand.
fn command_line(serve: &Serve, keep_alive: c_int) -> Vec<String> {
    let mut line = vec![
        "clickhouse".to_owned(),
        format!("--config-file={}", serve.config_file.display()),
        format!("--path={}", serve.data_path.display()),
    ];
    line.push(format!("--log-level={}", serve.log_level));
    line.extend(serve.overrides.iter().cloned());
    line.push(format!(
        "--query=SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
         SELECT * FROM file('/proc/self/fd/{keep_alive}', 'LineAsString') FORMAT Null \
         SETTINGS max_execution_time = 0, storage_file_read_method = 'read'"
    ));
    line
}
