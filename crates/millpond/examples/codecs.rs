//! Values that aren't JSON: a client and a server that speak Protocol Buffers (prost), and a pair
//! that speak postcard, over a framing of four bytes with the length.
//!
//! `cargo run --example codecs`

use std::error::Error;

use millpond::{
    client::Client,
    codec,
    framing::LengthJson,
    net::{ListenOptions, Listener},
    server::{Handler, Running, Server, coded},
};
use prost::Message;
use serde::{Deserialize, Serialize};

/// As `protoc` and prost-build would write it.
#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(string, tag = "1")]
    item: String,
    #[prost(uint32, tag = "2")]
    count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Receipt {
    #[prost(uint64, tag = "1")]
    cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    sensor: u16,
    celsius: f32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // What is sent, and what is received: on the server it is the other way round.
    let ours = codec::pair(encode_message::<Order>, decode_message::<Receipt>);
    let theirs = codec::pair(encode_message::<Receipt>, decode_message::<Order>);
    let server = serve(coded(theirs, async |order: Order| {
        u64::from(order.count)
            .checked_mul(250)
            .map(|cents| Receipt { cents })
            .ok_or("too many")
    }))
    .await?;
    let client = Client::to(&server.endpoint().to_string())?
        .framing(LengthJson::default())
        .build()?;
    let order = Order {
        item: "apple".into(),
        count: 3,
    };
    let receipt: Receipt = client.coded(ours).request(&order).await?;
    println!(
        "prost: {} × {} = {} cents",
        order.count, order.item, receipt.cents
    );
    assert_eq!(receipt.cents, 750);

    let postcard = || {
        codec::pair(
            |sample: &Sample| postcard::to_stdvec(sample),
            |body: &[u8]| postcard::from_bytes::<Sample>(body),
        )
    };
    let server = serve(coded(postcard(), async |sample: Sample| {
        Ok::<_, String>(Sample {
            celsius: sample.celsius + 0.5,
            ..sample
        })
    }))
    .await?;
    let client = Client::to(&server.endpoint().to_string())?.build()?;
    let sample = Sample {
        sensor: 7,
        celsius: 21.0,
    };
    let calibrated: Sample = client.coded(postcard()).request(&sample).await?;
    println!(
        "postcard: sensor {} says {} °C",
        calibrated.sensor, calibrated.celsius
    );
    assert_eq!(calibrated.celsius, 21.5);
    Ok(())
}

/// A server on a port of loopback.
async fn serve(handler: impl Handler) -> Result<Running, Box<dyn Error>> {
    let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
    Ok(Server::builder(handler).serve(listener)?)
}

fn encode_message<M: Message>(message: &M) -> Result<Vec<u8>, prost::EncodeError> {
    Ok(message.encode_to_vec())
}

fn decode_message<M: Message + Default>(body: &[u8]) -> Result<M, prost::DecodeError> {
    M::decode(body)
}
