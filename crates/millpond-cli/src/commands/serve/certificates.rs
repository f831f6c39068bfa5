//! The certificates that are served.

use std::path::PathBuf;

use millpond::net::tls::ServerTls;

/// The TLS that is served, and the files that it is from.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) tls: ServerTls,
    pub(super) files: Files,
}

/// What is read again.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}
