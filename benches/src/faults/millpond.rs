//! Millpond among the contestants: the one place where its pool over TCP is built.

use std::{io, sync::Arc, time::Duration};

use millpond::{
    connectors::StreamConnector,
    net::{Dialer, tls::ClientTls},
    pool::{Connection, Pool},
};

use super::contestant::{Contestant, Lent, Task, exchange, in_full};

pub const DESCRIPTION: &str = "its defaults: acquire_timeout 5 s, connect_timeout 3 s, outage_grace 1 s, max_connecting 4; over `StreamConnector`, \
     its name looked up again every 2 s instead of 30";

/// A dialer with the settings that are described above.
fn dialer(endpoint: &str) -> Dialer {
    let endpoint = endpoint.parse().expect("the rig's endpoints are valid");
    // So that the campaign needn't wait for half a minute to see a name move.
    Dialer::new(endpoint).refresh(Duration::from_secs(2))
}

/// Builds the pool on the current runtime.
fn millpond_pool(dialer: Dialer, max_size: u32) -> Pool<StreamConnector> {
    Pool::builder(StreamConnector::new(dialer))
        .max_size(max_size)
        .build()
        .expect("a runtime is there, and the setting is valid")
}

pub fn contestant(endpoint: &str, max_size: u32) -> Arc<dyn Contestant> {
    Arc::new(millpond_pool(dialer(endpoint), max_size))
}

/// As [`contestant`], for an endpoint that speaks TLS.
pub fn tls_contestant(endpoint: &str, max_size: u32, tls: ClientTls) -> Arc<dyn Contestant> {
    Arc::new(millpond_pool(dialer(endpoint).tls(tls), max_size))
}

impl Contestant for Pool<StreamConnector> {
    fn acquire(&self) -> Task<'_, Result<Box<dyn Lent>, String>> {
        Box::pin(async {
            let lent = Pool::acquire(self).await.map_err(|error| in_full(&error))?;
            Ok(Box::new(lent) as Box<dyn Lent>)
        })
    }
}

impl Lent for Connection<StreamConnector> {
    fn exchange(&mut self) -> Task<'_, io::Result<u8>> {
        Box::pin(exchange(&mut **self))
    }
    fn complete(self: Box<Self>) {
        self.release();
    }
}
