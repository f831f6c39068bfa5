//! Row 27: SYNs vanish; and a listener whose accept queue is full, which to the dialler is much the
//! same. Everybody waits here, so the contestants play at the same time, each with a server of its
//! own.

use std::net::{SocketAddr, TcpStream};

use millpond_rig::Rig;

use super::{
    contestants::Who,
    dials::{self, Count},
    observe::{block_on, runtime},
    report::Stage,
};

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    let silent: Vec<_> = (7000..7003)
        .map(|port| SocketAddr::from(([10, 77, 0, 2], port)))
        .collect();
    for address in &silent {
        rig.lose_syns(*address)?;
    }
    at_once(rig, stage, "SYNs vanish", &silent)?;

    let mut full = Vec::new();
    let mut queued = Vec::new();
    for port in 7010..7013 {
        let server = rig.start("never accepts", &[&format!("10.77.0.2:{port}"), "1"])?;
        // A backlog of 1 holds two.
        for _ in 0..2 {
            queued.push(TcpStream::connect(server.address())?);
        }
        full.push(server);
    }
    let addresses: Vec<_> = full.iter().map(|server| server.address()).collect();
    at_once(rig, stage, "the accept queue is full", &addresses)
}

fn at_once(
    rig: &Rig,
    stage: &Stage<'_>,
    part: &str,
    servers: &[SocketAddr],
) -> millpond_rig::Result {
    let [millpond, deadpool, bb8] = [0, 1, 2].map(|index| {
        let (who, server) = (Who::ALL[index], servers[index]);
        dials::play(rig, stage, part, who, server, Count::Ports)
    });
    let (one, two, three) = block_on(runtime()?, async { tokio::join!(millpond, deadpool, bb8) });
    one.and(two).and(three)
}
