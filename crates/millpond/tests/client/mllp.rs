//! HL7 over MLLP between a client and receivers in memory: whose acknowledgment is whose, in both
//! modes, and what a server of this crate answers.

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    client::{Client, DemandError, Pipelining, RequestError, RequestErrorKind},
    connectors::StreamConnector,
    framing::{AckCode, Mllp, MllpEnhanced, MllpSettings, Protocol},
    net::{Endpoint, Listener, Stream},
    server::{Handler, Reply, Request, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};

/// How a receiver answers the messages that it finds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Right,
    /// The last message first.
    Swapped,
    /// Each with the acknowledgment of the message before it.
    Late,
}

fn message(id: &str) -> Vec<u8> {
    let header = "MSH|^~\\&|HIS|EAST|LAB|WEST|20260102||ADT^A01|";
    format!("{header}{id}|P|2.5\rPID|1||{id}\r").into_bytes()
}

fn asking(id: &str, accept: &str, application: &str) -> Vec<u8> {
    format!("MSH|^~\\&|HIS|EAST|LAB|WEST|||ADT|{id}|P|2.5|||{accept}|{application}\rPID|1\r").into()
}

fn block(body: &[u8]) -> Vec<u8> {
    [b"\x0b", body, b"\x1c\x0d"].concat()
}

/// Answers as soon as so many messages are there.
async fn receive(mut stream: DuplexStream, manner: Manner, together: usize) {
    let (mut received, mut before) = (Vec::new(), message("EARLIER"));
    while stream
        .read_buf(&mut received)
        .await
        .is_ok_and(|read| read > 0)
    {
        let blocks = received.iter().filter(|&&byte| byte == 0x0b).count();
        if blocks < together || !received.ends_with(b"\x1c\x0d") {
            continue;
        }
        let all = std::mem::take(&mut received);
        let all = all.split(|&byte| byte == b'\x0b').skip(1);
        let mut all: Vec<_> = all.map(|one| one[..one.len() - 2].to_vec()).collect();
        match manner {
            Manner::Right => {}
            Manner::Swapped => all.reverse(),
            Manner::Late => all
                .iter_mut()
                .for_each(|one| std::mem::swap(one, &mut before)),
        }
        for one in all {
            let body = Mllp::acknowledgment(&one, AckCode::ApplicationAccept).expect("a message");
            if stream.write_all(&block(&body)).await.is_err() {
                return;
            }
        }
    }
}

fn endpoint() -> Endpoint {
    "unix:///in-memory".parse().expect("an endpoint")
}

fn receiver(manner: Manner, together: usize) -> StreamConnector {
    StreamConnector::opened_by(endpoint(), move || async move {
        let (near, far) = tokio::io::duplex(4_096);
        tokio::spawn(receive(far, manner, together));
        Ok(Stream::foreign(near))
    })
}

fn control_id(acknowledgment: &[u8]) -> String {
    let text = String::from_utf8_lossy(acknowledgment);
    let (_, id) = text.trim_end().rsplit_once('|').expect("fields");
    id.to_owned()
}

#[tokio::test]
async fn each_message_gets_its_own_acknowledgment_in_both_modes() {
    let builder = || Client::over(receiver(Manner::Right, 1)).framing(Mllp::default());
    let pipelined = builder().pipelined(Pipelining::default());
    for client in [builder().build().unwrap(), pipelined.build().unwrap()] {
        for id in ["A1", "A2", "A3"] {
            let reply = client
                .exchange(&message(id))
                .await
                .expect("an acknowledgment");
            assert_eq!(control_id(&reply), id);
        }
        assert_eq!(client.pool().snapshot().totals.opened, 1);
    }
}

#[tokio::test]
async fn the_acknowledgment_of_another_message_is_never_delivered_to_an_exclusive_client() {
    let client = Client::over(receiver(Manner::Late, 1)).framing(Mllp::default());
    let client = client.build().unwrap();
    for id in ["A1", "A2", "A3"] {
        let told = client.exchange(&message(id)).await;
        assert!(matches!(told, Err(RequestError::Mismatched)), "{told:?}");
    }
    let opened = client.pool().snapshot().totals.opened;
    assert_eq!(opened, 3, "none of the connections is used again");
}

