//! Millpond among the contestants: the one place where its pool over TCP is built.

use std::{io, sync::Arc, time::Duration};

use millpond::{
    connectors::StreamConnector,
    pool::{Connection, Pool},
    transport::Dialer,
};

use super::contestants::{Contestant, Lent, Task, exchange, in_full};

pub const DESCRIPTION: &str = "its defaults: acquire_timeout 5 s, connect_timeout 3 s, outage_grace 1 s, max_connecting 4; over `StreamConnector`, \
     its name looked up again every 2 s instead of 30";

/// Builds the pool on the current runtime.
fn millpond_pool(endpoint: &str, max_size: u32) -> Pool<StreamConnector> {
    let endpoint = endpoint.parse().expect("the rig's endpoints are valid");
    // So that the campaign needn't wait for half a minute to see a name move.
    let dialer = Dialer::new(endpoint).refresh(Duration::from_secs(2));
    Pool::builder(StreamConnector::new(dialer))
        .max_size(max_size)
        .build()
        .expect("a runtime is there, and the setting is valid")
}

pub fn contestant(endpoint: &str, max_size: u32) -> Arc<dyn Contestant> {
    Arc::new(millpond_pool(endpoint, max_size))
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
