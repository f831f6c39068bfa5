//! The side that connects: whom it trusts, who it says it is, and its handshake. Where streams come
//! from is not its business.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use rustls_native_certs::CertificateResult;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Side, TlsConfigError, TlsError, TlsVersion,
    credentials::{Certificates, Identity, check_protocols, protocols, provider, versions_from},
    reload::{Reloading, Settings, Source},
};

/// What a client needs for its TLS handshakes. Clones share everything, the sessions that can be
/// resumed included.
#[derive(Clone)]
pub struct ClientTls {
    config: Source<ClientTlsSettings>,
}

impl ClientTls {
    /// Starts from the defaults: the system's CAs, no client certificate, TLS 1.2 and 1.3, no ALPN.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            roots: None,
            identity: None,
            server_name: None,
            alpn: Vec::new(),
            min_version: TlsVersion::Tls12,
        }
    }

    /// Takes a configuration of rustls as it is: with a verifier of one's own, a client certificate
    /// that is chosen by the server's wishes, another crypto provider, a log of keys.
    ///
    /// Nothing of this crate's is added to it: trust, versions, ALPN and the provider are what it
    /// says, and no file is read again. What holds still: the server's certificate is checked (by
    /// its verifier) for the host that is dialled, and failed handshakes are [`TlsError`]s that say
    /// who has to act. A verifier that isn't rustls' own is explained as far as it uses rustls'
    /// errors.
    ///
    /// ```
    /// # fn config(roots: rustls::RootCertStore) -> Result<(), rustls::Error> {
    /// use std::sync::Arc;
    ///
    /// use millpond_net::tls::{ClientConfig, ClientTls};
    ///
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let config = ClientConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let tls = ClientTls::from_config(Arc::new(config));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_config(config: Arc<ClientConfig>) -> ClientTls {
        ClientTls {
            config: Source::Given(config),
        }
    }

    /// Does the handshake with a server over an open stream. `host` is whom the stream leads to: a
    /// name (`ServerName::try_from("…")`) or an address (`ServerName::from(ip)`). The server's
    /// certificate must be valid for it, or for [`server_name`](ClientTlsBuilder::server_name)
    /// if that was set.
    ///
    /// It sets no deadline of its own, and a peer that stays silent is waited for: wrap it in a
    /// timeout.
    ///
    /// A server that speaks TLS 1.3 judges the client's certificate when the handshake has already
    /// ended here. Its refusal comes as an error of the first read, which
    /// [`TlsError::of_stream`] explains.
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
    pub async fn connect<S>(
        &self,
        host: ServerName<'static>,
        stream: S,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let settings = self.config.settings();
        let name = settings.and_then(|settings| settings.server_name.clone());
        let name = name.unwrap_or(host);
        TlsConnector::from(self.config.current().await)
            .connect(name, stream)
            .await
            .map_err(|error| TlsError::of_handshake(error, Side::Client))
    }

    /// Reads the files now, whether or not they have changed; without files, it only forgets the
    /// sessions that could be resumed. The system's CAs stay as they were when this was built; a
    /// configuration that was [given](ClientTls::from_config) stays as a whole.
    ///
    /// # Errors
    ///
    /// The files can't be used. The old certificates stay in use.
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        self.config.reload()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.config.settings() {
            Some(settings) => settings.fmt(f),
            None => f.write_str("ClientTls { given configuration }"),
        }
    }
}

/// Collects what a [`ClientTls`] is to be.
#[derive(Clone)]
#[must_use]
pub struct ClientTlsBuilder {
    roots: Option<Certificates>,
    identity: Option<Identity>,
    server_name: Option<String>,
    alpn: Vec<Vec<u8>>,
    min_version: TlsVersion,
}

