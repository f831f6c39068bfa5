//! Clients and servers of these protocols, beside each other: many callers over few connections.

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining, RequestError},
    framing::{
        Delimited, DelimitedSettings, EndOfReply, Extent, Failure, Framing, IdMode, IdSettings,
        LengthPrefixed, LengthPrefixedSettings,
    },
    net::{Endpoint, ListenOptions, Listener},
    server::{Server, raw},
};

/// A server that answers with the request's body, and refuses what begins with `no`; and a client
/// of it that keeps many requests in flight on one connection.
async fn echo<F: Framing + Clone>(framing: F) -> Client<F> {
    let handler = raw(async |body: Bytes| match body.starts_with(b"no") {
        true => Err(Failure::refused("it says\r\nno")),
        false => Ok(body),
    });
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default()).await;
    let server = Server::builder(handler).framing(framing.clone());
    let running = server
        .serve(listener.expect("a listener"))
        .expect("a server");
    let Endpoint::Tcp(at) = running.endpoint() else {
        panic!("not TCP");
    };
    let endpoint = format!("tcp://127.0.0.1:{}", at.port);
    // It serves until the test ends.
    std::mem::forget(running);
    let client = Client::to(&endpoint).expect("an endpoint").framing(framing);
    let client = client.pool(|pool| pool.max_size(1));
    client
        .pipelined(Pipelining::default())
        .build()
        .expect("a client")
}

/// Each of many callers gets its own reply.
async fn everybody_is_answered<F: Framing + Clone>(framing: F) {
    let client = echo(framing).await;
    let callers = (0..100).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let body = format!("request {number}");
            let reply = client.exchange(body.as_bytes()).await.expect("a reply");
            assert_eq!(reply, body);
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller");
    }
}

fn with_id(mode: IdMode) -> LengthPrefixed {
    let id = IdSettings {
        offset: 6,
        width: 2,
        mode,
        ..IdSettings::default()
    };
    let settings = LengthPrefixedSettings {
        fixed: [0xCA, 0xFE].into(),
        id: Some(id),
        ..LengthPrefixedSettings::default()
    };
    LengthPrefixed::new(settings).expect("valid settings")
}

fn lines(reply: EndOfReply) -> Delimited {
    let settings = DelimitedSettings {
        delimiters: vec!["\r\n".into(), "\n".into()],
        reply,
        failure: Some("ERROR {message}".into()),
        ..DelimitedSettings::default()
    };
    Delimited::new(settings).expect("valid settings")
}

#[tokio::test]
async fn every_caller_gets_its_own_reply_by_each_protocol() {
    everybody_is_answered(LengthPrefixed::u32_be()).await;
    everybody_is_answered(with_id(IdMode::Renumbered)).await;
    everybody_is_answered(with_id(IdMode::Compared)).await;
    everybody_is_answered(Delimited::lines()).await;
    everybody_is_answered(lines(EndOfReply::UntilLine("END".into()))).await;
    everybody_is_answered(lines(EndOfReply::UntilPrompt("> ".into()))).await;
}

#[tokio::test]
async fn a_whole_frame_comes_back_with_its_own_id_whether_it_was_renumbered_or_not() {
    for mode in [IdMode::Renumbered, IdMode::Compared] {
        let client = echo(with_id(mode)).await;
        let frame = b"\xCA\xFE\0\0\0\x02\x12\x34ab";
        let mut replies = Vec::new();
        for reply in client.forward(frame).await.expect("a reply") {
            replies.push(reply);
        }
        let extent = Extent {
            head: 8,
            body: 2,
            tail: 0,
        };
        let [reply] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!(
            (reply.as_bytes(), reply.extent()),
            (&frame[..], extent),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn a_failure_is_a_line_where_one_is_set_and_else_the_end() {
    let client = echo(lines(EndOfReply::UntilLine("END".into()))).await;
    let reply = client.exchange(b"no").await.expect("a reply");
    assert_eq!(reply, "ERROR it says  no");
    let client = echo(LengthPrefixed::u32_be()).await;
    let lost = client.exchange(b"no").await.expect_err("closed");
    assert!(matches!(lost, RequestError::Lost { .. }), "{lost}");
}
