//! Certificates in files: what is said of those that are unfit, and what happens when they change
//! while they are in use.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::loopback::certificates::{Authority, ClientStream, Folder, ServerStream, handshake};
use millpond_net::tls::{
    CertificateDer, ClientCertificates, ClientTls, ServerTls, TlsConfigError, TlsError,
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::advance,
};
use tracing::{Event, Metadata, Subscriber, span};

const A_LOOK: Duration = Duration::from_secs(1);

/// Counts warnings of the transports.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "millpond::net" && *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A handshake and an exchange after it, by which the client is given its session tickets.
async fn meet(client: &ClientTls, server: &ServerTls) -> (ClientStream, ServerStream) {
    let (client, server) = handshake(client, "localhost", server).await;
    let mut client = client.expect("the client's handshake");
    let mut server = server.expect("the server's handshake");
    server.write_all(b"hello").await.expect("a write");
    client.read_exact(&mut [0; 5]).await.expect("a read");
    (client, server)
}

/// Who the server is to the client.
async fn served_by(client: &ClientTls, server: &ServerTls) -> Vec<CertificateDer<'static>> {
    let (client, _server) = meet(client, server).await;
    client
        .get_ref()
        .1
        .peer_certificates()
        .expect("a certificate")
        .to_vec()
}

/// Who the client is to the server.
async fn called_by(client: &ClientTls, server: &ServerTls) -> Vec<CertificateDer<'static>> {
    let (_client, server) = meet(client, server).await;
    server
        .get_ref()
        .1
        .peer_certificates()
        .expect("a certificate")
        .to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_servers_new_files_serve_the_next_handshake_a_second_later() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let (certificates, key) = folder.put_identity(&old);
    let server = ServerTls::builder()
        .identity_files(certificates, key)
        .build()
        .expect("settings");
    let client = ca.client().build().expect("settings");
    assert_eq!(served_by(&client, &server).await, old.certificates());

    folder.put_identity(&new);
    advance(A_LOOK / 2).await;
    assert_eq!(
        served_by(&client, &server).await,
        old.certificates(),
        "nobody looked yet"
    );
    advance(A_LOOK / 2).await;
    assert_eq!(served_by(&client, &server).await, new.certificates());
}

