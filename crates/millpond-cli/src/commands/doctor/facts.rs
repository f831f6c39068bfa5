//! What the checks go by: everything that is read of the machine, gathered once, each with the reason if it isn't known. Gathering is the only part
//! of the checks that touches the machine; a test gathers from texts instead.

use std::{net::IpAddr, time::Duration};

use millpond::transport::system::{DescriptorLimits, SystemFiles};

use super::{
    cgroups::Groups,
    counters::Counters,
    files::{self, Files, Reading, number, numbers},
    ports::{PortRange, PortSet},
    sockets::{self, Sockets},
};
use crate::sockstat::SocketCounts;

/// How long a port stays in TIME_WAIT on Linux: compiled in (`TCP_TIMEWAIT_LEN`), no setting changes it.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// After how long in TIME_WAIT a port may be taken again where that is allowed at all: what kernels before 6.14 do, which have no setting for it.
const REUSE_DELAY_MS: u64 = 1_000;

/// What this process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// What is enforced; `u64::MAX` for none.
    pub(super) soft: u64,
    /// Up to which a process may raise the soft limit by itself.
    pub(super) hard: u64,
    /// The whole machine's: open, and the limit.
    pub(super) system: Option<(u64, u64)>,
}

impl From<DescriptorLimits> for Descriptors {
    fn from(limits: DescriptorLimits) -> Self {
        let DescriptorLimits {
            soft, hard, system, ..
        } = limits;
        Descriptors {
            soft,
            hard,
            system: system.map(|SystemFiles { open, limit, .. }| (open, limit)),
        }
    }
}

/// Where connections lead: what the kernel's rules for TIME_WAIT go by.
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
pub(super) enum Reuse {
    /// 0
    Never,
    /// 1
    Always,
    /// 2
    Loopback,
}

/// All of it. Times are in seconds unless the name says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) descriptors: Reading<Descriptors>,
    pub(super) port_range: Reading<PortRange>,
    pub(super) reserved_ports: Reading<PortSet>,
    pub(super) sockets: Reading<Sockets>,
    pub(super) socket_counts: Reading<SocketCounts>,
    pub(super) reuse: Reading<Reuse>,
    /// Missing before Linux 6.14.
    pub(super) reuse_delay_ms: Reading<u64>,
    pub(super) timestamps: Reading<u64>,
    pub(super) max_time_wait: Reading<u64>,
    /// Missing since Linux 4.12.
    pub(super) recycle: Reading<u64>,
    pub(super) fin_timeout: Reading<u64>,
    pub(super) syn_backlog: Reading<u64>,
    pub(super) syn_cookies: Reading<u64>,
    pub(super) accept_backlog: Reading<u64>,
    /// Since the network began.
    pub(super) events: Reading<Counters>,
    /// The same a moment later, if it was worth looking again.
    pub(super) events_later: Option<Counters>,
    /// Connections accepted since the network began.
    pub(super) accepted: Reading<Counters>,
    /// Pages: below which there is no pressure, where it begins, and the limit.
    pub(super) memory_pages: Reading<[u64; 3]>,
    pub(super) max_orphans: Reading<u64>,
    pub(super) keepalive_time: Reading<u64>,
    pub(super) keepalive_interval: Reading<u64>,
    pub(super) keepalive_probes: Reading<u64>,
    pub(super) tracked: Reading<u64>,
    pub(super) max_tracked: Reading<u64>,
    pub(super) groups: Groups,
}

impl Facts {
    /// Reads everything. The counters are read again after `pause` if any of those that are `watched` has ever counted.
    pub(super) fn gather(
        files: &dyn Files,
        descriptors: Reading<Descriptors>,
        watched: &[&str],
        pause: impl FnOnce(),
    ) -> Facts {
        let ipv4 = |name: &str| number(files, &format!("/proc/sys/net/ipv4/{name}"));
        let port_range = files::read(files, "/proc/sys/net/ipv4/ip_local_port_range", PortRange::parse);
        let reserved_ports = files::read(
            files,
            "/proc/sys/net/ipv4/ip_local_reserved_ports",
            PortSet::parse,
        );
        let is_given_away = |port: u16| {
            let in_range = port_range.as_ref().is_ok_and(|range| range.contains(port));
            in_range && !reserved_ports.as_ref().is_ok_and(|ports| ports.contains(port))
        };
        let sockets = sockets::read(files, is_given_away);
        let look = || files::read(files, "/proc/net/netstat", |text| Counters::parse("TcpExt", text));
        let events = look();
        let has_counted = |events: &Counters| watched.iter().any(|name| events.count(name) > 0);
        let events_later = events.as_ref().is_ok_and(has_counted).then(|| {
            pause();
            look().ok()
        });
        Facts {
            descriptors,
            port_range,
            reserved_ports,
            sockets,
            socket_counts: files::read(files, "/proc/net/sockstat", SocketCounts::parse),
            reuse: files::read(files, "/proc/sys/net/ipv4/tcp_tw_reuse", Reuse::parse),
            reuse_delay_ms: ipv4("tcp_tw_reuse_delay"),
            timestamps: ipv4("tcp_timestamps"),
            max_time_wait: ipv4("tcp_max_tw_buckets"),
            recycle: ipv4("tcp_tw_recycle"),
            fin_timeout: ipv4("tcp_fin_timeout"),
            syn_backlog: ipv4("tcp_max_syn_backlog"),
            syn_cookies: ipv4("tcp_syncookies"),
            accept_backlog: number(files, "/proc/sys/net/core/somaxconn"),
            events,
            events_later: events_later.flatten(),
            accepted: files::read(files, "/proc/net/snmp", |text| Counters::parse("Tcp", text)),
            memory_pages: files::read(files, "/proc/sys/net/ipv4/tcp_mem", numbers),
            max_orphans: ipv4("tcp_max_orphans"),
            keepalive_time: ipv4("tcp_keepalive_time"),
            keepalive_interval: ipv4("tcp_keepalive_intvl"),
            keepalive_probes: ipv4("tcp_keepalive_probes"),
            tracked: number(files, "/proc/sys/net/netfilter/nf_conntrack_count"),
            max_tracked: number(files, "/proc/sys/net/netfilter/nf_conntrack_max"),
            groups: Groups::read(files),
        }
    }

