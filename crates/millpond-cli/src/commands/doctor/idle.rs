//! The idle test: how long a destination keeps a connection on which nothing is sent. The test
//! sends nothing itself, so it sees only an end that the peer or the kernel reports.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use millpond::{
    Chain,
    net::{Endpoint, Keepalive, Stream},
};
use tokio::{
    io::AsyncReadExt,
    select,
    time::{Instant, interval_at, sleep_until},
};

use super::{
    destination::Destination,
    finding::{Finding, Mark},
};
use crate::{
    numbers::{rounded, thousands},
    stop::Stop,
    text::{escaped, long_span},
};

/// A connection that ends sooner was refused; it wasn't closed for being idle.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The pool's default idle timeout, which should be shorter than the destination's.
const USUAL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// The outcome of the test.
#[derive(Debug)]
struct Waited {
    limit: Duration,
    took: Duration,
    end: End,
    /// Bytes that the peer sent.
    heard: u64,
    medium: Medium,
}

/// The kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Tcp,
    /// A Unix socket: nothing on the way could forget it.
    Unix,
}

#[derive(Debug)]
enum End {
    /// The peer closed it.
    Closed,
    /// The peer, or something on the way, reset it.
    Reset,
    /// The kernel or TLS gave it up, with the reason.
    Lost(String),
    /// It was still open at the end of the time.
    Open,
    /// The test was stopped; the connection was still open.
    Stopped,
    /// The connection couldn't be opened, with the reason.
    NoConnection(String),
}

/// Runs the test, if it was asked for, until the connection ends, the time is over, or the command
/// is stopped. Shows its progress on stderr if that is a terminal.
pub(super) async fn check(destination: &Destination, stop: &Stop) -> Vec<Finding> {
    let Some(limit) = destination.idle_test else {
        return Vec::new();
    };
    vec![judge(&wait(destination, limit, stop).await)]
}

async fn wait(destination: &Destination, limit: Duration, stop: &Stop) -> Waited {
    let medium = match destination.endpoint {
        Endpoint::Unix(_) => Medium::Unix,
        _ => Medium::Tcp,
    };
    let dialer = destination.dialer(destination.endpoint.clone());
    let mut stream = match dialer.dial().await {
        Ok(dialled) => dialled.stream,
        Err(error) => {
            return Waited {
                limit,
                took: Duration::ZERO,
                end: End::NoConnection(Chain(&error.cause).to_string()),
                heard: 0,
                medium,
            };
        }
    };
    let began = Instant::now();
    let mut heard = 0;
    let end = watch(&mut stream, began, limit, stop, &mut heard).await;
    progress("");
    Waited {
        limit,
        took: began.elapsed(),
        end,
        heard,
        medium,
    }
}

async fn watch(
    stream: &mut Stream,
    began: Instant,
    limit: Duration,
    stop: &Stop,
    heard: &mut u64,
) -> End {
    let mut buffer = [0; 4096];
    let mut ticks = interval_at(began + PROGRESS, PROGRESS);
    // A time beyond the clock's range is no limit.
    let until = began.checked_add(limit);
    let over = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) => return End::Closed,
                Ok(length) => *heard += length as u64,
                Err(error) => return ended(&error),
            },
            () = &mut over => return End::Open,
            () = stop.stopped() => return End::Stopped,
            _ = ticks.tick() => progress(&format!(
                "idle for {} of {}; Ctrl-C ends it",
                long_span(Duration::from_secs(began.elapsed().as_secs())),
                long_span(limit)
            )),
        }
    }
}

fn ended(error: &io::Error) -> End {
    match error.kind() {
        // TLS without a close_notify.
        io::ErrorKind::UnexpectedEof => End::Closed,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => End::Reset,
        _ => End::Lost(Chain(error).to_string()),
    }
}

