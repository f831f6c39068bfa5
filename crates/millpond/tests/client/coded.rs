//! Typed bodies by a codec.

use std::convert::Infallible;

use millpond::{
    client::{Client, Execution, RequestError, RequestErrorKind},
    codec::{self, CodecError, Decode, Encode},
    net::{ListenOptions, Listener},
    server::{Handler, Running, Server, coded},
};

async fn serve(handler: impl Handler) -> (Running, Client) {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default()).await;
    let server = Server::builder(handler).serve(listener.expect("a listener"));
    let server = server.expect("a server");
    let client = Client::to(&server.endpoint().to_string()).expect("an endpoint");
    (server, client.build().expect("a client"))
}

#[tokio::test]
async fn values_are_encoded_and_decoded_by_whatever_codec() {
    let (_server, client) = serve(coded(codec::Json, async |words: Vec<String>| {
        words.first().map(|word| word.len()).ok_or("no words")
    }))
    .await;
    let length: usize = client.coded(codec::Json).request(&["seven"]).await.unwrap();
    assert_eq!(length, 5);

    // Two closures, by reference.
    let commas = codec::pair(
        |words: &[&str]| serde_json::to_vec(words),
        |body: &[u8]| std::str::from_utf8(body).map(str::to_owned),
    );
    let text: String = client
        .coded(&commas)
        .request(&["a", "b"][..])
        .await
        .unwrap();
    assert_eq!(text, "1");
    let empty: &[&str] = &[];
    let error: String = client.coded(&commas).request(empty).await.unwrap();
    assert!(error.contains("no words"), "{error}");
}

/// Refuses what is odd.
struct Even;

impl Encode<u8> for Even {
    fn encode(&self, value: &u8) -> Result<Vec<u8>, CodecError> {
        match value % 2 {
            0 => Ok(value.to_string().into_bytes()),
            _ => Err(format!("{value} is odd").into()),
        }
    }
}

impl Decode<u8> for Even {
    fn decode(&self, body: &[u8]) -> Result<u8, CodecError> {
        let value: u8 = std::str::from_utf8(body)?.parse()?;
        match value % 2 {
            0 => Ok(value),
            _ => Err(format!("{value} is odd").into()),
        }
    }
}

#[tokio::test]
async fn what_a_codec_refuses_is_told_on_either_side() {
    let lax = || {
        codec::pair(
            |value: &u8| Ok::<_, Infallible>(value.to_string()),
            |body: &[u8]| std::str::from_utf8(body).map(|text| text.parse::<u8>().unwrap_or(99)),
        )
    };
    let (_server, client) = serve(coded(Even, async |value: u8| Ok::<_, String>(value / 2))).await;
    let half: u8 = client.coded(&Even).request(&8).await.unwrap();
    assert_eq!(half, 4);

    let error = client.coded(Even).request::<u8, u8>(&7).await.unwrap_err();
    assert!(matches!(error, RequestError::Unencodable(_)), "{error:?}");
    assert_eq!(error.kind(), RequestErrorKind::InvalidRequest);
    assert_eq!(error.execution(), Execution::Impossible);

    // The server can't encode 3; its error reply isn't a number here.
    let error = client.coded(Even).request::<u8, u8>(&6).await.unwrap_err();
    assert!(matches!(error, RequestError::Undecodable(_)), "{error:?}");
    assert_eq!(error.kind(), RequestErrorKind::UnexpectedReply);
    assert_eq!(error.execution(), Execution::Possible);
    let text = async |value| {
        client
            .request::<u8, u8>(&value)
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text(6).await,
        "the server answered with an error: 3 is odd (-32603)"
    );
    assert_eq!(
        text(5).await,
        "the server answered with an error: 5 is odd (-32700)"
    );
    let half: u8 = client.coded(lax()).request(&16).await.unwrap();
    assert_eq!(half, 8);
}
