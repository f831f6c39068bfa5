//! Reads what has arrived on an idle TLS stream, without waiting. Callers decide what it means.

use std::io::{self, Read};

use rustls::{ConnectionCommon, SideData};
use tokio::net::TcpStream;

/// How often one look reads from the socket, 4 KiB at a time, without finding anything for the
/// application. A full record takes five reads, the session tickets of a handshake fewer. A peer
/// that sends more than that isn't idle.
const MAX_READS: usize = 8;

/// Reads what has arrived on a stream from which nothing is expected, without waiting. `buf` must
/// not be empty.
///
/// - `Ok(n)`: `n` bytes of application data have arrived.
/// - `Ok(0)`: the peer said goodbye (close_notify).
/// - [`io::ErrorKind::WouldBlock`]: nothing for the application has arrived. Session tickets or key
///   updates may have been consumed. Part of a record counts as nothing. If nothing at all has
///   arrived since the last look, this makes no system call.
/// - Any other error: the stream is dead. It was closed without a goodbye
///   ([`io::ErrorKind::UnexpectedEof`]) or reset, or rustls reports an error, which
///   [`TlsError::of_stream`](super::TlsError::of_stream) explains.
///
/// This registers no waker, replaces none, and spends nothing of the task's budget.
///
/// The peer's key update may ask for ours in return. rustls then changes its key for sending, and
/// keeps our key update, encrypted under the old key, until something is written. It is sent ahead
/// of the next request, so nothing has to be written here.
///
/// This uses rustls and the socket directly. A poll with a waker that does nothing would replace
/// the waker of a task that waits for the stream. tokio's budget could also make such a poll return
/// `Pending`, which would look as if nothing had arrived. tokio-rustls itself keeps only one thing
/// between reads: an error that came right behind application data. rustls repeats such an error,
/// and a closed socket stays readable, so nothing is missed.
pub(crate) fn try_read<S: SideData>(
    socket: &TcpStream,
    session: &mut ConnectionCommon<S>,
    buf: &mut [u8],
) -> io::Result<usize> {
    debug_assert!(!buf.is_empty(), "an empty buffer can't show anything");
    for _ in 0..MAX_READS {
        // First, because the socket doesn't show what an earlier read has left in the session.
        session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match session.reader().read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            shown => return shown,
        }
        // At the end of the stream this is `Ok(0)`. rustls remembers that, and the next round's
        // read returns it.
        session.read_tls(&mut WithoutWaiting(socket))?;
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer keeps sending TLS records that carry no data on an idle stream",
    ))
}

/// A socket as a reader that never waits. It calls the kernel only if tokio's reactor has seen
/// something arrive.
struct WithoutWaiting<'a>(&'a TcpStream);

