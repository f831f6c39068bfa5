//! The certificates that are served.

use std::path::PathBuf;

use millpond::net::tls::ServerTls;

/// The TLS settings, and the files that they come from.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) tls: ServerTls,
    pub(super) files: Files,
}

/// The files, which can be read again.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}
