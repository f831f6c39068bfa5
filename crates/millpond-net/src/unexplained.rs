//! What failed attempts mean, in a build without the feature `kernel`: what the system says of them,
//! and no more.

use std::{io, net::SocketAddr, path::Path};

use super::ConnectAttempt;

/// Has the name and the methods of what explains failures with the feature `kernel`.
#[derive(Debug, Default)]
pub(super) struct Explanations {}

impl Explanations {
    pub(super) async fn of_lookup(&self, error: io::Error) -> io::Error {
        error
    }

    pub(super) async fn of_tcp(
        &self,
        failures: Vec<(SocketAddr, io::Error)>,
        _: Option<SocketAddr>,
    ) -> Vec<ConnectAttempt> {
        let failures = failures.into_iter();
        failures
            .map(|(address, error)| attempt(Some(address), error))
            .collect()
    }

    pub(super) async fn of_unix(&self, error: io::Error, _: &Path) -> Vec<ConnectAttempt> {
        vec![attempt(None, error)]
    }
}

fn attempt(address: Option<SocketAddr>, error: io::Error) -> ConnectAttempt {
    ConnectAttempt {
        address,
        error,
        explanation: None,
    }
}
