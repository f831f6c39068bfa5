//! The certificates that are served.

use std::path::PathBuf;

use millpond::net::tls::ServerTls;

/// The TLS settings, and the files that they come from.
#[derive(Clone)]
pub(in crate::commands) struct Certificates {
    pub(in crate::commands) tls: ServerTls,
    pub(in crate::commands) files: Files,
}

/// The files, which can be read again.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Files {
    pub(in crate::commands) certificate: PathBuf,
    pub(in crate::commands) key: PathBuf,
    pub(in crate::commands) client_ca: Option<PathBuf>,
}
