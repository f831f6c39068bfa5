//! Warnings about the figures, and what to try. Pure.

use super::{
    results::{ErrorKind, Mode, ModeResults, Warning},
    statistics::median,
};
use crate::numbers::{counted, thousands};

/// Fewer replies say little about p99.9, which one reply in a thousand decides.
const SAMPLES: u64 = 10_000;

/// Rounds are noisy if they differ by more than this share of their median.
const NOISE: f64 = 0.15;

/// Fewer rounds say nothing about noise.
const ROUNDS: usize = 3;

/// Of the callers' processor time, in percent: from the first on this program is the bottleneck,
/// and up to the second it is not.
const BUSY: f64 = 90.0;
const HARDLY_BUSY: f64 = 60.0;

/// The rate is missed if the throughput is below it by more than this share.
const RATE_MISSED: f64 = 0.01;

/// The conditions of the measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) threads: usize,
    pub(super) cores: usize,
    pub(super) callers: u32,
    pub(super) rate: Option<f64>,
    pub(super) exhaust: bool,
}

pub(super) fn warnings(modes: &[ModeResults], conditions: &Conditions) -> Vec<Warning> {
    let of_each = modes.iter().flat_map(|mode| {
        [
            ports_used_up(mode, conditions),
            few_samples(mode),
            noisy(mode),
            rate_missed(mode, conditions),
            failures(mode),
            bottleneck(mode, conditions),
        ]
    });
    of_each.flatten().collect()
}

fn warning(code: &'static str, mode: &ModeResults, text: &str, advice: &str) -> Option<Warning> {
    Some(Warning {
        code,
        text: format!("{}: {text}.", mode.mode.name()),
        advice: format!("{advice}."),
    })
}

fn ports_used_up(mode: &ModeResults, conditions: &Conditions) -> Option<Warning> {
    if mode.errors.contains_key(&ErrorKind::PortsUsedUp) {
        return warning(
            "ports_used_up",
            mode,
            "no local port was left: each closed connection keeps its port for a minute (TIME_WAIT)",
            match conditions.exhaust {
                true => {
                    "That is what --exhaust is for; `millpond doctor` says how many connections a second this machine allows"
                }
                false => {
                    "Another program uses this machine's ports as well: `millpond doctor` shows which"
                }
            },
        );
    }
    if !mode.ports_nearly_used_up {
        return None;
    }
    warning(
        "ports_nearly_used_up",
        mode,
        "stopped early, with four fifths of this machine's ports towards the server in use; its throughput is that of a \
         burst, which can't last",
        "Wait a minute, or send fewer: --requests, or a --rate that the ports can keep up with (`millpond doctor` tells it); \
         --exhaust goes on until there is none left",
    )
}

fn few_samples(mode: &ModeResults) -> Option<Warning> {
    if mode.replies_ok >= SAMPLES || mode.replies_ok == 0 {
        return None;
    }
    let replies = counted(mode.replies_ok, "reply is", "replies are");
    warning(
        "few_samples",
        mode,
        &format!("{replies} too few for a p99.9, which takes 10,000"),
        "Measure for longer, or send more: --seconds, --requests",
    )
}

fn noisy(mode: &ModeResults) -> Option<Warning> {
    let rates = || mode.rounds.iter().map(|round| round.throughput);
    let middle = median(rates());
    if mode.rounds.len() < ROUNDS || middle == 0.0 || mode.ports_nearly_used_up {
        return None;
    }
    let spread = (rates().fold(0.0, f64::max) - rates().fold(f64::INFINITY, f64::min)) / middle;
    if spread <= NOISE {
        return None;
    }
    warning(
        "noisy",
        mode,
        &format!(
            "the rounds differ by {:.0} % of their median",
            spread * 100.0
        ),
        "Close other programs, measure for longer or in more rounds: --seconds or --requests, --rounds",
    )
}

fn rate_missed(mode: &ModeResults, conditions: &Conditions) -> Option<Warning> {
    let rate = conditions.rate?;
    if mode.throughput >= rate * (1.0 - RATE_MISSED) || mode.ports_nearly_used_up {
        return None;
    }
    warning(
        "rate_missed",
        mode,
        &format!(
            "{:.1} right replies a second instead of the {rate} that were asked for",
            mode.throughput
        ),
        "The latencies are those of a queue that grows: lower --rate, or give it more --callers and --connections",
    )
}

/// Latencies are those of right replies: the slowest requests may be missing.
fn failures(mode: &ModeResults) -> Option<Warning> {
    let failed: u64 = mode.errors.values().sum();
    if failed == 0 {
        return None;
    }
    let share = failed as f64 / mode.requests as f64 * 100.0;
    warning(
        "failures",
        mode,
        &format!(
            "{} of {} requests failed ({share:.1} %), and no latency tells of them",
            thousands(failed),
            thousands(mode.requests)
        ),
        "Look at the errors first: what is left may be the easier part",
    )
}

