//! How a dialler speaks TLS: with the settings that it was given, else with the system's, read when they are first needed; and by
//! which name it knows the server.

use std::sync::OnceLock;

use rustls::pki_types::ServerName;

use super::{ConnectFailure, Host, tls::ClientTls};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TlsSide {
    settings: OnceLock<ClientTls>,
}

impl TlsSide {
    pub(super) fn given(settings: ClientTls) -> Self {
        TlsSide {
            settings: OnceLock::from(settings),
        }
    }

    /// The settings, and the name that the server's certificate must be for.
    pub(super) fn settings_for(
        &self,
        host: &Host,
    ) -> Result<(&ClientTls, ServerName<'static>), ConnectFailure> {
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => {
                // No certificate has the dot of the root.
                let name = name.as_str().trim_end_matches('.').to_owned();
                ServerName::try_from(name).map_err(|_| ConnectFailure::NoServerName)?
            }
        };
        let settings = match self.settings.get() {
            Some(settings) => settings,
            None => {
                let system = ClientTls::builder()
                    .build()
                    .map_err(|error| ConnectFailure::TlsSettings(Box::new(error)))?;
                self.settings.get_or_init(|| system)
            }
        };
        Ok((settings, name))
    }
}
