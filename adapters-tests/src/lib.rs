//! What the tests share: where the server is, and a manager whose connection is a plain stream. The
//! code of `docs/migration.md` is tested here as well, for it needs the other pools.
//!
//! `.ci/adapters` starts the server and runs the tests.

use std::{env, io};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The code of the page for those who come from other pools compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/migration.md")]
pub struct MigrationPage;

/// The Unix socket of a redis-server.
///
/// # Panics
///
/// Where none was started: a test that was skipped would look like one that passed.
pub fn server() -> String {
    env::var("MILLPOND_REDIS")
        .expect("MILLPOND_REDIS must name the Unix socket of a redis-server; run .ci/adapters")
}

/// The same, as bb8-redis and deadpool-redis want it.
pub fn url() -> String {
    format!("redis+unix://{}", server())
}

/// A connection that writes a request and reads its reply in the caller's own task, as many
/// home-made clients do.
#[derive(Debug)]
pub struct Line(BufReader<UnixStream>);

impl Line {
    /// Connects to the [`server`].
    pub async fn connect() -> io::Result<Line> {
        Ok(Line(BufReader::new(UnixStream::connect(server()).await?)))
    }

    /// Sends one command, and reads one reply as text. Of a reply in parts only the header is
    /// read, and nil is `nil`.
    pub async fn command(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.write_all(request.as_bytes()).await?;
        let mut header = String::new();
        self.0.read_line(&mut header).await?;
        let header = header.trim_end();
        match header.strip_prefix('$') {
            None if header.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            None if header == "*-1" => Ok(String::from("nil")),
            None => Ok(header.trim_start_matches(['+', ':']).to_owned()),
            Some("-1") => Ok(String::from("nil")),
            Some(length) => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                let mut body = vec![0; length + 2];
                self.0.read_exact(&mut body).await?;
                body.truncate(length);
                String::from_utf8(body).map_err(io::Error::other)
            }
        }
    }

    /// As careful managers do: asks, and reads the answer.
    pub async fn ping(&mut self) -> io::Result<()> {
        match self.command(&["PING"]).await?.as_str() {
            "PONG" => Ok(()),
            other => Err(io::Error::other(format!("PING was answered with {other}"))),
        }
    }
}

/// Makes [`Line`]s, for either pool.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Whether `recycle` pings, or believes that all is well.
    pub recycle_pings: bool,
}

impl bb8::ManageConnection for Lines {
    type Connection = Line;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Line> {
        Line::connect().await
    }

    async fn is_valid(&self, line: &mut Line) -> io::Result<()> {
        line.ping().await
    }

    fn has_broken(&self, _: &mut Line) -> bool {
        false
    }
}

impl deadpool::managed::Manager for Lines {
    type Type = Line;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Line> {
        Line::connect().await
    }

    async fn recycle(
        &self,
        line: &mut Line,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<io::Error> {
        if self.recycle_pings {
            line.ping().await?;
        }
        Ok(())
    }
}
