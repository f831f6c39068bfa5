//! The kernel's rules for using a port in TIME_WAIT again, and how many new connections a second
//! the ports last for under these rules.

use std::{net::IpAddr, time::Duration};

use super::{
    files::{self, Files, Reading, number},
    sockets::Uses,
};

/// How long a port stays in TIME_WAIT on Linux. It is compiled in (`TCP_TIMEWAIT_LEN`); no setting
/// changes it.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// How long a port must have been in TIME_WAIT before it may be taken again, where that is allowed:
/// the value of kernels before 6.14, which have no setting for it.
const DELAY_MS: u64 = 1_000;

/// Where connections lead, as far as the rules depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Loopback,
    Network,
}

impl Route {
    pub(super) fn to(address: IpAddr) -> Route {
        match address.to_canonical().is_loopback() {
            true => Route::Loopback,
            false => Route::Network,
        }
    }
}

/// Whether ports in TIME_WAIT may be taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// 0
    Never,
    /// 1
    Always,
    /// 2
    Loopback,
}

/// The settings.
#[derive(Clone, Debug)]
pub(super) struct Reuse {
    pub(super) allowed: Reading<Allowed>,
    /// Missing before Linux 6.14.
    delay_ms: Reading<u64>,
    timestamps: Reading<u64>,
}

impl Reuse {
    pub(super) fn read(files: &dyn Files) -> Reuse {
        Reuse {
            allowed: files::read(files, "/proc/sys/net/ipv4/tcp_tw_reuse", Allowed::parse),
            delay_ms: number(files, "/proc/sys/net/ipv4/tcp_tw_reuse_delay"),
            timestamps: number(files, "/proc/sys/net/ipv4/tcp_timestamps"),
        }
    }

    /// Without timestamps the kernel can't distinguish an old connection's packets from those of a
    /// new one, so it keeps the port.
    pub(super) fn has_timestamps(&self) -> bool {
        self.timestamps != Ok(0)
    }

    /// How long a port must have been in TIME_WAIT before it may be taken again.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(*self.delay_ms.as_ref().unwrap_or(&DELAY_MS))
    }

    /// How long a closed connection blocks its port for the next one to the same destination. If
    /// the settings can't be read, this is the longest possible time.
    pub(super) fn kept_for(&self, route: Route) -> Duration {
        let may_reuse = match self.allowed {
            Ok(Allowed::Always) => self.has_timestamps(),
            Ok(Allowed::Loopback) => self.has_timestamps() && route == Route::Loopback,
            Ok(Allowed::Never) | Err(_) => false,
        };
        match may_reuse {
            true => self.delay().min(TIME_WAIT),
            false => TIME_WAIT,
        }
    }

    /// How many new connections a second this many ports last for in the long run, if this side
    /// closes first; `None` without a limit.
    pub(super) fn lasting_rate(&self, ports: u32, route: Route) -> Option<f64> {
        let kept_for = self.kept_for(route);
        (!kept_for.is_zero()).then(|| f64::from(ports) / kept_for.as_secs_f64())
    }

    /// Of the ports in use, those that can't be taken again at once.
    pub(super) fn held(&self, uses: Uses, route: Route) -> u32 {
        match self.kept_for(route) < TIME_WAIT {
            true => uses.ports.saturating_sub(uses.time_wait),
            false => uses.ports,
        }
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Allowed> {
        match text.trim() {
            "0" => Some(Allowed::Never),
            "1" => Some(Allowed::Always),
            "2" => Some(Allowed::Loopback),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Fixture, *};

    #[test]
    fn a_port_is_kept_as_long_as_the_settings_say() {
        const LOOPBACK_1_S: [u64; 2] = [1_000, 60_000];
        for (allowed, timestamps, delay, kept) in [
            ("0", "1", "1000", [60_000, 60_000]),
            ("1", "1", "1000", [1_000, 1_000]),
            ("2", "1", "1000", LOOPBACK_1_S),
            ("2", "1", "", LOOPBACK_1_S),
            ("2", "1", "250", [250, 60_000]),
            ("1", "1", "90000", [60_000, 60_000]),
            ("1", "0", "1000", [60_000, 60_000]),
            ("x", "1", "1000", [60_000, 60_000]),
        ] {
            let files = Fixture::machine()
                .with("/proc/sys/net/ipv4/tcp_tw_reuse", allowed)
                .with("/proc/sys/net/ipv4/tcp_timestamps", timestamps)
                .with("/proc/sys/net/ipv4/tcp_tw_reuse_delay", delay);
            let reuse = Reuse::read(&files);
            let found = [Route::Loopback, Route::Network].map(|route| reuse.kept_for(route));
            assert_eq!(
                found,
                kept.map(Duration::from_millis),
                "{allowed} {timestamps} {delay}"
            );
        }
        let reuse = Reuse::read(&Fixture::machine().set("ipv4/tcp_tw_reuse_delay", "0"));
        assert_eq!(reuse.lasting_rate(600, Route::Network), Some(10.0));
        assert_eq!(reuse.lasting_rate(600, Route::Loopback), None);
    }

    #[test]
    fn loopback_is_known_in_every_form() {
        let route = |text: &str| Route::to(text.parse().expect("an address"));
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(route(address), Route::Loopback, "{address}");
        }
        assert_eq!(route("10.0.0.1"), Route::Network);
    }
}
