//! The first contact, before there is any load: whether the server can be reached, whether it
//! answers as it should, and at which address.

use std::{net::SocketAddr, time::Duration};

use millpond::net::ConnectError;
use tokio::time::timeout;

use super::{
    contender::{dialer, exchange_over},
    plan::Plan,
    results::ErrorKind,
};
use crate::load::tally::Miss;

/// Why there is nothing to measure.
#[derive(Debug)]
pub(super) enum NoContact {
    Unreachable(ConnectError),
    NoReply(Miss<ErrorKind>),
    TimedOut { within: Duration },
}

/// One exchange; the server's address, if it has one.
pub(super) async fn first_contact(plan: &Plan) -> Result<Option<SocketAddr>, NoContact> {
    let contact = async {
        let dialled = dialer(plan).dial().await;
        let stream = dialled.map_err(NoContact::Unreachable)?.stream;
        let address = stream.peer_addr();
        let reply = exchange_over(stream, &plan.framing, &plan.request.body).await;
        let judged = reply.and_then(|reply| plan.request.judge(&reply));
        judged.map(|()| address).map_err(NoContact::NoReply)
    };
    let within = plan.request.deadline;
    timeout(within, contact)
        .await
        .unwrap_or_else(|_| Err(NoContact::TimedOut { within }))
}
