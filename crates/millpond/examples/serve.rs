//! Serves the `length:` protocol: greets whoever says its name, until its own input ends; then it
//! drains.
//!
//! ```text
//! cargo run --example serve -- 127.0.0.1:7070
//! printf 'length:0000000000016{"name":"Marie"}' | nc -q 1 127.0.0.1 7070
//! ```

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::Duration;

    use millpond::{
        net::{ListenOptions, Listener},
        server::{Server, json},
    };

    #[derive(serde::Deserialize)]
    struct Guest {
        name: String,
    }

    let endpoint = std::env::args()
        .nth(1)
        .unwrap_or_else(|| String::from("127.0.0.1:0"));
    let listener = Listener::bind(&endpoint.parse()?, ListenOptions::default()).await?;
    let greet = json(async |guest: Guest| match guest.name.is_empty() {
        true => Err("nobody has no name"),
        false => Ok(format!("Hello, {}!", guest.name)),
    });
    let server = Server::builder(greet).serve(listener)?;
    eprintln!("serving at {}; end of input drains", server.endpoint());

    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    let ended = server.drain(Duration::from_secs(5)).await;
    eprintln!("{} connections were closed by force", ended.forced);
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("millpond serves on Unix systems");
}