    /// How long a closed connection keeps its port from the next one to the same destination. Where the settings can't be read, the worst is
    /// assumed.
    pub(super) fn kept_for(&self, route: Route) -> Duration {
        // Without timestamps an old packet couldn't be told from a new one, and the kernel keeps the port.
        let has_timestamps = self.timestamps != Ok(0);
        let may_reuse = match self.reuse {
            Ok(Reuse::Always) => has_timestamps,
            Ok(Reuse::Loopback) => has_timestamps && route == Route::Loopback,
            Ok(Reuse::Never) | Err(_) => false,
        };
        match may_reuse {
            true => self.reuse_delay().min(TIME_WAIT),
            false => TIME_WAIT,
        }
    }

    /// From when on a port in TIME_WAIT may be taken again, where it may be.
    pub(super) fn reuse_delay(&self) -> Duration {
        Duration::from_millis(*self.reuse_delay_ms.as_ref().unwrap_or(&REUSE_DELAY_MS))
    }

    /// How many new connections a second so many ports last for in the long run, if this side closes first; `None` if without end.
    pub(super) fn lasting_rate(&self, ports: u32, route: Route) -> Option<f64> {
        let kept_for = self.kept_for(route);
        (!kept_for.is_zero()).then(|| f64::from(ports) / kept_for.as_secs_f64())
    }

    /// How many more of these events there were in the moment between two looks.
    pub(super) fn happened_meanwhile(&self, event: &str) -> u64 {
        match (&self.events, &self.events_later) {
            (Ok(before), Some(after)) => after.count(event).saturating_sub(before.count(event)),
            _ => 0,
        }
    }
}

impl Reuse {
    fn parse(text: &str) -> Option<Reuse> {
        match text.trim() {
            "0" => Some(Reuse::Never),
            "1" => Some(Reuse::Always),
            "2" => Some(Reuse::Loopback),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{super::fixture::Fixture, *};

    fn gathered(files: &Fixture) -> (Facts, bool) {
        let paused = Cell::new(false);
        let descriptors = Err(files::Unread::Missing { path: String::new() });
        let facts = Facts::gather(files, descriptors, &["ListenOverflows"], || paused.set(true));
        (facts, paused.get())
    }

    #[test]
    fn nobody_waits_where_nothing_that_is_watched_was_ever_counted() {
        let quiet = Fixture::machine();
        assert!(!gathered(&quiet).1);
        let netstat = "TcpExt: ListenOverflows\nTcpExt: 3\n";
        let (facts, paused) = gathered(&quiet.with("/proc/net/netstat", netstat));
        assert!(paused && facts.events_later.is_some());
        assert_eq!(facts.happened_meanwhile("ListenOverflows"), 0);
    }

    #[test]
    fn a_port_is_kept_as_long_as_the_settings_say() {
        const LOOPBACK_1_S: [u64; 2] = [1_000, 60_000];
        for (reuse, timestamps, delay, kept) in [
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
                .with("/proc/sys/net/ipv4/tcp_tw_reuse", reuse)
                .with("/proc/sys/net/ipv4/tcp_timestamps", timestamps)
                .with("/proc/sys/net/ipv4/tcp_tw_reuse_delay", delay);
            let (facts, _) = gathered(&files);
            let found = [Route::Loopback, Route::Network].map(|route| facts.kept_for(route));
            assert_eq!(
                found,
                kept.map(Duration::from_millis),
                "{reuse} {timestamps} {delay}"
            );
        }
        let (facts, _) = gathered(&Fixture::machine().set("ipv4/tcp_tw_reuse_delay", "0"));
        assert_eq!(facts.lasting_rate(600, Route::Network), Some(10.0));
        assert_eq!(facts.lasting_rate(600, Route::Loopback), None);
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