impl ClientTlsBuilder {
    /// Trusts the CAs of this PEM file, and only those. Default: the CAs that the system trusts,
    /// read once by [`build`](Self::build).
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(Certificates::File(path.into()));
        self
    }

    /// Trusts these CAs, and only those.
    pub fn ca_certificates(mut self, certificates: Vec<CertificateDer<'static>>) -> Self {
        self.roots = Some(Certificates::Given(certificates));
        self
    }

    /// Answers a server that asks who the client is: by the certificate that is first in this PEM
    /// file, the others being those that lead from it to its CA, and by the private key in the
    /// other file. Default: no client certificate.
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

    /// The name or address that the server's certificate must be valid for, instead of that of the
    /// host; a name is also told to the server (SNI). For servers that are reached by an
    /// address, or through something that isn't the server.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Offers these protocols, the preferred one first (ALPN). A server that shares none of them
    /// refuses ([`TlsError::NoCommonProtocol`]); one that knows nothing of ALPN goes on, and
    /// the stream's `alpn_protocol()` is `None`. Default: none.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols(names);
        self
    }

    /// The oldest version that is spoken. Default: TLS 1.2, for many servers have no later one; the
    /// latest that both sides know is used.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Reads all files, and checks that everything fits together.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file, what it should hold and what it holds.
    pub fn build(self) -> Result<ClientTls, TlsConfigError> {
        check_protocols(&self.alpn)?;
        let server_name = match self.server_name {
            Some(name) => match ServerName::try_from(name.clone()) {
                Ok(valid) => Some(valid),
                Err(source) => return Err(TlsConfigError::ServerName { name, source }),
            },
            None => None,
        };
        let roots = match self.roots {
            Some(certificates) => Roots::Own(certificates),
            None => Roots::System(system_roots(
                rustls_native_certs::load_native_certs(),
                &looked_in(),
            )?),
        };
        let settings = ClientTlsSettings {
            roots,
            identity: self.identity,
            server_name,
            alpn: self.alpn,
            min_version: self.min_version,
        };
        Ok(ClientTls {
            config: Source::Made(Arc::new(Reloading::new(settings)?)),
        })
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsBuilder")
            .field("roots", &self.roots.as_ref().map(tracing::field::display))
            .field("server_name", &self.server_name)
            .field("min_version", &self.min_version)
            .finish_non_exhaustive()
    }
}

/// Whom a client trusts.
enum Roots {
    System(Arc<RootCertStore>),
    Own(Certificates),
}

struct ClientTlsSettings {
    roots: Roots,
    identity: Option<Identity>,
    server_name: Option<ServerName<'static>>,
    alpn: Vec<Vec<u8>>,
    min_version: TlsVersion,
}

impl Settings for ClientTlsSettings {
    type Config = ClientConfig;

    fn files(&self) -> Vec<&Path> {
        let roots = match &self.roots {
            Roots::System(_) => None,
            Roots::Own(certificates) => certificates.path(),
        };
        let identity = self.identity.iter().flat_map(Identity::paths);
        roots.into_iter().chain(identity).collect()
    }

    fn load(&self) -> Result<ClientConfig, TlsConfigError> {
        let roots = match &self.roots {
            Roots::System(roots) => roots.clone(),
            Roots::Own(certificates) => certificates.load_roots()?,
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions_from(self.min_version))
            .map_err(TlsConfigError::Refused)?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (certificates, key) = identity.load()?;
                config
                    .with_client_auth_cert(certificates, key)
                    .map_err(|source| identity.rejected(source))?
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(config)
    }
}

impl fmt::Debug for ClientTlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = match &self.roots {
            Roots::System(_) => String::from("the system's"),
            Roots::Own(certificates) => certificates.to_string(),
        };
        f.debug_struct("ClientTls")
            .field("roots", &roots)
            .field("server_name", &self.server_name)
            .field("min_version", &self.min_version)
            .finish_non_exhaustive()
    }
}

/// Where the system's certificates are looked for, in words.
fn looked_in() -> String {
    let named: Vec<_> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter_map(|variable| {
            let path = env::var_os(variable)?;
            Some(format!("{variable}={}", Path::new(&path).display()))
        })
        .collect();
    if named.is_empty() {
        return String::from(
            "where this system's OpenSSL keeps them (/etc/ssl/certs and the like; SSL_CERT_FILE and SSL_CERT_DIR aren't set)",
        );
    }
    format!("where the environment says ({})", named.join(", "))
}

/// What could be loaded of the system's certificates. Single ones that can't be read or parsed are
/// left out.
fn system_roots(
    loaded: CertificateResult,
    looked_in: &str,
) -> Result<Arc<RootCertStore>, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if !roots.is_empty() {
        return Ok(Arc::new(roots));
    }
    Err(TlsConfigError::NoSystemRoots {
        looked_in: looked_in.to_owned(),
        source: loaded.errors.into_iter().next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_certificates_is_told_with_the_places_that_were_searched() {
        let error = system_roots(CertificateResult::default(), "SSL_CERT_FILE=/nowhere.pem")
            .expect_err("no certificate was loaded");
        let said = error.to_string();
        assert!(said.contains("SSL_CERT_FILE=/nowhere.pem"), "{said}");
        assert!(said.contains("ca_file"), "{said}");
    }

    #[test]
    fn one_certificate_that_the_system_trusts_is_enough() {
        let mut loaded = CertificateResult::default();
        let ca =
            rcgen::generate_simple_self_signed(vec![String::from("ca")]).expect("a certificate");
        loaded.certs = vec![ca.cert.into(), CertificateDer::from(vec![1, 2, 3])];
        let roots = system_roots(loaded, "here").expect("one is usable");
        assert_eq!(roots.len(), 1);
    }
}