/// A line that the next one replaces; an empty one clears it.
fn progress(line: &str) {
    if io::stderr().is_terminal() {
        // Progress that can't be shown is no failure.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

/// Pure.
fn judge(waited: &Waited) -> Finding {
    const WHY: &str = "A pool that keeps idle connections for longer than the destination does lends out dead ones, and the next request \
                       on such a connection fails.";
    let took = long_span(waited.took);
    let heard = match waited.heard {
        0 => String::new(),
        bytes => format!(
            ", and sent {} bytes by itself meanwhile (a greeting, heartbeats)",
            thousands(bytes)
        ),
    };
    let (mark, found) = match &waited.end {
        End::NoConnection(error) => (
            Mark::Unknown,
            format!(
                "No connection could be opened to wait on: {}.",
                escaped(error)
            ),
        ),
        End::Closed | End::Reset => (
            closed_mark(waited.took),
            format!(
                "The destination {} an idle connection after {took}{heard}.",
                verb(&waited.end)
            ),
        ),
        End::Lost(error) => (
            Mark::Bad,
            format!(
                "The connection was lost after {took}: {}. It wasn't closed, so something on the way dropped it silently.",
                escaped(error)
            ),
        ),
        End::Open | End::Stopped => (Mark::Good, still_open(waited, &heard)),
    };
    let finding = Finding::new("idle", mark, found, WHY)
        .figure("waited_seconds", rounded(waited.took.as_secs_f64(), 3))
        .figure(
            "closed",
            matches!(waited.end, End::Closed | End::Reset | End::Lost(_)),
        )
        .figure("heard_bytes", waited.heard);
    advised(finding, waited)
}

fn verb(end: &End) -> &'static str {
    match end {
        End::Reset => "reset",
        _ => "closed",
    }
}

fn closed_mark(took: Duration) -> Mark {
    match took {
        took if took < AT_ONCE => Mark::Bad,
        took if took <= USUAL_IDLE_TIMEOUT => Mark::Warning,
        _ => Mark::Good,
    }
}

/// The text for a connection that is still open, with what waiting can't show.
fn still_open(waited: &Waited, heard: &str) -> String {
    let how = match waited.end {
        End::Stopped => format!(
            "Still open when the test was stopped, after {}{heard}.",
            long_span(waited.took)
        ),
        _ => format!("Still open after {}{heard}.", long_span(waited.limit)),
    };
    if waited.medium == Medium::Unix {
        return how;
    }
    let Keepalive {
        idle,
        interval,
        probes,
    } = Keepalive::default();
    let noticed = idle + interval * probes;
    let caveat = match waited.took > noticed + idle {
        true => format!(
            "TCP keepalive asked every {} and was answered, which also keeps a NAT or firewall from forgetting the connection.",
            long_span(idle)
        ),
        false => format!(
            "A NAT or firewall that has silently forgotten it would not be seen without sending: TCP keepalive, as pools here set it, \
             finds that out after {}.",
            long_span(noticed)
        ),
    };
    format!("{how} {caveat}")
}

fn advised(finding: Finding, waited: &Waited) -> Finding {
    match &waited.end {
        End::NoConnection(_) | End::Stopped => finding,
        End::Closed | End::Reset if waited.took < AT_ONCE => finding.advice(
            "It refuses connections rather than ending idle ones: look at its log, at its limits of connections and addresses, and \
             whether it expects TLS.",
        ),
        End::Closed | End::Reset => {
            let idle = below(waited.took);
            finding.figure("advised_idle_timeout_seconds", idle.as_secs_f64()).advice(format!(
                "Set the pool's idle_timeout to {} at most, or send heartbeats at least every {}. TCP keepalive doesn't help here: the \
                 destination counts the time since the last request.",
                long_span(idle),
                long_span(third(waited.took))
            ))
        }
        End::Lost(_) => finding.advice(format!(
            "Let TCP keepalive, or heartbeats, come more often than every {}; or raise the limit of what lies on the way.",
            long_span(third(waited.took))
        )),
        End::Open => finding.advice(format!("An idle_timeout of up to {} is safe here.", long_span(below(waited.limit)))),
    }
}

/// Three quarters of the time, so that the pool closes first; in whole seconds from one second on.
fn below(time: Duration) -> Duration {
    whole(time * 3 / 4)
}

fn third(time: Duration) -> Duration {
    whole(time / 3)
}

fn whole(time: Duration) -> Duration {
    match time.as_secs() {
        0 => Duration::from_millis(time.as_millis() as u64),
        seconds => Duration::from_secs(seconds),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use clap::Parser;

    use super::*;
    use crate::commands::doctor::destination::DestinationFlags;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: DestinationFlags,
    }

    fn waited(seconds: f64, end: End) -> Finding {
        judge(&Waited {
            limit: Duration::from_secs(120),
            took: Duration::from_secs_f64(seconds),
            end,
            heard: 0,
            medium: Medium::Tcp,
        })
    }

    #[test]
    fn the_sooner_it_is_closed_the_worse() {
        let marks = [0.003, 1.0, 60.0, 61.0].map(|seconds| waited(seconds, End::Closed).mark);
        assert_eq!(marks, [Mark::Bad, Mark::Warning, Mark::Warning, Mark::Good]);
        assert_eq!(waited(30.0, End::Reset).mark, Mark::Warning);
        assert_eq!(
            waited(30.0, End::Lost(String::from("timed out"))).mark,
            Mark::Bad
        );
        assert_eq!(waited(120.0, End::Open).mark, Mark::Good);
        assert_eq!(waited(3.0, End::Stopped).mark, Mark::Good);
        assert_eq!(
            waited(0.0, End::NoConnection(String::from("refused"))).mark,
            Mark::Unknown
        );
    }

    #[test]
    fn the_advice_has_the_number_to_set() {
        let closed = waited(30.2, End::Closed);
        assert_eq!(
            closed.found,
            "The destination closed an idle connection after 30.2 s."
        );
        let advice = closed.advice.expect("some");
        assert!(advice.contains("idle_timeout to 22 s at most"), "{advice}");
        assert!(
            advice.contains("heartbeats at least every 10 s"),
            "{advice}"
        );
        let open = waited(120.0, End::Open);
        assert!(
            open.advice
                .is_some_and(|advice| advice.contains("up to 1 min 30 s"))
        );
    }

    #[test]
    fn what_waiting_cannot_show_is_said() {
        let short = waited(5.0, End::Stopped).found;
        assert!(short.contains("without sending"), "{short}");
        let long = waited(120.0, End::Open).found;
        assert!(long.contains("was answered"), "{long}");
        let unix = judge(&Waited {
            limit: Duration::from_secs(120),
            took: Duration::from_secs(5),
            end: End::Stopped,
            heard: 3,
            medium: Medium::Unix,
        });
        assert_eq!(
            unix.found,
            "Still open when the test was stopped, after 5 s, and sent 3 bytes by itself meanwhile (a greeting, heartbeats)."
        );
    }

    async fn against(
        time: &str,
        peer: impl FnOnce(std::net::TcpStream) + Send + 'static,
        stop: &Stop,
    ) -> Finding {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serving = thread::spawn(move || peer(listener.accept().expect("a connection").0));
        let line = Line::try_parse_from(["doctor", "--to", &address, "--idle-test", time])
            .expect("a command line");
        let destination = line.flags.read().expect("sound").expect("a destination");
        let findings = check(&destination, stop).await;
        serving.join().expect("it served");
        findings.into_iter().next().expect("one")
    }

    /// Until the other side has closed.
    fn hold(mut stream: std::net::TcpStream) {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_greets_and_closes_differs_from_one_that_stays() {
        let stop = Stop::new();
        let closes = |mut stream: std::net::TcpStream| stream.write_all(b"hello").expect("sends");
        let closed = against("30s", closes, &stop).await;
        assert_eq!(closed.figures["closed"], true, "{closed:?}");
        assert_eq!(closed.figures["heard_bytes"], 5);
        let open = against("50ms", hold, &stop).await;
        assert_eq!(
            (open.mark, &open.figures["closed"]),
            (Mark::Good, &false.into())
        );
        assert!(
            open.found.starts_with("Still open after 50 ms"),
            "{}",
            open.found
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_ends_the_test_with_what_was_found_until_then() {
        let stop = Stop::new();
        stop.stop();
        let finding = against("1h", hold, &stop).await;
        assert!(
            finding.found.contains("when the test was stopped"),
            "{}",
            finding.found
        );
    }

    #[tokio::test]
    async fn without_being_asked_for_nothing_is_waited_for() {
        let line = Line::try_parse_from(["doctor", "--to", "127.0.0.1:1"]).expect("a command line");
        let destination = line.flags.read().expect("sound").expect("a destination");
        assert_eq!(check(&destination, &Stop::new()).await, []);
    }
}
