//! Puts a failed dial's error into words: its cause, and the cure if a limit caused it. Pure: the
//! facts are gathered elsewhere.

use std::{io, net::SocketAddr};

use millpond_words::Thousands;
use nix::errno::Errno;

use super::{
    DescriptorLimits, Facts, NoSocket,
    ports::{Count, Share},
};

/// The cause of a failed dial, and its cure if a limit brought it about: a clause to put behind the
/// error. `None` if there is nothing to add.
///
/// Pure and quick. [`Facts::gather`] finds the facts.
pub fn explain(error: &io::Error, facts: &Facts) -> Option<String> {
    let unix = facts.destination.is_none();
    let phrase = match errno(error)? {
        Errno::EADDRNOTAVAIL => return Some(no_local_address(facts)),
        Errno::EMFILE => return Some(no_descriptor(facts)),
        Errno::ENFILE => return Some(no_file(facts)),
        Errno::ENOBUFS | Errno::ENOMEM => {
            "the kernel has no memory left for another socket; see the machine's free memory, and net.ipv4.tcp_mem"
        }
        Errno::ECONNREFUSED if facts.no_socket == Some(NoSocket::Folder) => {
            "this is a folder: give the path of a socket in it"
        }
        Errno::ECONNREFUSED if facts.no_socket == Some(NoSocket::File) => {
            "there is a file, and it is no socket"
        }
        Errno::ENOTDIR if unix => "a part of the path before its last is no folder",
        Errno::ECONNREFUSED if unix => "the socket file is there, but nobody listens on it",
        Errno::ECONNREFUSED => "nothing listens there",
        Errno::ENOENT if unix => "there is no such socket file; has the listener been started?",
        Errno::ETIMEDOUT => "no answer: the host is down, or a firewall drops the packets",
        Errno::EHOSTUNREACH => "no host answers at this address, or a firewall rejects the packets",
        Errno::ENETUNREACH => "this machine has no route to there",
        Errno::EACCES | Errno::EPERM if unix => {
            "a permission is missing: to write to the socket file, or to enter a folder above it"
        }
        Errno::EACCES | Errno::EPERM => "a firewall rule or a missing permission forbids it",
        Errno::EAGAIN if unix => "the listener's backlog is full",
        Errno::EADDRINUSE => "the local address to dial from is in use",
        _ => return None,
    };
    Some(phrase.to_owned())
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// From this share of used ports on, their lack is taken for the cause: some may have become free
/// since the dial.
const USED_UP: f64 = 0.9;

fn no_local_address(facts: &Facts) -> String {
    if let Some(source) = facts.foreign_source {
        return format!("{source}, to be dialled from, is not an address of this machine");
    }
    let Some(destination) = facts.destination else {
        return "there is no such local address".to_owned();
    };
    let Some(ports) = &facts.ports else {
        return format!(
            "no local port is free towards {destination}, or the local address is not one of this machine's \
             (the ports in use can't be read); share long connections instead of opening one per request"
        );
    };
    if f64::from(ports.in_use_towards) >= f64::from(ports.available()) * USED_UP {
        let cure = if ports.in_time_wait_towards > ports.in_use_towards / 2 {
            format!(
                "share long connections instead of opening one per request, or widen \
                 net.ipv4.ip_local_port_range{}",
                reuse_advice(destination, facts.time_wait_reuse)
            )
        } else {
            "most are live connections: use fewer, or more local addresses or destinations, or widen \
             net.ipv4.ip_local_port_range"
                .to_owned()
        };
        return format!(
            "no local port is free towards {destination}: {} are in use towards it, {} of them in TIME_WAIT; {cure}",
            Share(ports),
            Count(ports.in_time_wait_towards),
        );
    }
    let in_use = format!("{} are in use towards {destination}", Share(ports));
    if destination.ip().to_canonical().is_ipv6() {
        format!(
            "this machine has no local address to dial it from (is IPv6 switched off?): {in_use}"
        )
    } else {
        format!(
            "the local address to dial from is not one of this machine's, or sockets bound for other purposes have \
             the local ports: {in_use}"
        )
    }
}

/// Advice about `net.ipv4.tcp_tw_reuse`.
fn reuse_advice(destination: SocketAddr, now: Option<u8>) -> String {
    let effective = match now {
        Some(1) => true,
        Some(2) => destination.ip().to_canonical().is_loopback(),
        _ => false,
    };
    match now {
        Some(now) if effective => {
            format!(
                " (net.ipv4.tcp_tw_reuse is {now}: a port is given away again after a second in TIME_WAIT)"
            )
        }
        Some(0) => ", or set net.ipv4.tcp_tw_reuse=1 (now 0: never)".to_owned(),
        Some(2) => ", or set net.ipv4.tcp_tw_reuse=1 (now 2: loopback only)".to_owned(),
        Some(other) => format!(", or set net.ipv4.tcp_tw_reuse=1 (now {other})"),
        None => ", or set net.ipv4.tcp_tw_reuse=1".to_owned(),
    }
}

fn no_descriptor(facts: &Facts) -> String {
    let cure = "raise it with `ulimit -n`, LimitNOFILE= in its systemd unit, or --ulimit nofile= for its container";
    match facts.descriptors {
        Some(DescriptorLimits {
            soft, hard, open, ..
        }) => {
            let open = match open {
                // Some may have been closed since.
                Some(open) if open < soft => format!("{} are", Thousands(open)),
                _ => "all are".to_owned(),
            };
            format!(
                "this process may open {} files (soft limit; hard {}) and {open} in use: {cure}",
                Limit(soft),
                Limit(hard),
            )
        }
        None => format!("this process has as many files open as it may: {cure}"),
    }
}

fn no_file(facts: &Facts) -> String {
    let cure = "raise fs.file-max";
    match facts.descriptors.and_then(|limits| limits.system) {
        Some(system) => format!(
            "the whole machine may open {} files and {} are in use: {cure}",
            Limit(system.limit),
            Thousands(system.open),
        ),
        None => format!("the whole machine has as many files open as it may: {cure}"),
    }
}

/// A limit on the number of files.
struct Limit(u64);

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("no limit"),
            limit => Thousands(limit).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortUse, SystemFiles};

    const SHARE: &str = "share long connections instead of opening one per request";
    const RAISE: &str = "raise it with `ulimit -n`, LimitNOFILE= in its systemd unit, or --ulimit nofile= for its container";

    fn said(errno: Errno, facts: &Facts) -> Option<String> {
        explain(&io::Error::from(errno), facts)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn towards(destination: &str, in_use: u32, time_wait: u32) -> Facts {
        let destination = address(destination);
        Facts {
            ports: Some(PortUse {
                destination,
                source: None,
                first: 32_768,
                last: 60_999,
                reserved: 0,
                in_use_towards: in_use,
                in_time_wait_towards: time_wait,
            }),
            time_wait_reuse: Some(2),
            ..Facts::of(Some(destination))
        }
    }

    #[test]
    fn ports_in_time_wait_are_told_with_their_cure() {
        let begin = "no local port is free towards 10.0.0.1:80: 28,231 of the 28,232 ports 32768-60999 are in use towards \
                     it, 28,100 of them in TIME_WAIT; ";
        let widen = "or widen net.ipv4.ip_local_port_range";
        let mut facts = towards("10.0.0.1:80", 28_231, 28_100);
        for (reuse, advice) in [
            (
                Some(2),
                ", or set net.ipv4.tcp_tw_reuse=1 (now 2: loopback only)",
            ),
            (Some(0), ", or set net.ipv4.tcp_tw_reuse=1 (now 0: never)"),
            (
                Some(1),
                " (net.ipv4.tcp_tw_reuse is 1: a port is given away again after a second in TIME_WAIT)",
            ),
            (Some(7), ", or set net.ipv4.tcp_tw_reuse=1 (now 7)"),
            (None, ", or set net.ipv4.tcp_tw_reuse=1"),
        ] {
            facts.time_wait_reuse = reuse;
            assert_eq!(
                said(Errno::EADDRNOTAVAIL, &facts),
                Some(format!("{begin}{SHARE}, {widen}{advice}"))
            );
        }
        assert_eq!(
            said(
                Errno::EADDRNOTAVAIL,
                &towards("127.0.0.1:80", 28_232, 28_232)
            ),
            Some(format!(
                "no local port is free towards 127.0.0.1:80: 28,232 of the 28,232 ports 32768-60999 are in use towards \
                 it, 28,232 of them in TIME_WAIT; {SHARE}, {widen} (net.ipv4.tcp_tw_reuse is 2: a port is given \
                 away again after a second in TIME_WAIT)"
            ))
        );
    }

    #[test]
    fn ports_of_live_connections_are_told_with_another_cure() {
        assert_eq!(
            said(Errno::EADDRNOTAVAIL, &towards("10.0.0.1:80", 28_232, 12)).as_deref(),
            Some(
                "no local port is free towards 10.0.0.1:80: 28,232 of the 28,232 ports 32768-60999 are in use towards \
                 it, 12 of them in TIME_WAIT; most are live connections: use fewer, or more local addresses or \
                 destinations, or widen net.ipv4.ip_local_port_range"
            )
        );
    }

    #[test]
    fn with_ports_free_the_local_address_is_at_fault() {
        assert_eq!(
            said(Errno::EADDRNOTAVAIL, &towards("10.0.0.1:80", 1_200, 0)).as_deref(),
            Some(
                "the local address to dial from is not one of this machine's, or sockets bound for other purposes have the \
                 local ports: 1,200 of the 28,232 ports 32768-60999 are in use towards 10.0.0.1:80"
            )
        );
        assert_eq!(
            said(Errno::EADDRNOTAVAIL, &towards("[::1]:80", 0, 0)).as_deref(),
            Some(
                "this machine has no local address to dial it from (is IPv6 switched off?): none of the 28,232 ports \
                 32768-60999 are in use towards [::1]:80"
            )
        );
        let foreign = Facts {
            foreign_source: Some("192.0.2.1".parse().expect("an address")),
            ..towards("10.0.0.1:80", 28_232, 28_232)
        };
        assert_eq!(
            said(Errno::EADDRNOTAVAIL, &foreign).as_deref(),
            Some("192.0.2.1, to be dialled from, is not an address of this machine")
        );
    }

    #[test]
    fn nothing_is_claimed_of_ports_that_cannot_be_read() {
        assert_eq!(
            said(
                Errno::EADDRNOTAVAIL,
                &Facts::of(Some(address("10.0.0.1:80")))
            ),
            Some(format!(
                "no local port is free towards 10.0.0.1:80, or the local address is not one of this machine's (the ports \
                 in use can't be read); {SHARE}"
            ))
        );
        assert_eq!(
            said(Errno::EADDRNOTAVAIL, &Facts::default()).as_deref(),
            Some("there is no such local address")
        );
    }

    #[test]
    fn a_limit_of_files_is_told_with_its_numbers() {
        let limits = |open, hard| Facts {
            descriptors: Some(DescriptorLimits {
                soft: 1_024,
                hard,
                open,
                system: Some(SystemFiles {
                    open: 2_466_170,
                    limit: 2_466_170,
                }),
            }),
            ..Facts::default()
        };
        let all = format!(
            "this process may open 1,024 files (soft limit; hard 524,288) and all are in use: {RAISE}"
        );
        assert_eq!(
            said(Errno::EMFILE, &limits(None, 524_288)),
            Some(all.clone())
        );
        assert_eq!(
            said(Errno::EMFILE, &limits(Some(1_024), 524_288)),
            Some(all)
        );
        assert_eq!(
            said(Errno::EMFILE, &limits(Some(1_020), u64::MAX)),
            Some(format!(
                "this process may open 1,024 files (soft limit; hard no limit) and 1,020 are in use: {RAISE}"
            ))
        );
        assert_eq!(
            said(Errno::EMFILE, &Facts::default()),
            Some(format!(
                "this process has as many files open as it may: {RAISE}"
            ))
        );
        assert_eq!(
            said(Errno::ENFILE, &limits(None, 524_288)).as_deref(),
            Some(
                "the whole machine may open 2,466,170 files and 2,466,170 are in use: raise fs.file-max"
            )
        );
        assert_eq!(
            said(Errno::ENFILE, &Facts::default()).as_deref(),
            Some("the whole machine has as many files open as it may: raise fs.file-max")
        );
    }

    #[test]
    fn every_other_error_has_its_phrase() {
        let tcp = Facts::of(Some(address("10.0.0.1:80")));
        let unix = Facts::of(None);
        let at = |no_socket| Facts {
            no_socket: Some(no_socket),
            ..Facts::of(None)
        };
        let memory = "the kernel has no memory left for another socket; see the machine's free memory, and net.ipv4.tcp_mem";
        for (errno, facts, phrase) in [
            (Errno::ENOBUFS, &tcp, Some(memory)),
            (Errno::ENOMEM, &unix, Some(memory)),
            (Errno::ECONNREFUSED, &tcp, Some("nothing listens there")),
            (
                Errno::ECONNREFUSED,
                &unix,
                Some("the socket file is there, but nobody listens on it"),
            ),
            (
                Errno::ECONNREFUSED,
                &at(NoSocket::Folder),
                Some("this is a folder: give the path of a socket in it"),
            ),
            (
                Errno::ECONNREFUSED,
                &at(NoSocket::File),
                Some("there is a file, and it is no socket"),
            ),
            (
                Errno::ENOTDIR,
                &unix,
                Some("a part of the path before its last is no folder"),
            ),
            (
                Errno::ENOENT,
                &unix,
                Some("there is no such socket file; has the listener been started?"),
            ),
            (Errno::ENOENT, &tcp, None),
            (
                Errno::ETIMEDOUT,
                &tcp,
                Some("no answer: the host is down, or a firewall drops the packets"),
            ),
            (
                Errno::EHOSTUNREACH,
                &tcp,
                Some("no host answers at this address, or a firewall rejects the packets"),
            ),
            (
                Errno::ENETUNREACH,
                &tcp,
                Some("this machine has no route to there"),
            ),
            (
                Errno::EACCES,
                &tcp,
                Some("a firewall rule or a missing permission forbids it"),
            ),
            (
                Errno::EPERM,
                &tcp,
                Some("a firewall rule or a missing permission forbids it"),
            ),
            (
                Errno::EACCES,
                &unix,
                Some(
                    "a permission is missing: to write to the socket file, or to enter a folder above it",
                ),
            ),
            (Errno::EAGAIN, &unix, Some("the listener's backlog is full")),
            (Errno::EAGAIN, &tcp, None),
            (
                Errno::EADDRINUSE,
                &tcp,
                Some("the local address to dial from is in use"),
            ),
            (Errno::EPIPE, &tcp, None),
        ] {
            assert_eq!(said(errno, facts).as_deref(), phrase, "{errno}");
        }
        assert_eq!(explain(&io::Error::other("no number"), &tcp), None);
    }
}
