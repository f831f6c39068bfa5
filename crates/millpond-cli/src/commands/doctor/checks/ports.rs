//! The local ports for outgoing connections, and how many new connections to one destination they
//! last for.

use super::check::{Check, Systems};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
        ports,
        reuse::{Route, TIME_WAIT},
        sockets::{Uses, Way},
    },
    numbers::rounded,
};

/// This many ports or fewer are a warning. They last for some 160 new connections a second. The
/// kernel's default is 28,232 ports, so an administrator must have set this.
const FEW: u32 = 10_000;

pub(super) const EPHEMERAL_PORTS: Check = Check {
    name: "ephemeral-ports",
    about: "local ports for outgoing connections, and the rate that they last for",
    why: "Each connection to the same address and port needs a local port of its own, which the side that closes first keeps for 60 s more \
          (TIME_WAIT; compiled into the kernel, no setting shortens it). A client that opens connections faster than their ports come back \
          uses the range up, and then connecting fails (EADDRNOTAVAIL). Another destination can use the same ports. Over loopback the kernel \
          may use ports again sooner, so a benchmark there doesn't show what a network does.",
    systems: Systems::Linux,
    watches: &[],
    examine,
};

/// The destination with the most ports in use.
struct Busiest {
    way: Way,
    uses: Uses,
    /// The ports of `uses` that can't be taken again at once.
    held: u32,
}

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let range = facts.port_range.clone()?;
    let reserved = match &facts.reserved_ports {
        Ok(ports) => ports.count_in(range),
        // An old kernel, or a container's: no ports are reserved.
        Err(unread) if unread.is_missing() => 0,
        Err(unread) => return Err(unread.clone()),
    };
    let available = range.length().saturating_sub(reserved);
    let limit = facts.reuse.lasting_rate(available, Route::Network);
    let loopback_limit = facts.reuse.lasting_rate(available, Route::Loopback);
    let busiest = busiest(facts);
    let few = match available {
        0 => Mark::Bad,
        1..=FEW => Mark::Warning,
        _ => Mark::Good,
    };
    let mut found = format!(
        "{} for each destination. In the long run they last for {} new connections a second to another machine, {} over loopback.",
        ports::described(range, reserved),
        ports::rate(limit),
        ports::rate(loopback_limit),
    );
    found += &match (&facts.sockets, &busiest) {
        (Err(unread), _) => format!(" How many are in use is not known: {unread}."),
        (Ok(_), None) => String::from(" None is in use."),
        (Ok(_), Some(Busiest { way, uses, held })) => {
            let uncounted = match is_most(facts, *uses) {
                true => "",
                false => {
                    " This comparison leaves out ports in TIME_WAIT that can be used again at once."
                }
            };
            format!(
                " Most are in use towards {}: {}.{uncounted}",
                way.to,
                ports::in_use(*uses, *held)
            )
        }
    };
    let mark = few.max(ports::mark(
        busiest.as_ref().map_or(0, |busiest| busiest.held),
        available,
    ));
    let finding = check
        .finding(mark, found)
        .figure("first", range.first)
        .figure("last", range.last)
        .figure("reserved", reserved)
        .figure("available", available)
        .figure("time_wait_seconds", TIME_WAIT.as_secs())
        .figure("limit_per_second", limit.map(|limit| rounded(limit, 2)))
        .figure(
            "limit_per_second_loopback",
            loopback_limit.map(|limit| rounded(limit, 2)),
        );
    let finding = with_busiest(finding, busiest.as_ref());
    Ok(match mark {
        Mark::Good => finding,
        _ => finding.advice(ports::ADVICE),
    })
}

/// The destination with the most ports that can't be taken again at once. Between equals, the one
/// with the most ports in use.
fn busiest(facts: &Facts) -> Option<Busiest> {
    let ways = &facts.sockets.as_ref().ok()?.outgoing;
    let measured = ways.iter().map(|(&way, &uses)| Busiest {
        way,
        uses,
        held: facts.reuse.held(uses, Route::to(way.to.ip())),
    });
    // The way last, so that the choice is always the same.
    measured.max_by_key(|busiest| (busiest.held, busiest.uses.ports, busiest.way))
}

/// Whether no destination has more ports in use.
fn is_most(facts: &Facts, uses: Uses) -> bool {
    let mut all = facts
        .sockets
        .iter()
        .flat_map(|sockets| sockets.outgoing.values());
    all.all(|other| other.ports <= uses.ports)
}

fn with_busiest(finding: Finding, busiest: Option<&Busiest>) -> Finding {
    finding
        .figure(
            "busiest_destination",
            busiest.map(|busiest| busiest.way.to.to_string()),
        )
        .figure(
            "busiest_source",
            busiest.map(|busiest| busiest.way.from.to_string()),
        )
        .figure("busiest_in_use", busiest.map(|busiest| busiest.uses.ports))
        .figure(
            "busiest_in_time_wait",
            busiest.map(|busiest| busiest.uses.time_wait),
        )
}

