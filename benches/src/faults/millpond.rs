//! Millpond among the contestants: the one place where its pool over TCP is built.

use std::{io, sync::Arc};

use millpond::pool::{Connection, Connector, Pool, connect_with};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::contestants::{Contestant, Lent, Task, exchange, in_full};

pub const DESCRIPTION: &str = "its defaults: acquire_timeout 5 s, connect_timeout 3 s, outage_grace 1 s, max_connecting 4; over `connect_with(TcpStream::connect)`";

/// Builds the pool on the current runtime.
fn millpond_pool(
    endpoint: &str,
    max_size: u32,
) -> Pool<impl Connector<Connection: AsyncRead + AsyncWrite + Unpin>> {
    let endpoint = endpoint.to_owned();
    let connector = connect_with(move || TcpStream::connect(endpoint.clone()));
    Pool::builder(connector)
        .max_size(max_size)
        .build()
        .expect("a runtime is there, and the setting is valid")
}

pub fn contestant(endpoint: &str, max_size: u32) -> Arc<dyn Contestant> {
    Arc::new(millpond_pool(endpoint, max_size))
}

impl<C> Contestant for Pool<C>
where
    C: Connector<Connection: AsyncRead + AsyncWrite + Unpin>,
{
    fn acquire(&self) -> Task<'_, Result<Box<dyn Lent>, String>> {
        Box::pin(async {
            let lent = Pool::acquire(self).await.map_err(|error| in_full(&error))?;
            Ok(Box::new(lent) as Box<dyn Lent>)
        })
    }
}

impl<C> Lent for Connection<C>
where
    C: Connector<Connection: AsyncRead + AsyncWrite + Unpin>,
{
    fn exchange(&mut self) -> Task<'_, io::Result<u8>> {
        Box::pin(exchange(&mut **self))
    }
    fn complete(self: Box<Self>) {
        self.release();
    }
}