#[tokio::test]
async fn swapped_acknowledgments_are_found_among_pipelined_messages() {
    let client = Client::over(receiver(Manner::Swapped, 2)).framing(Mllp::default());
    let client = client.pipelined(Pipelining::default());
    let client = client.pool(|pool| pool.max_size(1)).build().unwrap();
    let (first, second) = (message("A1"), message("A2"));
    let (first, second) = tokio::join!(client.exchange(&first), client.exchange(&second));
    let told = [first, second].map(|answer| answer.expect_err("nobody's acknowledgment").kind());
    let expected = [RequestErrorKind::Mismatched, RequestErrorKind::Lost];
    assert_eq!(told, expected, "the second goes down with its connection");
}

#[tokio::test]
async fn a_message_that_nobody_could_tell_the_acknowledgment_of_is_not_sent() {
    let client = Client::over(receiver(Manner::Right, 1)).framing(Mllp::default());
    let client = client.build().unwrap();
    for unsendable in [
        &b"MSH|^~\\&|||||||ADT||P\r"[..],
        &asking("A1", "AL", "AL"),
        &asking("A1", "SU", "NE"),
    ] {
        let told = client.exchange(unsendable).await;
        let refused = matches!(told, Err(RequestError::Demand(DemandError::Refused(_))));
        assert!(refused, "{told:?}");
    }
    let with_end = [&message("A1")[..], b"\x1c"].concat();
    let told = client.exchange(&with_end).await;
    assert!(
        matches!(told, Err(RequestError::Unframeable(_))),
        "{told:?}"
    );
    let reply = client.exchange(&message("A1")).await;
    assert_eq!(control_id(&reply.expect("an acknowledgment")), "A1");
    assert_eq!(client.pool().snapshot().totals.opened, 1);
}

/// Answers what the protocol's echo says.
struct Echo(Protocol);

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Result<Reply, millpond::framing::Failure> {
        self.0.echo(request.frame()).map(Reply::bodies::<Bytes>)
    }
}

#[tokio::test]
async fn a_server_acknowledges_as_the_message_asks() {
    let protocol = Protocol::from(Mllp::from(MllpSettings {
        enhanced: MllpEnhanced::SameConnection,
        ..MllpSettings::default()
    }));
    let (sender, streams) = mpsc::channel(1);
    let server = Server::builder(Echo(protocol.clone())).framing(protocol.clone());
    let server = server.serve(Listener::from_streams(endpoint(), streams));
    let server = server.expect("a server");
    let connector = StreamConnector::opened_by(endpoint(), move || {
        let sender = sender.clone();
        async move {
            let (near, far) = tokio::io::duplex(256);
            sender.send(Stream::foreign(far)).await?;
            Ok(Stream::foreign(near))
        }
    });
    let client = Client::over(connector).framing(protocol).build().unwrap();
    for (accept, application, count) in [
        ("", "", 1),
        ("AL", "NE", 1),
        ("AL", "AL", 2),
        ("NE", "NE", 0),
        ("NE", "AL", 1),
        ("ER", "AL", 1),
    ] {
        let id = format!("ID{accept}{application}");
        let frames = client.exchange_all(&asking(&id, accept, application)).await;
        let frames = frames.expect("acknowledgments");
        assert_eq!(frames.len(), count, "{accept} {application}");
        assert!(frames.iter().all(|frame| control_id(frame.body()) == id));
    }
    assert_eq!(client.pool().snapshot().totals.opened, 1);
    client
        .pool()
        .close(Duration::from_secs(10))
        .await
        .expect("closed");
    let ended = server.drain(Duration::from_secs(10)).await;
    assert_eq!((ended.forced, ended.unanswered), (0, 0));
}
