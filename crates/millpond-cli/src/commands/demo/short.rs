//! What pooling is compared with: a connection for each request, opened before it and closed after
//! it. Stops before it has used up the machine's ports towards its server, for other programs need
//! some as well.

use std::{io, net::SocketAddr};

use millpond::framing::{Direction, Framing, LengthJson, Scan, Step};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{
    load::Until,
    question::Questions,
    tally::{Failing, Outcome, Tally},
};
use crate::ports::Ports;

/// One caller with a connection for each request, until it is over or the ports are used up.
pub(super) async fn call(ports: Ports, number: u32, seed: u64, until: Until) -> Tally {
    let mut rng =
        fastrand::Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut questions = Questions::of(number);
    let mut tally = Tally::default();
    while !until.is_over() && ports.take().await {
        let question = questions.ask(&mut rng);
        let body = question.body();
        let began = Instant::now();
        tally.add(match exchange(ports.destination(), &body).await {
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
