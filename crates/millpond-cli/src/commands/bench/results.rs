//! What a benchmark has found. The JSON is the serialization of [`Results`], and every other form
//! (text, CSV, Markdown, HTML, SVG) is made from it alone.

use std::collections::BTreeMap;

use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Results {
    /// [`Results::VERSION`].
    pub(super) version: u32,
    pub(super) endpoint: String,
    pub(super) framing: &'static str,
    /// Requests that could be under way at once.
    pub(super) callers: u32,
    /// Connections that a pool could have.
    pub(super) max_connections: u32,
    /// A request's body, without its frame.
    pub(super) body_bytes: usize,
    /// Whether `--expect` says what each reply must be. If not, any reply counts as right unless it
    /// is an error.
    pub(super) expected: bool,
    /// The rate of an open loop, in requests a second. `None`: a closed loop, in which each caller
    /// sends when it has its reply.
    pub(super) rate: Option<f64>,
    /// Threads of this program that carry the callers.
    pub(super) threads: usize,
    /// It was stopped before its end.
    pub(super) interrupted: bool,
    /// In the order in which they were asked for.
    pub(super) modes: Vec<ModeResults>,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) warnings: Vec<Warning>,
}

impl Results {
    /// The version of the JSON: fields are added without a new one, renamed or removed only with
    /// one.
    pub(super) const VERSION: u32 = 1;
}

/// How a request gets its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// Each opens one, and closes it
    Short,
    /// From a pool, one exchange on it at a time
    Exclusive,
    /// From a pool, several in flight on it
    Pipelined,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Short => "short",
            Mode::Exclusive => "exclusive",
            Mode::Pipelined => "pipelined",
        }
    }
}

/// What one mode did, over all its rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ModeResults {
    pub(super) mode: Mode,
    /// How long its rounds took together.
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) replies_ok: u64,
    pub(super) errors: BTreeMap<ErrorKind, u64>,
    /// What the first error of each kind said.
    pub(super) error_examples: BTreeMap<ErrorKind, String>,
    /// Right replies by seconds, over all rounds.
    pub(super) throughput: f64,
    /// Of right replies. In an open loop from when the request was due, in a closed loop from when
    /// it was sent.
    pub(super) latency_us: Latency,
    /// In an open loop: from when the request was sent, which is all that a closed loop could see.
    pub(super) service_us: Option<Latency>,
    /// Latency by share of the replies, for plots: the share grows from 0 towards 1.
    pub(super) percentiles: Vec<Percentile>,
    /// A histogram of the latency: bars that grow by a constant factor, without gaps.
    pub(super) histogram: Vec<Bar>,
    /// Including those that the warm-up left open.
    pub(super) connections_opened: u64,
    /// User and system time of this process, per request sent.
    pub(super) client_cpu_us_per_request: Option<f64>,
    /// Sockets towards the server that it left in TIME_WAIT, those of its warm-up included. For
    /// short connections the largest number at the end of a round, since the kernel may take a port
    /// again within the minute. Null where the system doesn't tell.
    pub(super) time_wait: Option<u32>,
    /// It ended early, since the machine's ports were nearly used up.
    pub(super) ports_nearly_used_up: bool,
    pub(super) rounds: Vec<Round>,
    pub(super) timeline: Vec<Sample>,
}

/// One round of one mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Round {
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) replies_ok: u64,
    pub(super) throughput: f64,
}

/// Why a request brought no right reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorKind {
    /// No connection could be opened.
    Connect,
    /// No local port was left.
    PortsUsedUp,
    /// No descriptor was left.
    DescriptorsUsedUp,
    /// It took too long.
    TimedOut,
    /// The connection ended before the reply.
    Lost,
    /// The server answered with an error.
    ErrorReply,
    /// The reply was invalid, or not the expected one.
    Protocol,
    /// In an open loop: no caller was free to send it.
    NotSent,
    /// Any other.
    Other,
}

impl ErrorKind {
    /// Whether it happened before the server was involved.
    pub(super) fn is_before_the_server(self) -> bool {
        matches!(
            self,
            ErrorKind::Connect | ErrorKind::PortsUsedUp | ErrorKind::DescriptorsUsedUp
        )
    }

    /// In words that follow a number.
    pub(super) fn words(self) -> &'static str {
        match self {
            ErrorKind::Connect => "could not connect",
            ErrorKind::PortsUsedUp => "found no local port left",
            ErrorKind::DescriptorsUsedUp => "found no descriptor left",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::Lost => "lost their connection",
            ErrorKind::ErrorReply => "got an error for a reply",
            ErrorKind::Protocol => "got an unexpected reply",
            ErrorKind::NotSent => "were never sent",
            ErrorKind::Other => "failed otherwise",
        }
    }
}

/// In µs, to 1 ‰.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p99_9: u64,
    pub(super) max: u64,
}

/// This share of the replies took no longer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentile {
    /// 0 to 1.
    pub(super) share: f64,
    pub(super) us: u64,
}

/// So many replies took at least `from_us` and less than `to_us`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    pub(super) count: u64,
}

/// A sample of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Since the beginning of the benchmark, the other modes' rounds included.
    pub(super) at_seconds: f64,
    /// Connections that were open, or being opened.
    pub(super) connections: u64,
    /// All sockets of this machine in TIME_WAIT; null where the system doesn't tell.
    pub(super) time_wait: Option<u64>,
    /// Right replies a second since the sample before.
    pub(super) throughput: f64,
}

/// How much faster one mode is than another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// The faster one.
    pub(super) mode: Mode,
    pub(super) than: Mode,
    /// The mean of the ratios of the rounds.
    pub(super) ratio: f64,
    /// Their standard deviation; none with a single round.
    pub(super) deviation: Option<f64>,
}

/// What may be wrong with the figures, and what to try.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Warning {
    /// For programs: `few_samples`, `noisy`, …
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) advice: String,
}
