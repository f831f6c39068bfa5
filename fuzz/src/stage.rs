//! Where targets that talk over sockets play: a runtime on this thread, and listeners on Unix
//! sockets, which take 20 µs to dial and leave no TIME_WAIT behind. One per thread, for all inputs,
//! so what an input leaves behind is found by the next.

use std::{
    env,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use millpond::net::{Endpoint, ListenOptions, Listener};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

/// How long anything may take that takes microseconds: beyond it, it hangs.
const HUNG: Duration = Duration::from_secs(10);

pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// One whose time passes only by [`tokio::time::advance`], and while nothing else can be done.
pub(crate) fn stopped_runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

/// A path for a socket that nobody else has. Where `TMPDIR` says.
pub(crate) fn socket_path() -> PathBuf {
    static SOCKETS: AtomicUsize = AtomicUsize::new(0);
    let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("millpond-fuzz-{}-{number}.sock", process::id()))
}

pub(crate) async fn listener() -> (PathBuf, Listener) {
    let path = socket_path();
    let listener = listener_at(&path).await;
    (path, listener)
}

pub(crate) async fn listener_at(path: &Path) -> Listener {
    let listener = Listener::bind(&Endpoint::Unix(path.into()), ListenOptions::default()).await;
    listener.expect("a socket in the folder for temporary files")
}

/// What `play` answers, which must not take long.
pub(crate) async fn promptly<T>(what: &str, play: impl Future<Output = T>) -> T {
    match timeout(HUNG, play).await {
        Ok(played) => played,
        Err(_) => panic!("hung: {what} has taken {HUNG:?}"),
    }
}
