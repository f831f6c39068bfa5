//! A sidecar for bytes without frames: each client is lent a connection to the upstream for as long
//! as it stays.
//!
//! `cargo run --release --example raw_route -- 127.0.0.1:8081 127.0.0.1:8080`

use std::{error::Error, time::Duration};

use millpond::{
    connectors::StreamConnector,
    net::{ListenOptions, Listener},
    proxy::RawRoute,
    server::ServerSettings,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = &arguments[..] else {
        return Err("expected: LISTEN UPSTREAM".into());
    };
    let route = RawRoute::to(StreamConnector::to(upstream)?).pool(|pool| pool.max_size(50));
    let route = route.build()?;
    let listener = Listener::bind(&listen.parse()?, ListenOptions::default()).await?;
    let running = route.serve(ServerSettings::default(), listener)?;
    println!("{} is passed on to {upstream}", running.endpoint());
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!("{:?}", route.snapshot().totals);
    }
}
