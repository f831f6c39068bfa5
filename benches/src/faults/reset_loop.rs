//! Row 19: a server that accepts and hangs up, and a port that refuses. Contestants play one after
//! the other, or the one that dials most would take the others' CPU.

use std::net::SocketAddr;

use millpond_rig::Rig;

use super::{
    contestants::Who,
    dials::{self, Count},
    observe::{block_on, runtime},
    report::Stage,
};

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    let server = rig.start("hangs up", &["10.77.0.2:7000"])?;
    let refusing = SocketAddr::from(([10, 77, 0, 2], 7001));
    for who in Who::ALL {
        block_on(runtime()?, async {
            let part = "accepts and hangs up";
            dials::play(rig, stage, part, who, server.address(), Count::Syns).await?;
            dials::play(rig, stage, "refuses", who, refusing, Count::Syns).await
        })?;
    }
    Ok(())
}