#[tokio::test(start_paused = true)]
async fn a_clients_new_files_and_a_servers_new_authorities_are_taken_over() {
    let (old_ca, new_ca, folder) = (Authority::new("old"), Authority::new("new"), Folder::new());
    let server_identity = old_ca.issue(&["localhost"]);
    let (old, new) = (old_ca.issue(&["client"]), new_ca.issue(&["client"]));
    let (certificates, key) = folder.put_identity(&old);
    let roots = folder.put("roots.pem", &old_ca.pem());
    let client_roots = folder.put("client-roots.pem", &old_ca.pem());
    let client = ClientTls::builder()
        .ca_file(&roots)
        .identity_files(certificates, key)
        .build()
        .expect("settings");
    let server = server_identity
        .server()
        .client_ca_file(&client_roots, ClientCertificates::Required)
        .build()
        .expect("settings");
    assert_eq!(called_by(&client, &server).await, old.certificates());

    folder.put_identity(&new);
    folder.put("client-roots.pem", &new_ca.pem());
    advance(A_LOOK).await;
    assert_eq!(called_by(&client, &server).await, new.certificates());

    folder.put("roots.pem", &new_ca.pem());
    advance(A_LOOK).await;
    let (client_end, _) = handshake(&client, "localhost", &server).await;
    assert!(matches!(client_end, Err(TlsError::UnknownIssuer { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_half_written_keeps_the_old_one_and_is_warned_of_once() {
    let (ca, folder, warnings) = (Authority::new("ca"), Folder::new(), Warnings::default());
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let (certificates, key) = folder.put_identity(&old);
    let server = ServerTls::builder()
        .identity_files(&certificates, &key)
        .build()
        .expect("settings");
    let client = ca.client().build().expect("settings");

    let half = &new.pem[..new.pem.len() / 2];
    // Cut off; then whole, but with the old key; then gone.
    for text in [Some(half), Some(new.pem.as_str()), None] {
        match text {
            Some(text) => drop(folder.put("cert.pem", text)),
            None => fs::remove_file(&certificates).expect("a file"),
        }
        for _ in 0..2 {
            advance(A_LOOK).await;
            assert_eq!(served_by(&client, &server).await, old.certificates());
        }
    }
    assert_eq!(warnings.count(), 1);
    let error = server.reload().expect_err("gone");
    assert!(error.to_string().contains("cert.pem"), "{error}");
    assert_eq!(served_by(&client, &server).await, old.certificates());

    folder.put_identity(&new);
    advance(A_LOOK).await;
    assert_eq!(served_by(&client, &server).await, new.certificates());

    folder.put("key.pem", "");
    advance(A_LOOK).await;
    assert_eq!(served_by(&client, &server).await, new.certificates());
    assert_eq!(warnings.count(), 2, "after a success a failure is news");
}

#[tokio::test(start_paused = true)]
async fn a_reload_by_hand_looks_at_once() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let (certificates, key) = folder.put_identity(&old);
    let server = ServerTls::builder()
        .identity_files(certificates, key)
        .build()
        .expect("settings");
    let client = ca.client().build().expect("settings");
    folder.put_identity(&new);
    server.clone().reload().expect("new files");
    assert_eq!(
        served_by(&client, &server).await,
        new.certificates(),
        "clones share it"
    );
    client.reload().expect("no files to fail on");
}

/// Opens a FIFO for writing and closes it, by which its reader's read ends; and removes it. Whether
/// there was a reader.
fn release(fifo: &Path) -> bool {
    let mut options = fs::File::options();
    let opened = options
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(fifo);
    fs::remove_file(fifo).expect("a file");
    opened.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_file_that_can_not_be_read_to_its_end_holds_up_no_task_and_no_handshake() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let identity = ca.issue(&["localhost"]);
    let (certificates, key) = folder.put_identity(&identity);
    let server = ServerTls::builder()
        .identity_files(&certificates, &key)
        .build()
        .expect("settings");
    let roots = folder.put("roots.pem", &ca.pem());
    let client = ClientTls::builder()
        .ca_file(&roots)
        .build()
        .expect("settings");
    for file in [&certificates, &roots] {
        fs::remove_file(file).expect("a file");
        mkfifo(file, Mode::S_IRWXU).expect("a FIFO");
    }
    advance(A_LOOK).await;
    // A paused clock stands still while a thread for blocking work is busy.
    tokio::time::resume();
    // Were this thread to read the files, it would wait for somebody who writes.
    let (done, watched) = mpsc::channel::<()>();
    let fifos = [certificates, roots];
    let watchdog = thread::spawn(move || {
        let in_time = watched.recv_timeout(Duration::from_secs(20)).is_ok();
        (in_time, fifos.map(|fifo| release(&fifo)))
    });
    for _ in 0..3 {
        assert_eq!(served_by(&client, &server).await, identity.certificates());
    }
    let _ = done.send(());
    let (in_time, being_read) = watchdog.join().expect("no panic");
    assert!(in_time, "the handshakes read the files themselves");
    assert_eq!(being_read, [true; 2]);
}

#[test]
fn an_unfit_file_is_named_with_what_it_should_hold_and_what_it_holds() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let (own, other) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let (certificates, key) = folder.put_identity(&own);
    let other_key = folder.put("other-key.pem", &other.key_pem());
    let two_keys = folder.put("two-keys.pem", &(own.key_pem() + &other.key_pem()));
    let cut = folder.put("cut.pem", &own.pem[..own.pem.len() / 2]);
    let empty = folder.put("empty.pem", "");
    let missing = folder.path("missing.pem");
    let said = |certificates, key| {
        let built = ServerTls::builder()
            .identity_files(certificates, key)
            .build();
        millpond_words::Chain(&built.expect_err("unfit")).to_string()
    };

    for (certificates, key, words) in [
        (
            &key,
            &key,
            ["key.pem should hold certificates", "holds PRIVATE KEY"],
        ),
        (
            &certificates,
            &certificates,
            [
                "cert.pem should hold one unencrypted private key",
                "holds CERTIFICATE",
            ],
        ),
        (
            &certificates,
            &other_key,
            ["other-key.pem) doesn't belong", "cert.pem)"],
        ),
        (
            &certificates,
            &two_keys,
            [
                "two-keys.pem should hold one",
                "holds PRIVATE KEY, PRIVATE KEY",
            ],
        ),
        (
            &cut,
            &key,
            [
                "cut.pem should hold certificates",
                "section CERTIFICATE has no end",
            ],
        ),
        (
            &empty,
            &key,
            ["empty.pem should hold certificates", "it is empty"],
        ),
        (
            &missing,
            &key,
            ["missing.pem can't be read", "no such file"],
        ),
        (
            &certificates,
            &folder.path(""),
            ["can't be read for one unencrypted private key", "directory"],
        ),
    ] {
        let said = said(certificates, key);
        for words in words {
            assert!(said.contains(words), "{said} has no {words:?}");
        }
    }

    let both = folder.put("both.pem", &(own.key_pem() + &own.pem));
    ServerTls::builder()
        .identity_files(&both, &both)
        .build()
        .expect("certificate and key in one file");
    let error = ClientTls::builder()
        .ca_file(&key)
        .build()
        .expect_err("a key");
    assert!(matches!(error, TlsConfigError::Unfit { .. }), "{error}");
}
