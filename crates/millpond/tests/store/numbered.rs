//! A protocol with ids: two bytes with the exchange's number, two with the body's length, the body.

use millpond::framing::{
    ByteOrder, Context, Extent, Failure, FrameError, Framing, IdField, Scan, Step, Told,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered;

pub(crate) fn frame(id: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16;
    [&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

impl Framing for Numbered {
    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let Some(head) = bytes.first_chunk::<4>() else {
            let missing = 4 - bytes.len();
            return Ok(Step::More { missing });
        };
        let body = u16::from_be_bytes([head[2], head[3]]).into();
        let extent = Extent {
            head: 4,
            body,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(&frame(0, body));
        Ok(())
    }

    fn id(&self) -> Option<IdField> {
        Some(IdField::new(0, 2, ByteOrder::Big))
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        _: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        out.extend_from_slice(&frame(0, failure.message().as_bytes()));
        Told::ByReply
    }
}

/// A server that answers each request with its body, written by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// In the order of the requests.
    InOrder,
    /// At times two requests that it finds together in the opposite order.
    Swapped,
    /// Each once more, with the id of the one before it.
    Late,
}

impl Echo {
    /// Serves on a port of loopback, until the test ends.
    pub(crate) async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("tcp://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.serve(stream));
            }
        });
        endpoint
    }

    async fn serve(self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut received, mut before, mut pairs) = (Vec::new(), None, 0);
        while stream.read_buf(&mut received).await? > 0 {
            let mut replies = Vec::new();
            while received.len() >= 4 {
                let length = 4 + usize::from(u16::from_be_bytes([received[2], received[3]]));
                if received.len() < length {
                    break;
                }
                replies.push(received.drain(..length).collect::<Vec<u8>>());
            }
            for pair in replies.chunks_mut(2) {
                pairs += pair.len() / 2;
                if self == Echo::Swapped && pairs % 7 == 0 {
                    pair.reverse();
                }
            }
            for mut reply in replies {
                let id: [u8; 2] = [reply[0], reply[1]];
                if self == Echo::Late
                    && let Some(before) = before.replace(id)
                {
                    reply[..2].copy_from_slice(&before);
                }
                stream.write_all(&reply).await?;
            }
        }
        Ok(())
    }
}
