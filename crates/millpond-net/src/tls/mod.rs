//! TLS for either side of a stream: settings, certificates that are read again when their files
//! change, and errors that say who has to act. It makes no connections and listens nowhere: it is
//! given a stream that is open, and gives back one that is encrypted.
//!
//! ```no_run
//! use millpond_net::tls::{ClientTls, ServerName};
//! use tokio::net::TcpStream;
//!
//! # async fn dial() -> Result<(), Box<dyn std::error::Error>> {
//! let tls = ClientTls::builder().ca_file("/etc/backend/ca.pem").build()?;
//! let stream = TcpStream::connect(("backend.example", 8443)).await?;
//! let stream = tls.connect(ServerName::try_from("backend.example")?, stream).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`ClientTls`], [`ServerTls`], then [`TlsError`] and [`TlsConfigError`].
//!
//! There is no switch that accepts any certificate: whoever wants to reach a peer whose certificate
//! nobody vouches for gives that very certificate as CA, and a name that it holds as
//! [`server_name`](ClientTlsBuilder::server_name). It must not be marked as a CA itself
//! then, as `openssl req -x509` marks it by default: add `-addext basicConstraints=CA:FALSE`.
//!
//! # Files that change
//!
//! What was given as a file is read again when the file has changed: looked at before a handshake,
//! at most once a second, by modification time, length and inode. All files of one side are taken
//! over together. A set that can't be used, say because it is half written, changes nothing: the
//! old one serves, a warning is logged once, and the next look tries again. Streams that are open
//! keep what they were opened with; sessions aren't resumed from one set to the next.
//!
//! These files are small, so they are read where the handshake begins, without handing the reading
//! to another thread.

mod client;
mod credentials;
mod error;
mod files;
pub(crate) mod idle;
mod reload;
mod server;

pub use client::{ClientTls, ClientTlsBuilder};
pub use credentials::TlsVersion;
#[doc(hidden)]
pub use error::repeated;
pub use error::{Side, TlsConfigError, TlsError};
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{ClientCertificates, ServerTls, ServerTlsBuilder};