/// Whether this program or the server is the bottleneck, in a closed loop.
fn bottleneck(mode: &ModeResults, conditions: &Conditions) -> Option<Warning> {
    let per_request = mode.client_cpu_us_per_request?;
    if conditions.rate.is_some() || mode.seconds == 0.0 || !mode.errors.is_empty() {
        return None;
    }
    let used = per_request * mode.requests as f64 / 1e6;
    let processors = conditions.threads.min(conditions.cores).max(1);
    let percent = used / (mode.seconds * processors as f64) * 100.0;
    let said = format!(
        "this program has used {percent:.0} % of {}",
        counted(processors as u64, "processor", "processors")
    );
    if percent >= BUSY {
        return warning(
            "client_bound",
            mode,
            &format!("{said}: it may be what limits"),
            "More --threads, if the machine has cores that the server doesn't need, or run it on another machine",
        );
    }
    // A single caller always waits, and short connections wait for the kernel.
    if percent <= HARDLY_BUSY
        && mode.mode != Mode::Short
        && conditions.callers > 1
        && mode.replies_ok > 0
    {
        return warning(
            "server_bound",
            mode,
            &format!("{said}: the server, the way to it, or other programs set the pace"),
            match mode.mode {
                Mode::Pipelined => {
                    "Look at the server's processors; if it has several, fewer requests on more connections may reach more of \
                     them, and more --callers fill more connections (128 requests on each)"
                }
                _ => {
                    "Look at the server's processors; if it has several, more --connections may reach more of them"
                }
            },
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{
        super::{results::Round, run::Measured},
        *,
    };

    const BACKGROUND: Conditions = Conditions {
        threads: 4,
        cores: 1,
        callers: 64,
        rate: None,
        exhaust: false,
    };

    /// A mode about which there is nothing to warn.
    fn calm(mode: Mode) -> ModeResults {
        let mut calm = super::super::conclude::results_of(Measured::empty(mode), None);
        calm.requests = 100_000;
        calm.replies_ok = 100_000;
        calm.seconds = 3.0;
        calm.throughput = 33_333.3;
        calm.client_cpu_us_per_request = Some(22.5);
        let round = Round {
            seconds: 1.0,
            requests: 33_333,
            replies_ok: 33_333,
            throughput: 33_333.3,
        };
        calm.rounds = vec![round; 3];
        calm
    }

    fn codes(mode: ModeResults, conditions: Conditions) -> Vec<&'static str> {
        let all = warnings(&[mode], &conditions);
        assert!(all.iter().all(|warning| !warning.advice.is_empty()));
        all.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn calm_figures_need_no_warning() {
        assert_eq!(codes(calm(Mode::Exclusive), BACKGROUND), [""; 0]);
    }

    #[test]
    fn each_doubt_has_its_warning() {
        let with = |change: fn(&mut ModeResults)| {
            let mut mode = calm(Mode::Exclusive);
            change(&mut mode);
            codes(mode, BACKGROUND)
        };
        assert_eq!(with(|mode| mode.replies_ok = 9_999), ["few_samples"]);
        assert_eq!(with(|mode| mode.rounds[1].throughput = 28_000.0), ["noisy"]);
        assert_eq!(
            with(|mode| mode.ports_nearly_used_up = true),
            ["ports_nearly_used_up"]
        );
        assert_eq!(
            with(|mode| {
                mode.errors.insert(ErrorKind::PortsUsedUp, 1);
            }),
            ["ports_used_up", "failures"]
        );
        assert_eq!(
            with(|mode| mode.client_cpu_us_per_request = Some(28.0)),
            ["client_bound"]
        );
        assert_eq!(
            with(|mode| mode.client_cpu_us_per_request = Some(15.0)),
            ["server_bound"]
        );
    }

    #[test]
    fn a_rate_that_was_missed_is_told_and_one_that_was_kept_is_not() {
        let paced = |rate| Conditions {
            rate: Some(rate),
            ..BACKGROUND
        };
        assert_eq!(codes(calm(Mode::Exclusive), paced(33_500.0)), [""; 0]);
        assert_eq!(
            codes(calm(Mode::Exclusive), paced(40_000.0)),
            ["rate_missed"]
        );
    }

    #[test]
    fn nobody_says_that_the_server_is_slow_because_a_single_caller_waits() {
        let mut mode = calm(Mode::Exclusive);
        mode.client_cpu_us_per_request = Some(5.0);
        let alone = Conditions {
            callers: 1,
            ..BACKGROUND
        };
        assert_eq!(codes(mode, alone), [""; 0]);
    }
}
