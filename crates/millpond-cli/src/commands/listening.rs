//! What commands that listen have in common: the flags for TLS, the check of who can reach them, and
//! how many connections they take.

pub(super) mod certificates;
mod fitness;
pub(super) mod reload;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use millpond::net::{
    Endpoint, Host, HostPort,
    tls::{ClientCertificates, ServerTls},
};

use self::certificates::{Certificates, Files};
use super::TlsFiles;
use crate::complaint::Complaint;

/// The default number of connections.
const CONNECTIONS: usize = 10_000;

/// The flags for the side that listens.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListenFlags {
    /// For tls://: the server's certificate and its chain, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "MILLPOND_TLS_CERT"
    )]
    pub(super) tls_cert: Option<PathBuf>,
    /// For tls://: the private key of --tls-cert, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_KEY"
    )]
    pub(super) tls_key: Option<PathBuf>,
    /// For tls://: demand client certificates, issued by an authority in this file, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_CLIENT_CA"
    )]
    pub(super) tls_client_ca: Option<PathBuf>,
    /// Allow other machines to connect without TLS and client certificates
    #[arg(long)]
    pub(super) insecure_bind: bool,
}

impl ListenFlags {
    /// Whether clients must have a certificate.
    pub(super) fn demands_certificates(&self) -> bool {
        self.tls_client_ca.is_some()
    }

    /// The certificates for an endpoint; `None` where it speaks no TLS.
    pub(super) fn certificates(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<Certificates>, Complaint> {
        let identity = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        match (endpoint, identity) {
            (Endpoint::Tls(_), None) => Err(Complaint::usage(format!(
                "{endpoint} needs a certificate: give --tls-cert FILE and --tls-key FILE"
            ))),
            (Endpoint::Tls(_), Some((certificates, key))) => {
                let mut tls = ServerTls::builder().identity_files(certificates, key);
                if let Some(authorities) = &self.tls_client_ca {
                    tls = tls.client_ca_file(authorities, ClientCertificates::Required);
                }
                let flags = TlsFiles {
                    authorities: ("--tls-client-ca", self.tls_client_ca.as_ref()),
                    certificates: ("--tls-cert", Some(certificates)),
                    key: ("--tls-key", Some(key)),
                };
                let tls = tls
                    .build()
                    .map_err(|error| Complaint::usage(flags.tell(&error)))?;
                let files = Files {
                    certificate: certificates.clone(),
                    key: key.clone(),
                    client_ca: self.tls_client_ca.clone(),
                };
                Ok(Some(Certificates { tls, files }))
            }
            (_, Some(_)) => Err(Complaint::usage(format!(
                "there are certificates, and {endpoint} speaks no TLS: write tls://, or leave them out"
            ))),
            (_, None) => Ok(None),
        }
    }
}

/// The default is bounded by the descriptors, so that a client beyond it is refused at once rather
/// than kept waiting.
pub(super) fn max_connections(asked: Option<usize>, room: Option<u64>) -> usize {
    let can_be = || {
        room.map_or(CONNECTIONS, |room| {
            usize::try_from(room).unwrap_or(usize::MAX)
        })
    };
    asked.unwrap_or_else(|| CONNECTIONS.min(can_be()).max(1))
}

/// Refuses to serve other machines without client certificates, unless that was asked for.
pub(super) fn check_exposure(
    endpoint: &Endpoint,
    demands_certificates: bool,
    insecure_bind: bool,
) -> Result<(), Complaint> {
    let (at, is_guarded) = match endpoint {
        Endpoint::Tls(at) => (at, demands_certificates),
        Endpoint::Tcp(at) => (at, false),
        _ => return Ok(()),
    };
    let is_local = match at.host {
        Host::Address(address) => address.to_canonical().is_loopback(),
        Host::Name(_) => false,
    };
    if is_local || is_guarded || insecure_bind {
        return Ok(());
    }
    Err(Complaint::usage(format!(
        "{endpoint} can be reached from other machines, and anybody there could send requests\n\
         listen on tls:// with --tls-cert, --tls-key and --tls-client-ca, on 127.0.0.1, or on a Unix socket;\n\
         or say --insecure-bind, where the network itself lets in only whom you trust"
    )))
}

/// The endpoint that a client on this machine can dial: loopback in place of the unspecified
/// address.
pub(super) fn reachable(endpoint: &Endpoint) -> Endpoint {
    let local = |at: &HostPort| HostPort {
        host: match &at.host {
            Host::Address(IpAddr::V4(all)) if all.is_unspecified() => {
                Host::Address(Ipv4Addr::LOCALHOST.into())
            }
            Host::Address(IpAddr::V6(all)) if all.is_unspecified() => {
                Host::Address(Ipv6Addr::LOCALHOST.into())
            }
            host => host.clone(),
        },
        port: at.port,
    };
    match endpoint {
        Endpoint::Tcp(at) => Endpoint::Tcp(local(at)),
        Endpoint::Tls(at) => Endpoint::Tls(local(at)),
        other => other.clone(),
    }
}

/// Quoted for a shell.
pub(super) fn quoted(text: &str) -> String {
    shell_words::quote(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_can_be_and_what_was_asked_for_is_kept() {
        assert_eq!(max_connections(None, Some(100_000)), 10_000);
        assert_eq!(max_connections(None, Some(960)), 960);
        assert_eq!(max_connections(None, Some(0)), 1);
        assert_eq!(max_connections(None, None), 10_000);
        assert_eq!(max_connections(Some(20_000), Some(960)), 20_000);
    }
}
