//! The server of row 31: speaks TLS by millpond's `ServerTls`, whose certificate is read again when
//! its file changes; or, until it is mended, stays silent or speaks something else.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millpond::net::tls::ServerTls;
use millpond_rig::Console;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::{TcpListener, TcpStream},
    task::spawn,
};

use super::{accepts::reply_until_closed, observe::runtime};

/// The command after which it speaks TLS, whatever it did before.
pub const MEND: &str = "mend";

/// How it treats those who connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Shakes hands, and replies.
    Tls,
    /// Reads what comes, and says nothing.
    Silence,
    /// Says that it didn't understand, as an HTTP server would, and hangs up.
    PlainText,
}

impl Manner {
    const ALL: [Manner; 3] = [Manner::Tls, Manner::Silence, Manner::PlainText];

    /// How a scene names it.
    pub fn name(self) -> &'static str {
        match self {
            Manner::Tls => "tls",
            Manner::Silence => "silence",
            Manner::PlainText => "plain-text",
        }
    }
}

impl FromStr for Manner {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Manner, Unknown> {
        let found = Manner::ALL.into_iter().find(|manner| manner.name() == text);
        found.ok_or(Unknown)
    }
}

/// There is no such manner.
pub struct Unknown;

/// Arguments: its address; the files of its certificate and its key; its manner.
pub fn serve(console: Console) -> millpond_rig::Result {
    let address: SocketAddr = console.argument(0)?;
    let (certificate, key) = (
        console.argument::<PathBuf>(1)?,
        console.argument::<PathBuf>(2)?,
    );
    let manner: Manner = console.argument(3)?;
    let tls = ServerTls::builder()
        .identity_files(certificate, key)
        .build()?;
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind(address))?;
    console.ready(listener.local_addr()?);
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let manner = if is_mended.load(Relaxed) {
                Manner::Tls
            } else {
                manner
            };
            let tls = tls.clone();
            // What becomes of one connection is told by its client.
            spawn(async move { treat(stream, manner, &tls).await.ok() });
        }
    });
    console.answer_until_closed(|command| match command {
        MEND => {
            mended.store(true, Relaxed);
            "done".to_owned()
        }
        _ => format!("what is {command:?}?"),
    });
    Ok(())
}

async fn treat(mut stream: TcpStream, manner: Manner, tls: &ServerTls) -> io::Result<()> {
    match manner {
        Manner::Tls => {
            let stream = tls.accept(stream).await.map_err(io::Error::other)?;
            reply_until_closed(stream).await;
        }
        Manner::Silence => {
            copy(&mut stream, &mut sink()).await?;
        }
        Manner::PlainText => {
            let _ = stream.read(&mut [0; 4096]).await?;
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                .await?;
        }
    }
    Ok(())
}
