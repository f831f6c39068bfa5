//! The pools over TCP, each behind the same few lines. What each pool's documentation shows is what
//! is written here: no checks beyond that.

use std::{io, sync::Arc};

use deadpool::managed::{Metrics, RecycleResult};
use tokio::net::TcpStream;

use super::contestant::{Contestant, Lent, Task, exchange, in_full};

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Millpond,
    Deadpool,
    Bb8,
}

impl Who {
    pub const ALL: [Who; 3] = [Who::Millpond, Who::Deadpool, Who::Bb8];

    pub fn name(self) -> &'static str {
        match self {
            Who::Millpond => "millpond",
            Who::Deadpool => "deadpool",
            Who::Bb8 => "bb8",
        }
    }

    /// What it is, and how it is set.
    pub fn describe(self) -> &'static str {
        match self {
            Who::Millpond => super::millpond::DESCRIPTION,
            Who::Deadpool => {
                "0.13, managed, its defaults: no timeouts; `recycle` as in its documentation: Ok(())"
            }
            Who::Bb8 => {
                "0.9, its defaults: connection_timeout 30 s, test_on_check_out, retry_connection; `is_valid` as in its \
                 documentation: Ok(()), `has_broken`: false"
            }
        }
    }

    /// Builds it on the current runtime; it connects to `endpoint`, which may be a name with a
    /// port, when it is first asked.
    pub fn build(self, endpoint: &str, max_size: u32) -> Arc<dyn Contestant> {
        let dials = Dials(endpoint.to_owned());
        match self {
            Who::Millpond => super::millpond::contestant(endpoint, max_size),
            Who::Deadpool => {
                let pool = deadpool::managed::Pool::builder(dials).max_size(max_size as usize);
                Arc::new(pool.build().expect("nothing needs a runtime"))
            }
            Who::Bb8 => Arc::new(
                bb8::Pool::builder()
                    .max_size(max_size)
                    .build_unchecked(dials),
            ),
        }
    }
}

impl From<Who> for String {
    fn from(who: Who) -> String {
        who.name().to_owned()
    }
}

/// Connects, for whichever pool asks, and checks nothing.
struct Dials(String);

impl deadpool::managed::Manager for Dials {
    type Type = TcpStream;
    type Error = io::Error;

    async fn create(&self) -> io::Result<TcpStream> {
        TcpStream::connect(&self.0).await
    }
    async fn recycle(&self, _: &mut TcpStream, _: &Metrics) -> RecycleResult<io::Error> {
        Ok(())
    }
}

impl bb8::ManageConnection for Dials {
    type Connection = TcpStream;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(&self.0).await
    }
    async fn is_valid(&self, _: &mut TcpStream) -> io::Result<()> {
        Ok(())
    }
    fn has_broken(&self, _: &mut TcpStream) -> bool {
        false
    }
}

impl Contestant for deadpool::managed::Pool<Dials> {
    fn acquire(&self) -> Task<'_, Result<Box<dyn Lent>, String>> {
        Box::pin(async {
            let lent = self.get().await.map_err(|error| in_full(&error))?;
            Ok(Box::new(lent) as Box<dyn Lent>)
        })
    }
}

impl Contestant for bb8::Pool<Dials> {
    fn acquire(&self) -> Task<'_, Result<Box<dyn Lent>, String>> {
        Box::pin(async {
            let lent = self.get_owned().await.map_err(|error| in_full(&error))?;
            Ok(Box::new(lent) as Box<dyn Lent>)
        })
    }
}

impl Lent for deadpool::managed::Object<Dials> {
    fn exchange(&mut self) -> Task<'_, io::Result<u8>> {
        Box::pin(exchange(&mut **self))
    }
    fn complete(self: Box<Self>) {}
}

impl Lent for bb8::PooledConnection<'static, Dials> {
    fn exchange(&mut self) -> Task<'_, io::Result<u8>> {
        Box::pin(exchange(&mut **self))
    }
    fn complete(self: Box<Self>) {}
}
