//! The server of a demonstration, on a thread and a runtime of its own, so that server and callers
//! don't take each other's time. When dropped, it closes the server and joins the thread.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use millpond::{
    framing::Framing,
    net::{Endpoint, ListenError, ListenOptions, Listener},
    server::{ConnectionHandler, Running, ServeError, ServerBuilder},
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// How long a restarted server is away. Within a pool's `outage_grace`, as a restart should be.
const AWAY: Duration = Duration::from_millis(100);

/// How long it drains before a restart.
const DRAIN: Duration = Duration::from_millis(20);

/// How long, and at which intervals, it tries to bind the same port after a restart.
const BIND_AGAIN: Duration = Duration::from_secs(1);
const BETWEEN_TRIALS: Duration = Duration::from_millis(10);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("no thread for the server could be started")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the server can't serve")]
    Serve(#[from] ServeError),
    #[error("the server's thread has ended")]
    Ended,
}

type Confirm<T> = oneshot::Sender<Result<T, ServerError>>;

/// A server on a thread of its own.
pub(super) struct Embedded {
    address: SocketAddr,
    /// Takes requests to restart. Closing it ends the thread.
    restarts: Option<mpsc::Sender<Confirm<()>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Embedded {
    /// Serves on a free port of 127.0.0.1. `build` makes the server, once now and once after each
    /// restart, on its runtime.
    pub(super) async fn start<H, F>(
        build: impl Fn() -> ServerBuilder<H, F> + Send + 'static,
    ) -> Result<Embedded, ServerError>
    where
        H: ConnectionHandler,
        F: Framing,
    {
        let (confirm, confirmed) = oneshot::channel();
        let (restarts, asked) = mpsc::channel(1);
        let thread = thread::Builder::new()
            .name(String::from("server"))
            .spawn(move || {
                match runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(serve(build, confirm, asked)),
                    // The receiver is gone only if the demo has ended.
                    Err(error) => drop(confirm.send(Err(ServerError::Thread(error)))),
                }
            })
            .map_err(ServerError::Thread)?;
        Ok(Embedded {
            address: confirmed.await.unwrap_or(Err(ServerError::Ended))?,
            restarts: Some(restarts),
            thread: Some(thread),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server, waits, and serves on the same port again.
    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        let (confirm, confirmed) = oneshot::channel();
        let restarts = self.restarts.as_ref().ok_or(ServerError::Ended)?;
        restarts
            .send(confirm)
            .await
            .map_err(|_| ServerError::Ended)?;
        confirmed.await.unwrap_or(Err(ServerError::Ended))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.restarts = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed already, and the clients have seen it.
            let _ = thread.join();
        }
    }
}

async fn serve<H: ConnectionHandler, F: Framing>(
    build: impl Fn() -> ServerBuilder<H, F>,
    confirm: Confirm<SocketAddr>,
    mut asked: mpsc::Receiver<Confirm<()>>,
) {
    let (address, mut running) = match begin(&build, (Ipv4Addr::LOCALHOST, 0).into()).await {
        Ok(begun) => begun,
        Err(error) => return drop(confirm.send(Err(error))),
    };
    if confirm.send(Ok(address)).is_err() {
        return;
    }
    while let Some(confirm) = asked.recv().await {
        running.drain(DRAIN).await;
        sleep(AWAY).await;
        let again = async {
            loop {
                match begin(&build, address).await {
                    Ok((_, running)) => return running,
                    Err(_) => sleep(BETWEEN_TRIALS).await,
                }
            }
        };
        match timeout(BIND_AGAIN, again).await {
            Ok(begun) => running = begun,
            // One more attempt, for its error.
            Err(_) => match begin(&build, address).await {
                Ok((_, begun)) => running = begun,
                Err(error) => return drop(confirm.send(Err(error))),
            },
        }
        // The asking side may have gone; the server stays.
        let _ = confirm.send(Ok(()));
    }
    running.close().await;
}

async fn begin<H: ConnectionHandler, F: Framing>(
    build: &impl Fn() -> ServerBuilder<H, F>,
    address: SocketAddr,
) -> Result<(SocketAddr, Running), ServerError> {
    let listener = Listener::bind(&Endpoint::from(address), ListenOptions::default()).await?;
    let running = build().serve(listener)?;
    let port = match running.endpoint() {
        Endpoint::Tcp(at) => at.port,
        _ => address.port(),
    };
    Ok((SocketAddr::new(address.ip(), port), running))
}
