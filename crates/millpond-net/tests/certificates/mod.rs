//! What the tests of TLS share: authorities that issue certificates, folders for their files, and
//! handshakes over loopback.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    env, fs,
    future::Future,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use millpond_net::tls::{
    CertificateDer, ClientTls, ClientTlsBuilder, PrivateKeyDer, ServerName, ServerTls,
    ServerTlsBuilder, TlsError,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{client, server};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Issues a certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<_> = names.iter().map(|name| String::from(*name)).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "issued");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued {
            pem: certificate.pem(),
            certificate: certificate.into(),
            key,
        }
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.der().clone()]
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().ca_certificates(self.certificates())
    }
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    key: KeyPair,
}

impl Issued {
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.serialize_der().try_into().expect("a key")
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A server that is this.
    pub(crate) fn server(&self) -> ServerTlsBuilder {
        ServerTls::builder().identity(self.certificates(), self.key())
    }
}

/// A folder of its own, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "millpond-tls-{}-{}",
            process::id(),
            MADE.fetch_add(1, SeqCst)
        );
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, or replaces it by another one: in place of the old one, never half written.
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let new = self.path("new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, self.path(name)).expect("a file");
        self.path(name)
    }

    pub(crate) fn put_identity(&self, issued: &Issued) -> (PathBuf, PathBuf) {
        (
            self.put("cert.pem", &issued.pem),
            self.put("key.pem", &issued.key_pem()),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

pub(crate) type ClientStream = client::TlsStream<TcpStream>;
pub(crate) type ServerStream = server::TlsStream<TcpStream>;

pub(crate) fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).expect("a name")
}

/// Two ends of a TCP connection over loopback: who connected, and who accepted.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (connected, accepted) = (
        connected.expect("a connection"),
        accepted.expect("a connection").0,
    );
    for socket in [&connected, &accepted] {
        socket.set_nodelay(true).expect("a socket");
    }
    (connected, accepted)
}

/// A handshake over loopback, as both sides see it.
pub(crate) async fn handshake(
    client: &ClientTls,
    host: &str,
    server: &ServerTls,
) -> (
    Result<ClientStream, TlsError>,
    Result<ServerStream, TlsError>,
) {
    let (connected, accepted) = sockets().await;
    tokio::join!(
        client.connect(name(host), connected),
        server.accept(accepted)
    )
}

/// For what must not hang.
pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), work)
        .await
        .expect("it takes an instant")
}
