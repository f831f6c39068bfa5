//! How to listen: the settings that are values, and those of TLS.

#[cfg(feature = "tls")]
use super::tls::ServerTls;
use super::{ListenSettings, TcpOptions};

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub(super) tcp: TcpOptions,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ServerTls>,
    pub(super) unix_mode: u32,
}

impl ListenOptions {
    /// All settings that are values, in place of those that were set before.
    pub fn settings(mut self, settings: ListenSettings) -> Self {
        self.tcp = settings.tcp;
        self.unix_mode = settings.unix_mode;
        self
    }

    /// How accepted TCP sockets are set up; `bind` has no meaning here.
    pub fn tcp_options(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// How TLS endpoints authenticate themselves and their clients. They need it.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The permissions of a Unix socket's file. Default 0600: only this user connects.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = mode;
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        let ListenSettings { tcp, unix_mode } = ListenSettings::default();
        ListenOptions {
            tcp,
            #[cfg(feature = "tls")]
            tls: None,
            unix_mode,
        }
    }
}