#[cfg(test)]
mod tests {
    use millpond::kernel::TcpState;
    use serde_json::Value;

    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    const ESTABLISHED: TcpState = TcpState::Established;
    const IN_TIME_WAIT: TcpState = TcpState::TimeWait;

    fn checked(files: &Fixture) -> Finding {
        found("ephemeral-ports", files)
    }

    #[test]
    fn the_default_range_is_fine_and_its_rates_are_shown() {
        let finding = checked(&Fixture::machine());
        assert_eq!(finding.mark, Mark::Good);
        assert_eq!(
            finding.found,
            "28,232 local ports (32768-60999) for each destination. In the long run they last for 470 new connections a second to another \
             machine, 28,232 over loopback. None is in use."
        );
        assert_eq!(finding.figures["limit_per_second"], 470.53);
        assert_eq!(finding.figures["available"], 28_232);
        assert_eq!(finding.figures["busiest_destination"], Value::Null);
    }

    #[test]
    fn two_hundred_ports_last_for_three_connections_a_second() {
        let files = Fixture::machine()
            .set("ipv4/ip_local_port_range", "40000 40199")
            .set("ipv4/tcp_tw_reuse", "0");
        let finding = checked(&files);
        assert_eq!(finding.mark, Mark::Warning);
        assert_eq!(finding.figures["limit_per_second"], 3.33);
        assert_eq!(finding.figures["limit_per_second_loopback"], 3.33);
        assert!(
            finding.found.contains("for 3.3 new connections a second"),
            "{finding:?}"
        );
        // Reserved ones are none that are given away.
        let finding = checked(
            &files
                .clone()
                .set("ipv4/ip_local_reserved_ports", "1,40000-40099"),
        );
        assert_eq!(
            (
                &finding.figures["available"],
                &finding.figures["limit_per_second"]
            ),
            (&100.into(), &1.67.into())
        );
        let finding = checked(
            &files
                .clone()
                .set("ipv4/ip_local_reserved_ports", "40000-40199"),
        );
        assert_eq!(finding.mark, Mark::Bad);
        let finding = checked(&files.set("ipv4/tcp_tw_reuse", "1"));
        assert_eq!(finding.figures["limit_per_second"], 200.0);
    }

    #[test]
    fn ports_in_use_towards_one_destination_are_reported_before_they_run_out() {
        for (counts, mark) in [
            ([(ESTABLISHED, 10), (IN_TIME_WAIT, 14_000)], Mark::Good),
            ([(ESTABLISHED, 200), (IN_TIME_WAIT, 14_000)], Mark::Warning),
            ([(ESTABLISHED, 10_000), (IN_TIME_WAIT, 14_000)], Mark::Bad),
        ] {
            let finding =
                checked(&Fixture::machine().with_sockets(Route::Network, 32_768, &counts));
            assert_eq!(finding.mark, mark, "{finding:?}");
            assert_eq!(finding.figures["busiest_destination"], "10.0.0.1:80");
            assert_eq!(finding.figures["busiest_in_time_wait"], 14_000);
        }
    }

    #[test]
    fn over_loopback_ports_in_time_wait_are_given_away_again() {
        let counts = [(ESTABLISHED, 10), (IN_TIME_WAIT, 27_000)];
        let files = Fixture::machine().with_sockets(Route::Loopback, 32_768, &counts);
        assert_eq!(checked(&files).mark, Mark::Good);
        assert_eq!(
            checked(&files.set("ipv4/tcp_tw_reuse", "0")).mark,
            Mark::Bad
        );
    }

    #[test]
    fn what_is_left_out_is_said_where_another_destination_has_more() {
        let taken = [(IN_TIME_WAIT, 500)];
        let files = Fixture::machine().with_sockets(Route::Loopback, 32_768, &taken);
        let said = "leaves out ports in TIME_WAIT that can be used again at once";
        assert!(
            !checked(&files).found.contains(said),
            "{:?}",
            checked(&files)
        );
        let finding = checked(&files.with_sockets(Route::Network, 40_000, &[(ESTABLISHED, 1)]));
        assert!(
            finding
                .found
                .contains("towards 10.0.0.1:80: 1, none of them"),
            "{finding:?}"
        );
        assert!(finding.found.contains(said), "{finding:?}");
    }

    #[test]
    fn without_the_sockets_the_rest_is_still_known() {
        let finding = checked(&Fixture::machine().without_sockets());
        assert_eq!(finding.mark, Mark::Good);
        assert!(
            finding
                .found
                .ends_with("the table of TCP sockets may not be read by this user."),
            "{finding:?}"
        );
    }
}
