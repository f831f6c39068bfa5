//! What pooling is compared with: a connection for each request, opened before it and closed after it. Stops before it has used up the
//! machine's ports towards its server, for other programs need some as well.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use millpond::{
    framing::{Direction, Framing, LengthJson, Scan, Step},
    transport::system::{PortUse, port_use},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    load::Until,
    question::Questions,
    tally::{Failing, Outcome, Tally},
};

/// The share of the ports that may be in use.
const SHARE: f64 = 0.8;

/// How many connections are opened where the system can't be asked: a good third of the ports that it gives away by default.
const UNKNOWN_PORTS: i64 = 10_000;

/// How often, and at which intervals, sockets that are being closed are waited for.
const SETTLING_LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The ports that are left towards a destination. Each connection takes one; when they seem used up the system is asked, which may have
/// taken some back.
#[derive(Clone)]
pub(super) struct Ports {
    destination: SocketAddr,
    left: Arc<AtomicI64>,
    used_up: Arc<AtomicBool>,
}

impl Ports {
    pub(super) async fn towards(destination: SocketAddr) -> Ports {
        Ports {
            destination,
            left: Arc::new(AtomicI64::new(left(destination).await.unwrap_or(UNKNOWN_PORTS))),
            used_up: Arc::default(),
        }
    }

    /// Whether some had to be left alone.
    pub(super) fn are_used_up(&self) -> bool {
        self.used_up.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one.
    async fn take(&self) -> bool {
        if self.are_used_up() {
            return false;
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return true;
        }
        match left(self.destination).await {
            Some(left) if left > 0 => {
                self.left.store(left - 1, Ordering::Relaxed);
                true
            }
            _ => {
                self.used_up.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

/// How many more ports may be used; `None` where that can't be found out.
async fn left(destination: SocketAddr) -> Option<i64> {
    let ports = use_of(destination).await?;
    let allowed = (f64::from(ports.available()) * SHARE) as i64;
    Some(allowed - i64::from(ports.in_use_towards))
}

/// How many sockets towards a destination are left in TIME_WAIT; `None` where that can't be found out. A socket gets there when the server
/// has closed its end as well, which may be a moment after the last reply.
pub(super) async fn time_wait(destination: SocketAddr) -> Option<u32> {
    for _ in 0..SETTLING_LOOKS {
        let ports = use_of(destination).await?;
        if ports.in_time_wait_towards >= ports.in_use_towards {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Some(use_of(destination).await?.in_time_wait_towards)
}

async fn use_of(destination: SocketAddr) -> Option<PortUse> {
    spawn_blocking(move || port_use(destination)).await.ok()?.ok()
}

/// One caller with a connection for each request, until it is over or the ports are used up.
pub(super) async fn call(ports: Ports, number: u32, seed: u64, until: Until) -> Tally {
    let mut rng = fastrand::Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut questions = Questions::of(number);
    let mut tally = Tally::default();
    while !until.is_over() && ports.take().await {
        let question = questions.ask(&mut rng);
        let body = question.body();
        let began = Instant::now();
        tally.add(match exchange(ports.destination, &body).await {
            Ok(reply) => Outcome::Replied(question.check(&reply), began.elapsed()),
            Err(error) => Outcome::Failed(Failing::Other, error.to_string()),
        });
        until.count();
    }
    tally
}

/// Opens a connection, sends, reads the reply, closes.
async fn exchange(server: SocketAddr, body: &[u8]) -> io::Result<Vec<u8>> {
    let framing = LengthJson::default();
    let mut stream = TcpStream::connect(server).await?;
    let mut frame = Vec::new();
    framing
        .encode(Direction::Request, body, &mut frame)
        .map_err(io::Error::other)?;
    stream.write_all(&frame).await?;
    let mut received = Vec::with_capacity(1024);
    let mut scan = Scan::default();
    loop {
        match framing
            .next(Direction::Reply, &received, &mut scan)
            .map_err(io::Error::other)?
        {
            Step::Frame(extent) => {
                received.truncate(extent.head + extent.body);
                received.drain(..extent.head);
                return Ok(received);
            }
            Step::Heartbeat { length } => drop(received.drain(..length)),
            Step::More { .. } => {
                if stream.read_buf(&mut received).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}
