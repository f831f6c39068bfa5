//! An upstream that keeps every byte it was sent, and answers each frame as its protocol echoes it:
//! at once, or with as much of the reply as it is told, and then it closes.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use millpond::framing::{Context, Frame, Framing, Protocol, Scan, Step};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// See the module.
pub(crate) struct Recorder {
    pub(crate) path: PathBuf,
    /// Of each connection.
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(crate) fn start(protocol: &Protocol) -> Recorder {
        Recorder::start_with(protocol, |reply| (reply, false))
    }

    /// Of the reply, what `part` makes of it is sent; then the connection is closed, if it says so.
    pub(crate) fn start_with(
        protocol: &Protocol,
        part: impl Fn(Vec<u8>) -> (Vec<u8>, bool) + Clone + Send + 'static,
    ) -> Recorder {
        let path = crate::path();
        let listener = UnixListener::bind(&path).expect("a socket");
        let received = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (recording, protocol) = (Arc::clone(&received), protocol.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let number = {
                    let mut all = recording.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let (recording, protocol) = (Arc::clone(&recording), protocol.clone());
                let keep = move |bytes: &[u8]| recording.lock().unwrap()[number].extend(bytes);
                tokio::spawn(answer(stream, protocol, keep, part.clone()));
            }
        });
        Recorder { path, received }
    }

    /// What has come on each connection.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }

    /// What has come, of which there may be only one connection's.
    pub(crate) fn only(&self) -> Vec<u8> {
        let received = self.received();
        assert!(received.len() <= 1, "{received:?}");
        received.concat()
    }
}

async fn answer(
    mut stream: UnixStream,
    protocol: Protocol,
    keep: impl Fn(&[u8]),
    part: impl Fn(Vec<u8>) -> (Vec<u8>, bool),
) {
    let mut held = Vec::new();
    let mut chunk = [0; 4 << 10];
    loop {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => {
                keep(&chunk[..read]);
                held.extend(&chunk[..read]);
            }
            _ => return,
        }
        while let Ok(Step::Frame(extent)) =
            protocol.next(Context::REQUEST, &held, &mut Scan::default())
        {
            let frame: Vec<u8> = held.drain(..extent.length()).collect();
            let frame = Frame::parse(&protocol, Context::REQUEST, frame).expect("a frame");
            for body in protocol.echo(&frame).expect("an echo") {
                let mut reply = Vec::new();
                let encoded = protocol.encode(Context::REPLY, &body, &mut reply);
                encoded.expect("a reply");
                let (part, closes) = part(reply);
                // The route may have closed.
                if stream.write_all(&part).await.is_err() || closes {
                    return;
                }
            }
        }
    }
}
