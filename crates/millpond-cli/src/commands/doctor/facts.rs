//! The facts that the checks judge: everything that is read of the machine, read once, or the
//! reason why it isn't known. Only gathering reads the machine; tests gather from texts instead.

use millpond::kernel::{DescriptorLimits, SystemFiles};

use super::{
    cgroups::Groups,
    counters::Counters,
    files::{self, Files, Reading, Unread, number, numbers},
    ports::{PortRange, PortSet},
    reuse::Reuse,
    sockets::Sockets,
};
use crate::sockstat::SocketCounts;

/// What this process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// The soft limit; `u64::MAX` for none.
    pub(super) soft: u64,
    /// The hard limit, up to which a process may raise its soft limit.
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

/// All of it. Times are in seconds unless the name says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) descriptors: Reading<Descriptors>,
    pub(super) port_range: Reading<PortRange>,
    pub(super) reserved_ports: Reading<PortSet>,
    pub(super) sockets: Reading<Sockets>,
    pub(super) socket_counts: Reading<SocketCounts>,
    pub(super) reuse: Reuse,
    pub(super) max_time_wait: Reading<u64>,
    /// Missing since Linux 4.12.
    pub(super) recycle: Reading<u64>,
    pub(super) fin_timeout: Reading<u64>,
    pub(super) syn_backlog: Reading<u64>,
    pub(super) syn_cookies: Reading<u64>,
    pub(super) accept_backlog: Reading<u64>,
    /// Since the network namespace began.
    pub(super) events: Reading<Counters>,
    /// The same a moment later, if a check watches one of them.
    pub(super) events_later: Option<Counters>,
    /// Connections accepted since the network namespace began.
    pub(super) accepted: Reading<Counters>,
    /// In pages: no pressure below the first, pressure from the second, the limit.
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
    /// Reads everything. The counters are read again after `pause` if any of those that are
    /// `watched` has ever counted.
    pub(super) fn gather(
        files: &dyn Files,
        descriptors: Reading<Descriptors>,
        watched: &[&str],
        pause: impl FnOnce(),
    ) -> Facts {
        let ipv4 = |name: &str| number(files, &format!("/proc/sys/net/ipv4/{name}"));
        let port_range = files::read(
            files,
            "/proc/sys/net/ipv4/ip_local_port_range",
            PortRange::parse,
        );
        let reserved_ports = files::read(
            files,
            "/proc/sys/net/ipv4/ip_local_reserved_ports",
            PortSet::parse,
        );
        let is_given_away = |port: u16| {
            let in_range = port_range.as_ref().is_ok_and(|range| range.contains(port));
            in_range
                && !reserved_ports
                    .as_ref()
                    .is_ok_and(|ports| ports.contains(port))
        };
        let sockets = match files.sockets() {
            Ok(listed) => Ok(Sockets::count(&listed, is_given_away)),
            Err(error) => Err(Unread::of("the table of TCP sockets", &error)),
        };
        let look = || {
            files::read(files, "/proc/net/netstat", |text| {
                Counters::parse("TcpExt", text)
            })
        };
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
            reuse: Reuse::read(files),
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

    /// How many more of these events there were in the moment between two looks.
    pub(super) fn happened_meanwhile(&self, event: &str) -> u64 {
        match (&self.events, &self.events_later) {
            (Ok(before), Some(after)) => after.count(event).saturating_sub(before.count(event)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{super::fixture::Fixture, *};

    fn gathered(files: &Fixture) -> (Facts, bool) {
        let paused = Cell::new(false);
        let descriptors = Err(Unread::Missing {
            path: String::new(),
        });
        let facts = Facts::gather(files, descriptors, &["ListenOverflows"], || {
            paused.set(true)
        });
        (facts, paused.get())
    }

    #[test]
    fn the_second_look_is_left_out_if_no_watched_event_was_ever_counted() {
        let quiet = Fixture::machine();
        assert!(!gathered(&quiet).1);
        let netstat = "TcpExt: ListenOverflows\nTcpExt: 3\n";
        let (facts, paused) = gathered(&quiet.with("/proc/net/netstat", netstat));
        assert!(paused && facts.events_later.is_some());
        assert_eq!(facts.happened_meanwhile("ListenOverflows"), 0);
    }
}