impl Read for WithoutWaiting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

    use rustls::{ServerConfig, pki_types::ServerName};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::Notify,
        time::timeout,
    };
    use tokio_rustls::{TlsAcceptor, client, server};

    use super::*;
    use crate::tls::{ClientTls, Side, TlsError, credentials::provider};

    type Client = client::TlsStream<TcpStream>;
    type Server = server::TlsStream<TcpStream>;

    /// Both ends of a stream after its handshake; the server sends this many session tickets behind
    /// it.
    async fn pair(tickets: usize) -> (Client, Server) {
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")])
            .expect("a certificate");
        let key = made.signing_key.serialize_der().try_into().expect("a key");
        let tls = ClientTls::builder()
            .ca_certificates(vec![made.cert.der().clone()])
            .build()
            .expect("settings");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.into()], key)
            .expect("an identity");
        config.send_tls13_tickets = tickets;

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accept = async {
            let (socket, _) = listener.accept().await.expect("a client");
            TlsAcceptor::from(Arc::new(config))
                .accept(socket)
                .await
                .expect("a handshake")
        };
        let connect = async {
            let socket = TcpStream::connect(address).await.expect("a server");
            let name = ServerName::try_from("localhost").expect("a name");
            tls.connect(name, socket).await.expect("a handshake")
        };
        within(async { tokio::join!(connect, accept) }).await
    }

    fn seen(client: &mut Client, buf: &mut [u8]) -> io::Result<usize> {
        let (socket, session) = client.get_mut();
        try_read(socket, session, buf)
    }

    async fn within<F: Future>(work: F) -> F::Output {
        timeout(Duration::from_secs(10), work)
            .await
            .expect("it takes an instant")
    }

    /// Waits until the reactor has seen something arrive, and looks.
    async fn arrived(client: &mut Client) -> io::Result<usize> {
        within(client.get_ref().0.readable())
            .await
            .expect("a socket");
        seen(client, &mut [0; 64])
    }

    /// Waits until so many bytes are to be read from the socket, without reading them.
    async fn queued(client: &Client, bytes: usize) {
        let mut buf = vec![0; bytes];
        within(async {
            while client.get_ref().0.peek(&mut buf).await.expect("a socket") < bytes {}
        })
        .await;
    }

    fn is_idle(shown: &io::Result<usize>) -> bool {
        shown
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn exchange(client: &mut Client, server: &mut Server) {
        let mut read = [0; 4];
        within(async {
            client.write_all(b"ping").await.expect("a write");
            server.read_exact(&mut read).await.expect("a read");
            assert_eq!(&read, b"ping");
            server.write_all(b"pong").await.expect("a write");
            client.read_exact(&mut read).await.expect("a read");
            assert_eq!(&read, b"pong");
        })
        .await;
    }

    #[tokio::test]
    async fn tickets_and_key_updates_are_consumed_and_are_not_data() {
        let (mut client, mut server) = pair(2).await;
        while client.get_ref().1.tls13_tickets_received() < 2 {
            assert!(is_idle(&arrived(&mut client).await));
        }
        assert!(is_idle(&seen(&mut client, &mut [0; 64])));

        for _ in 0..3 {
            server.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
            within(server.flush()).await.expect("a write");
            assert!(is_idle(&arrived(&mut client).await));
        }
        exchange(&mut client, &mut server).await;
        exchange(&mut client, &mut server).await;
        assert!(is_idle(&seen(&mut client, &mut [0; 64])));
    }

    #[tokio::test]
    async fn unexpected_data_is_shown() {
        let (mut client, mut server) = pair(0).await;
        server.write_all(b"unasked").await.expect("a write");
        assert_eq!(arrived(&mut client).await.expect("data"), 7);
    }

    #[tokio::test]
    async fn data_that_is_left_in_the_session_is_shown_though_the_socket_is_empty() {
        let (mut client, mut server) = pair(0).await;
        server
            .write_all(b"a reply, and more")
            .await
            .expect("a write");
        let mut reply = [0; 7];
        within(client.read_exact(&mut reply)).await.expect("a read");
        assert_eq!(seen(&mut client, &mut [0; 64]).expect("data"), 10);
        assert!(is_idle(&seen(&mut client, &mut [0; 64])));
    }

    #[tokio::test]
    async fn a_goodbye_differs_from_an_end_without_one() {
        let (mut client, mut server) = pair(0).await;
        server.shutdown().await.expect("a goodbye");
        assert_eq!(arrived(&mut client).await.expect("a goodbye"), 0);
        assert_eq!(seen(&mut client, &mut [0; 64]).expect("still gone"), 0);

        let (mut client, server) = pair(0).await;
        drop(server);
        let error = arrived(&mut client).await.expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(matches!(
            TlsError::of_stream(&error, Side::Client),
            Some(TlsError::Truncated)
        ));
    }

    /// tokio-rustls keeps the error to itself until its next read.
    #[tokio::test]
    async fn an_error_that_came_right_behind_a_reply_is_shown() {
        let (mut client, mut server) = pair(0).await;
        // A record adds 22 bytes: its header, its type, its tag. With this reply it is exactly what
        // rustls reads at once.
        let reply = [0; 4096 - 22];
        server.write_all(&reply).await.expect("a write");
        server
            .get_mut()
            .0
            .write_all(b"garbage")
            .await
            .expect("a write");
        queued(&client, 4096 + 7).await;
        let mut read = [1; 8192];
        assert_eq!(
            within(client.read(&mut read)).await.expect("a reply"),
            reply.len()
        );
        let error = seen(&mut client, &mut [0; 64]).expect_err("garbage");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(TlsError::of_stream(&error, Side::Client).is_some());
    }

    #[tokio::test]
    async fn a_peer_that_never_stops_sending_tickets_is_not_idle() {
        let (mut client, _server) = pair(1_000).await;
        queued(&client, 4096 * (MAX_READS + 1)).await;
        let error = seen(&mut client, &mut [0; 64]).expect_err("too much");
        assert!(error.to_string().contains("carry no data"), "{error}");
    }

    #[tokio::test]
    async fn a_look_leaves_the_waker_of_a_task_that_waits() {
        let (mut client, mut server) = pair(0).await;
        let looked = Arc::new(Notify::new());
        let tell = looked.clone();
        let mut first = true;
        // In a task of its own: if anything else polled it, a lost waker wouldn't show.
        let wait = tokio::spawn(poll_fn(move |cx| {
            let ready = client.get_ref().0.poll_read_ready(cx);
            if first {
                assert!(ready.is_pending());
                assert!(is_idle(&seen(&mut client, &mut [0; 64])));
                tell.notify_one();
                first = false;
                return Poll::Pending;
            }
            ready
        }));
        within(looked.notified()).await;
        server.write_all(b"x").await.expect("a write");
        within(wait).await.expect("no panic").expect("a socket");
    }
}
