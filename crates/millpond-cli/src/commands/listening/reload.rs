//! Reads the certificates again at SIGHUP, whether or not they have changed; and the events that
//! tell of them.

use std::{fmt, path::PathBuf};

use millpond::Chain;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{
    certificates::{Certificates, Files},
    fitness,
};
use crate::{
    commands::events::{Events, VERSION},
    text::escaped,
};

/// Reads them again, and prints the outcome. Files that can't be used change nothing.
pub(in crate::commands) async fn reload(certificates: Option<&Certificates>, events: &Events) {
    let Some(Certificates { tls, files }) = certificates else {
        return events.tell(&NotReloaded::new(
            "there are no certificates to read again, for no TLS is spoken here",
        ));
    };
    let tls = tls.clone();
    // Reading files may block.
    match spawn_blocking(move || tls.reload()).await {
        Ok(Ok(())) => {
            events.tell(&Reloaded::new(files));
            if let Some(doubtful) = DoubtfulCertificate::of(files) {
                events.tell(&doubtful);
            }
        }
        Ok(Err(error)) => events.tell(&NotReloaded::new(&format!(
            "{}; the old certificates stay in use",
            Chain(&error)
        ))),
        Err(error) => events.tell(&NotReloaded::new(&error.to_string())),
    }
}

/// Clients will refuse the certificate.
#[derive(Serialize)]
#[serde(tag = "event", rename = "doubtful_certificate")]
pub(in crate::commands) struct DoubtfulCertificate {
    version: u32,
    certificate: String,
    reason: String,
}

impl DoubtfulCertificate {
    pub(in crate::commands) fn of(files: &Files) -> Option<Self> {
        Some(DoubtfulCertificate {
            version: VERSION,
            certificate: files.certificate.to_string_lossy().into_owned(),
            reason: fitness::doubt(files)?,
        })
    }
}

impl fmt::Display for DoubtfulCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.reason))
    }
}

/// The certificates were read again.
#[derive(Serialize)]
#[serde(tag = "event", rename = "reloaded")]
pub(in crate::commands) struct Reloaded {
    version: u32,
    certificate: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
}

impl Reloaded {
    pub(in crate::commands) fn new(files: &Files) -> Self {
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        Reloaded {
            version: VERSION,
            certificate: name(&files.certificate),
            key: name(&files.key),
            client_ca: files.client_ca.as_ref().map(name),
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificate, key) = (escaped(&self.certificate), escaped(&self.key));
        write!(f, "reloaded: certificate {certificate}, key {key}")?;
        if let Some(client_ca) = &self.client_ca {
            write!(f, ", client CA {}", escaped(client_ca))?;
        }
        f.write_str("; open connections keep what they began with")
    }
}

/// The certificates could not be read again; the old ones stay in use.
#[derive(Serialize)]
#[serde(tag = "event", rename = "not_reloaded")]
pub(in crate::commands) struct NotReloaded {
    version: u32,
    reason: String,
}

impl NotReloaded {
    pub(in crate::commands) fn new(reason: &str) -> Self {
        NotReloaded {
            version: VERSION,
            reason: reason.to_owned(),
        }
    }
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not reloaded: {}", escaped(&self.reason))
    }
}
