//! Pooled raw connections to a Redis server: `cargo run --package millpond --example redis --
//! tcp://127.0.0.1:6379`
//!
//! The pool knows nothing of Redis. Who borrows a connection says where its exchange ends, by
//! returning from `with`: a connection whose exchange fails or is cancelled is closed, and nobody
//! gets the rest of somebody else's reply.

use millpond::{connectors::StreamConnector, net::Stream, pool::Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Adds one to a counter, and returns it: `:42\r\n`.
async fn increment(redis: &mut Stream, key: &str) -> std::io::Result<String> {
    let command = format!("*2\r\n$4\r\nINCR\r\n${}\r\n{key}\r\n", key.len());
    redis.write_all(command.as_bytes()).await?;
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n") {
        let mut part = [0; 64];
        match redis.read(&mut part).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => reply.extend_from_slice(&part[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&reply).trim_end().to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref().unwrap_or("tcp://127.0.0.1:6379");
    let pool = Pool::builder(StreamConnector::to(endpoint)?)
        .max_size(4)
        .build()?;
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.with(async |redis| increment(redis, "millpond:example").await)
                    .await
            })
        })
        .collect();
    let mut last = String::new();
    for caller in callers {
        last = caller.await??;
    }
    println!("the counter's last reply that was awaited: {last}");
    println!(
        "{} connections opened for 1000 commands",
        pool.snapshot().totals.opened
    );
    Ok(())
}
