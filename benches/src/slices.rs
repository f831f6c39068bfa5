//! What every measurement of exchanges shares: callers who exchange for a while, each counted alone
//! and each reply compared with its request, and a socket with the framing written by hand. Who
//! exchanges, and what is concluded, is the measurements' own business.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use millpond::{
    client::{Client, Pipelining},
    net::Endpoint,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

/// Bytes of each body.
pub(crate) const BODY: usize = 64;

/// How many callers share a pool, unless said otherwise.
pub(crate) const CALLERS: usize = 64;

/// How many connections they share, and how many callers own a socket beside them.
pub(crate) const CONNECTIONS: u16 = 16;

pub(crate) fn one_thread() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

pub(crate) fn two_workers() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// A caller: one exchange at a time, again and again.
pub(crate) trait Caller: Send + 'static {
    /// Sends a body, and returns the reply's.
    fn exchange(
        &mut self,
        body: &[u8],
    ) -> impl Future<Output = anyhow::Result<impl AsRef<[u8]> + Send>> + Send;
}

/// Callers that share a client of ours, which lends a connection for one exchange at a time.
pub(crate) fn exclusive(address: SocketAddr, callers: usize) -> anyhow::Result<Vec<Client>> {
    let client =
        Client::builder(Endpoint::from(address)).pool(|pool| pool.max_size(CONNECTIONS.into()));
    Ok(vec![client.build()?; callers])
}

/// A client that keeps all callers' exchanges in flight, spread evenly over its connections.
pub(crate) fn pipelined(
    address: SocketAddr,
    callers: usize,
    connections: usize,
) -> anyhow::Result<Client> {
    let size = u32::try_from(connections)?;
    let depth = callers.div_ceil(connections);
    Ok(Client::builder(Endpoint::from(address))
        .pipelined(Pipelining::default().depth(depth))
        .pool(move |pool| pool.max_size(size))
        .build()?)
}

impl Caller for Client {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        Ok(Client::exchange(self, body).await?)
    }
}

/// Callers that own a socket each.
pub(crate) async fn owners(address: SocketAddr) -> anyhow::Result<Vec<Bare>> {
    let mut owners = Vec::new();
    for _ in 0..CONNECTIONS {
        owners.push(Bare::connect(address).await?);
    }
    Ok(owners)
}

/// A socket with the framing written by hand, as a careful program would.
pub(crate) struct Bare {
    stream: TcpStream,
    buffer: Box<[u8; 4096]>,
}

impl Bare {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Bare {
            stream,
            buffer: Box::new([0; 4096]),
        })
    }

    pub(crate) async fn exchange(&mut self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut request = Vec::with_capacity(HEADER + body.len());
        append_frame(body, &mut request);
        self.stream.write_all(&request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some((header, rest)) = self.buffer[..filled].split_first_chunk()
                && let Some(body) = rest.get(..body_length(header)?)
            {
                return Ok(body.to_vec());
            }
        }
    }
}

impl Caller for Bare {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        Ok(Bare::exchange(self, body).await?)
    }
}

/// Bytes of a frame before its body.
pub(crate) const HEADER: usize = 20;

/// As short as it can be written.
pub(crate) fn append_frame(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"length:");
    let mut digits = [b'0'; 13];
    let mut rest = body.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    out.extend_from_slice(&digits);
    out.extend_from_slice(body);
}

pub(crate) fn body_length(header: &[u8; HEADER]) -> std::io::Result<usize> {
    let digits = header.strip_prefix(b"length:");
    let length = digits.and_then(|digits| {
        digits.iter().try_fold(0, |length, digit| {
            digit
                .is_ascii_digit()
                .then(|| 10 * length + usize::from(digit - b'0'))
        })
    });
    length.ok_or_else(|| std::io::Error::other("no header where one must be"))
}

