//! The side that accepts: its certificate, whether clients must have one, and its handshake.
//! Listening is not its business.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Side, TlsConfigError, TlsError, TlsVersion,
    credentials::{Certificates, Identity, check_protocols, protocols, provider, versions_from},
    reload::{Reloading, Settings, Source},
};

/// What a server needs for its TLS handshakes. Clones share everything, the sessions that can be
/// resumed included.
#[derive(Clone)]
pub struct ServerTls {
    config: Source<ServerTlsSettings>,
}

impl ServerTls {
    /// Starts from the defaults: nobody asks clients for a certificate, TLS 1.2 and 1.3, no ALPN.
    /// An identity has to be given.
    ///
    /// With TLS 1.3 each client is sent two session tickets after the handshake, as rustls does by
    /// default.
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder {
            identity: None,
            clients: None,
            alpn: Vec::new(),
            min_version: TlsVersion::Tls12,
        }
    }

    /// Takes a configuration of rustls as it is: with certificates that are chosen by the name that
    /// a client asks for, a verifier of one's own, another crypto provider.
    ///
    /// Nothing of this crate's is added to it: identity, versions, ALPN, tickets and the provider
    /// are what it says, and no file is read again. Failed handshakes are [`TlsError`]s all the
    /// same.
    pub fn from_config(config: Arc<ServerConfig>) -> ServerTls {
        ServerTls {
            config: Source::Given(config),
        }
    }

    /// Does the handshake with a client over an open stream.
    ///
    /// It sets no deadline of its own, and a client that stays silent is waited for: wrap it in a
    /// timeout.
    ///
    /// Files that may have changed are looked at on a thread for blocking work, once a second at
    /// most; that is waited for 100 ms, and then the handshake goes on with what there is.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says what went wrong, and who has to act.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without a timer, if there are files: `enable_time` is needed. (Outside of
    /// any runtime it works, and reads files itself.)
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream, in the middle of its handshake: it can't be used for
    /// anything else.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config.current().await)
            .accept(stream)
            .await
            .map_err(|error| TlsError::of_handshake(error, Side::Server))
    }

    /// Reads the files now, whether or not they have changed; without files, it only forgets the
    /// sessions that could be resumed. A configuration that was [given](ServerTls::from_config)
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// The files can't be used. The old certificates stay in use.
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        self.config.reload()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(settings) = self.config.settings() else {
            return f.write_str("ServerTls { given configuration }");
        };
        f.debug_struct("ServerTls")
            .field(
                "identity",
                &tracing::field::display(&settings.identity.certificates),
            )
            .field("min_version", &settings.min_version)
            .finish_non_exhaustive()
    }
}

/// Whether a client must present a certificate, where one is asked for. One that is presented must
/// always be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Clients without a certificate are served as well: whoever serves them looks at the stream's
    /// `peer_certificates()`.
    Optional,
    /// Clients without a certificate are refused.
    Required,
}

/// Collects what a [`ServerTls`] is to be.
#[derive(Clone)]
#[must_use]
pub struct ServerTlsBuilder {
    identity: Option<Identity>,
    clients: Option<(Certificates, ClientCertificates)>,
    alpn: Vec<Vec<u8>>,
    min_version: TlsVersion,
}

impl ServerTlsBuilder {
    /// Proves who the server is by the certificate that is first in this PEM file, the others being
    /// those that lead from it to its CA, and by the private key in the other file.
    pub fn identity_files(
        mut self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some(Identity::in_files(certificates, key));
        self
    }

    /// Like [`identity_files`](Self::identity_files), from memory.
    pub fn identity(
        mut self,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.identity = Some(Identity::given(certificates, key));
        self
    }

    /// Asks clients for a certificate that a CA of this PEM file has issued. Default: clients
    /// aren't asked for one.
    pub fn client_ca_file(mut self, path: impl Into<PathBuf>, demand: ClientCertificates) -> Self {
        self.clients = Some((Certificates::File(path.into()), demand));
        self
    }

    /// Like [`client_ca_file`](Self::client_ca_file), from memory.
    pub fn client_ca_certificates(
        mut self,
        certificates: Vec<CertificateDer<'static>>,
        demand: ClientCertificates,
    ) -> Self {
        self.clients = Some((Certificates::Given(certificates), demand));
        self
    }

    /// Speaks these protocols, the preferred one first (ALPN). A client that offers others only is
    /// refused ([`TlsError::NoCommonProtocol`]); one that knows nothing of ALPN is served, and
    /// the stream's `alpn_protocol()` is `None`. Default: none.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols(names);
        self
    }

    /// The oldest version that is spoken. Default: TLS 1.2, for many clients have no later one; the
    /// latest that both sides know is used.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Reads all files, and checks that everything fits together.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file, what it should hold and what it holds;
    /// [`TlsConfigError::NoIdentity`] if none was given.
    pub fn build(self) -> Result<ServerTls, TlsConfigError> {
        check_protocols(&self.alpn)?;
        let settings = ServerTlsSettings {
            identity: self.identity.ok_or(TlsConfigError::NoIdentity)?,
            clients: self.clients,
            alpn: self.alpn,
            min_version: self.min_version,
        };
        Ok(ServerTls {
            config: Source::Made(Arc::new(Reloading::new(settings)?)),
        })
    }
}

impl fmt::Debug for ServerTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self
            .identity
            .as_ref()
            .map(|identity| &identity.certificates);
        f.debug_struct("ServerTlsBuilder")
            .field("identity", &identity.map(tracing::field::display))
            .field("min_version", &self.min_version)
            .finish_non_exhaustive()
    }
}

struct ServerTlsSettings {
    identity: Identity,
    clients: Option<(Certificates, ClientCertificates)>,
    alpn: Vec<Vec<u8>>,
    min_version: TlsVersion,
}

impl Settings for ServerTlsSettings {
    type Config = ServerConfig;

    fn files(&self) -> Vec<&Path> {
        let clients = self.clients.iter().filter_map(|(roots, _)| roots.path());
        self.identity.paths().chain(clients).collect()
    }

    fn load(&self) -> Result<ServerConfig, TlsConfigError> {
        let provider = provider();
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions_from(self.min_version))
            .map_err(TlsConfigError::Refused)?;
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some((roots, demand)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.load_roots()?, provider);
                let verifier = match demand {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                config.with_client_cert_verifier(verifier.build().map_err(unverifiable)?)
            }
        };
        let (certificates, key) = self.identity.load()?;
        let mut config = config
            .with_single_cert(certificates, key)
            .map_err(|source| self.identity.rejected(source))?;
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(config)
    }
}

/// Only an empty set of roots or a bad revocation list is refused, and neither gets here.
fn unverifiable(error: VerifierBuilderError) -> TlsConfigError {
    TlsConfigError::Refused(rustls::Error::General(error.to_string()))
}
