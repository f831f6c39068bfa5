//! A server that answers every byte with one, and nobody for 1 s in 10.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

/// What it takes for a request, and its reply.
pub(super) const SPOKEN: [&str; 6] = ["--framing", "raw", "--body", "?", "--expect", "!"];

const EVERY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

/// Starts it, for as long as this process lives; its endpoint.
pub(super) fn start() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("tcp://{}", listener.local_addr()?);
    let gate = Arc::new(RwLock::new(()));
    let closing = Arc::clone(&gate);
    thread::spawn(move || {
        loop {
            thread::sleep(EVERY - PAUSE);
            let _closed = closing.write().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(PAUSE);
        }
    });
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    drop(gate.read().unwrap_or_else(PoisonError::into_inner));
                    if stream.write_all(b"!").is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(endpoint)
}
