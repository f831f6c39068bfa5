//! The TLS flags of every command that connects by `tls://`: whom to trust, and the client's own
//! certificate.

use std::{env, path::PathBuf, time::Duration};

use millpond::net::{
    Endpoint, Stream,
    tls::{ClientTls, Side, TlsError},
};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{TlsFiles, in_flags};
use crate::complaint::Complaint;

/// How long a server's first records after the handshake are waited for: session tickets, or a
/// refusal.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Why the server refuses the client's certificate, if it does. In TLS 1.3 it says so only after
/// the handshake has succeeded on the client's side. Other bytes that arrive are discarded.
pub(super) async fn refusal(stream: &mut Stream) -> Option<TlsError> {
    let read = timeout(AFTERWARDS, stream.read(&mut [0; 1024]))
        .await
        .ok()?;
    TlsError::of_stream(&read.err()?, Side::Client)
        .filter(|error| !matches!(error, TlsError::Truncated))
}

#[derive(Debug, clap::Args)]
pub(super) struct TlsFlags {
    /// For tls://: trust the authorities in this file, as PEM [default: the system's]
    #[arg(long, value_name = "FILE", env = "MILLPOND_CA")]
    pub(super) ca: Option<PathBuf>,
    /// For tls://: the client's certificate, as PEM, for servers that demand one
    #[arg(long, value_name = "FILE", requires = "key", env = "MILLPOND_CERT")]
    pub(super) cert: Option<PathBuf>,
    /// For tls://: the private key of --cert, as PEM
    #[arg(long, value_name = "FILE", requires = "cert", env = "MILLPOND_KEY")]
    pub(super) key: Option<PathBuf>,
    /// For tls://: the name that the server's certificate must have [default: the endpoint's host]
    #[arg(long, value_name = "NAME")]
    pub(super) server_name: Option<String>,
}

impl TlsFlags {
    /// The first of these flags on the command line, for commands that may have no use for them.
    /// Environment variables don't count: they may be meant for other commands.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let files = [
            ("--ca", "MILLPOND_CA", &self.ca),
            ("--cert", "MILLPOND_CERT", &self.cert),
            ("--key", "MILLPOND_KEY", &self.key),
        ];
        let given = files.into_iter().find(|(_, variable, path)| {
            path.as_ref()
                .is_some_and(|path| env::var_os(variable).as_deref() != Some(path.as_os_str()))
        });
        let name = self.server_name.as_ref().map(|_| "--server-name");
        given.map(|(flag, ..)| flag).or(name)
    }

    /// The settings for an endpoint; `None` if no flag was given.
    pub(super) fn towards(&self, endpoint: &Endpoint) -> Result<Option<ClientTls>, Complaint> {
        let identity = self.cert.as_ref().zip(self.key.as_ref());
        let is_set_up = self.ca.is_some() || identity.is_some() || self.server_name.is_some();
        if !is_set_up {
            return Ok(None);
        }
        if !matches!(endpoint, Endpoint::Tls(_)) {
            return Err(Complaint::usage(format!(
                "--ca, --cert, --key and --server-name are for TLS, and {endpoint} speaks none: write tls://, or leave them out"
            )));
        }
        let mut tls = ClientTls::builder();
        if let Some(authorities) = &self.ca {
            tls = tls.ca_file(authorities);
        }
        if let Some((certificates, key)) = identity {
            tls = tls.identity_files(certificates, key);
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        let files = TlsFiles {
            authorities: ("--ca", self.ca.as_ref()),
            certificates: ("--cert", self.cert.as_ref()),
            key: ("--key", self.key.as_ref()),
        };
        let tls = tls
            .build()
            .map_err(|error| Complaint::usage(in_flags(&files.tell(&error))))?;
        Ok(Some(tls))
    }
}