/// What a slice has brought.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) exchanges: u64,
    pub(crate) per_second: f64,
    /// The luckiest caller's share, by the unluckiest's; infinite where somebody got nothing.
    pub(crate) unfairness: f64,
    /// Callers that got nothing.
    pub(crate) starved: usize,
}

impl Slice {
    pub(crate) fn of(counts: &[u64], elapsed: Duration) -> Slice {
        let (most, least) = (counts.iter().max().copied(), counts.iter().min().copied());
        let exchanges = counts.iter().sum();
        Slice {
            exchanges,
            per_second: exchanges as f64 / elapsed.as_secs_f64(),
            unfairness: most.unwrap_or(0) as f64 / least.unwrap_or(0) as f64,
            starved: counts.iter().filter(|&&count| count == 0).count(),
        }
    }
}

/// All callers exchange for so long, after a warm-up of a fifth of it. `at_edge` is called when
/// what counts begins and when it ends.
pub(crate) async fn slice_of<C: Caller>(
    callers: Vec<C>,
    slice: Duration,
    mut at_edge: impl FnMut(),
) -> anyhow::Result<Slice> {
    let (going, measuring) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let counts: Arc<Vec<AtomicU64>> = Arc::new(callers.iter().map(|_| AtomicU64::new(0)).collect());
    let mut tasks = Vec::new();
    for (number, mut caller) in callers.into_iter().enumerate() {
        let (going, measuring, counts) = (
            Arc::clone(&going),
            Arc::clone(&measuring),
            Arc::clone(&counts),
        );
        tasks.push(tokio::spawn(async move {
            let mut body = Body::of(number);
            while going.load(Ordering::Relaxed) {
                let sent = body.next();
                let reply = caller.exchange(sent).await?;
                ensure!(
                    reply.as_ref() == sent,
                    "caller {number} got somebody else's reply"
                );
                if measuring.load(Ordering::Relaxed) {
                    counts[number].fetch_add(1, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        }));
    }
    tokio::time::sleep(slice / 5).await;
    at_edge();
    measuring.store(true, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(slice).await;
    measuring.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed();
    at_edge();
    going.store(false, Ordering::Relaxed);
    for task in tasks {
        task.await.context("a caller panicked")??;
    }
    let counts: Vec<u64> = counts
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    Ok(Slice::of(&counts, elapsed))
}

/// The median time of one caller's exchanges, in microseconds.
pub(crate) async fn median_of<C: Caller>(mut caller: C, slice: Duration) -> anyhow::Result<f64> {
    let mut times = Histogram::<u64>::new(3)?;
    let (mut body, began) = (Body::of(0), Instant::now());
    while began.elapsed() < slice {
        let (sent, sent_at) = (body.next(), Instant::now());
        let reply = caller.exchange(sent).await?;
        times.record(u64::try_from(sent_at.elapsed().as_nanos())?)?;
        ensure!(reply.as_ref() == sent, "the reply is not the request");
    }
    Ok(times.value_at_quantile(0.5) as f64 / 1e3)
}

/// A number in JSON, another one for each caller and exchange.
struct Body {
    digits: [u8; BODY],
}

impl Body {
    fn of(caller: usize) -> Body {
        let mut digits = [b'0'; BODY];
        let name = (1000 + caller).to_string();
        digits[..name.len()].copy_from_slice(name.as_bytes());
        Body { digits }
    }

    fn next(&mut self) -> &[u8] {
        for digit in self.digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        &self.digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_differs_from_the_last_and_from_other_callers() {
        let (mut one, mut other) = (Body::of(1), Body::of(2));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(one.next().to_vec()));
            assert!(seen.insert(other.next().to_vec()));
        }
    }

    #[test]
    fn a_caller_without_any_exchange_is_starved() {
        let slice = Slice::of(&[3, 0, 1], Duration::from_secs(2));
        assert_eq!(slice.starved, 1);
        assert_eq!(slice.per_second, 2.0);
        assert_eq!(slice.unfairness, f64::INFINITY);
    }
}
