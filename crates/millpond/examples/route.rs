//! A sidecar: many clients share a few connections to an upstream.
//!
//! `cargo run --release --example route -- 127.0.0.1:7070 127.0.0.1:7071 pipelined`

use std::{error::Error, time::Duration};

use millpond::{
    client::{Client, Pipelining},
    net::{ListenOptions, Listener},
    proxy::Route,
};

// One thread serves a route faster than two, where two processors are all that clients, route and
// upstream have.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, mode @ ..] = &arguments[..] else {
        return Err("expected: LISTEN UPSTREAM [pipelined]".into());
    };
    let client = Client::to(upstream)?.pool(|pool| pool.max_size(16));
    let client = match mode {
        [] => client,
        _ => client.pipelined(Pipelining::default()),
    };
    let route = Route::to(client.build()?);
    let listener = Listener::bind(&listen.parse()?, ListenOptions::default()).await?;
    let running = route.server().serve(listener)?;
    println!("{} is passed on to {upstream}", running.endpoint());
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!("{:?}", route.snapshot().totals);
    }
}
