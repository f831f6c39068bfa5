//! How a dialler speaks TLS: with the settings that it was given, else with the system's, read when
//! they are first needed; and by which name it knows the server.

use rustls::pki_types::ServerName;
use tokio::sync::OnceCell;

use super::{ConnectFailure, Host, tls::ClientTls};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TlsSide {
    settings: OnceCell<ClientTls>,
}

impl TlsSide {
    pub(super) fn given(settings: ClientTls) -> Self {
        TlsSide {
            settings: OnceCell::new_with(Some(settings)),
        }
    }

    /// The settings, and the name that the server's certificate must be for.
    pub(super) async fn settings_for(
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
        let settings = self.settings.get_or_try_init(systems).await?;
        Ok((settings, name))
    }
}

/// The system's authorities are a hundred files or more, read once.
async fn systems() -> Result<ClientTls, ConnectFailure> {
    let reading = tokio::task::spawn_blocking(|| ClientTls::builder().build());
    // Only a runtime that is ending takes no more of such work.
    let read = reading
        .await
        .unwrap_or_else(|_| ClientTls::builder().build());
    read.map_err(|error| ConnectFailure::TlsSettings(Box::new(error)))
}
