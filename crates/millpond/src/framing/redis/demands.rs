//! What a request asks of the connection to the server that it is sent on.

use std::time::Duration;

use super::{
    super::{Demand, Failure, Note, Replies},
    arguments::Arguments,
    asked::{Asked, Topics},
    commands::{self, Command, Decision, Here, Pin, Wait},
    settings::RedisSettings,
    state::{Flags, State},
};

/// A request, taken apart.
#[derive(Clone)]
pub(super) struct Request<'r> {
    pub(super) name: &'r [u8],
    /// Behind the command's name.
    pub(super) arguments: Arguments<'r>,
    /// `None` if the table doesn't know it.
    pub(super) command: Option<&'static Command>,
}

impl<'r> Request<'r> {
    /// A whole frame that is an array.
    pub(super) fn of(frame: &'r [u8]) -> Self {
        let mut arguments = Arguments::of(frame);
        let name = arguments.next().unwrap_or_default();
        let command = commands::command(name, arguments.clone().next());
        Request {
            name,
            arguments,
            command,
        }
    }

    /// The arguments behind a subcommand.
    pub(super) fn behind_subcommand(&self) -> Arguments<'r> {
        let mut arguments = self.arguments.clone();
        arguments.next();
        arguments
    }

    fn count(&self) -> u32 {
        u32::try_from(self.arguments.len()).unwrap_or(u32::MAX)
    }
}

/// What the request demands; `state` is the connection's.
pub(super) fn demand(request: &Request<'_>, state: &Note, settings: &RedisSettings) -> Demand {
    let demand = by_command(request, state, settings);
    match Flags::of(state).has(Flags::MULTI) {
        // It belongs to the transaction of this connection.
        true => demand.pins(),
        false => demand,
    }
}

fn by_command(request: &Request<'_>, state: &Note, settings: &RedisSettings) -> Demand {
    let Some(command) = request.command else {
        // A subcommand that isn't known may do anything to the connection, of CLIENT for instance.
        let is_whole = commands::command(request.name, None).is_none();
        return match settings.unknown_commands && is_whole {
            true => Demand::default(),
            false => Demand::default().refused(unknown(request)),
        };
    };
    match command.decision {
        Decision::Plain => plain(command),
        Decision::Cursor if settings.pin_scans => pins_scan(request, command, state),
        Decision::Cursor => Demand::default().idempotent(),
        Decision::Here(here) => of_connection(here, request),
        Decision::Pins(pin) => pins(pin, request, state),
        Decision::Refused(why) => Demand::default().refused(refusal(command, why)),
    }
}

fn plain(command: &Command) -> Demand {
    let demand = match command.runs_script {
        true => Demand::default().noting(Asked::Script.to_note()),
        false => Demand::default(),
    };
    match command.only_reads {
        true => demand.idempotent(),
        false => demand,
    }
}

fn pinned(asked: Asked) -> Demand {
    Demand::default().pins().noting(asked.to_note())
}

/// Why a command isn't sent.
pub(super) fn refusal(command: &Command, why: &str) -> Failure {
    Failure::refused(format!("{} {why}", command.name))
}

/// As the server says it.
fn unknown(request: &Request<'_>) -> Failure {
    let name = shown(request.name);
    let known = commands::command(request.name, None);
    Failure::refused(match (known, request.arguments.clone().next()) {
        (Some(container), Some(subcommand)) => format!(
            "unknown subcommand '{}' of {}, which is not sent",
            shown(subcommand),
            container.name
        ),
        _ => format!("unknown command '{name}', which is not sent"),
    })
}

/// What is quoted of a request.
pub(super) fn shown(text: &[u8]) -> String {
    let text = &text[..text.len().min(128)];
    let printable = |byte: &u8| match byte.is_ascii_graphic() {
        true => char::from(*byte),
        false => '.',
    };
    text.iter().map(printable).collect()
}

/// A scan begins with cursor 0: behind the name, or behind a key.
fn scan(request: &Request<'_>, command: &Command) -> Asked {
    let mut arguments = request.arguments.clone();
    let cursor = match command.name {
        "SCAN" => arguments.next(),
        _ => arguments.nth(1),
    };
    Asked::Scan {
        begins: cursor == Some(b"0"),
    }
}

/// Cursors are of one server: one that isn't the first must be of a scan that is open here.
fn pins_scan(request: &Request<'_>, command: &Command, state: &Note) -> Demand {
    let asked = scan(request, command);
    let goes_on = asked == Asked::Scan { begins: false };
    let why = if Flags::of(state).has(Flags::MULTI) {
        "can't be part of a transaction here, for its cursor would be lost"
    } else if goes_on && State::of(state).scans == 0 {
        "has a cursor of no scan that this connection has begun, and there are several servers"
    } else {
        return pinned(asked);
    };
    Demand::default().refused(refusal(command, why))
}

/// What servers answer for their clients themselves, sent on a connection: in a login, say.
fn of_connection(here: Here, request: &Request<'_>) -> Demand {
    match here {
        Here::Ping | Here::ClientGetName | Here::ClientId => Demand::default().idempotent(),
        Here::ClientSetInfo => Demand::default().pins(),
        Here::Quit => Demand::default().refused(Failure::refused(
            "QUIT would end a connection that others use; close your own",
        )),
        Here::Auth => pinned(Asked::Auth { user: 0 }),
        Here::Reset => pinned(Asked::Reset),
        Here::ClientSetName => pinned(Asked::SetName {
            name: request
                .behind_subcommand()
                .next()
                .unwrap_or_default()
                .into(),
        }),
        Here::Select => match number(request.arguments.clone().next().unwrap_or_default()) {
            Some(database) => pinned(Asked::Select { database }),
            None => {
                Demand::default().refused(Failure::refused("SELECT takes a number up to 65535"))
            }
        },
        Here::Hello => match Hello::of(request.arguments.clone()) {
            Ok(hello) => pinned(hello.asked(0, false)),
            Err(failure) => Demand::default().refused(failure),
        },
    }
}

fn pins(pin: Pin, request: &Request<'_>, state: &Note) -> Demand {
    let asked = match pin {
        Pin::Blocks(timeout) => {
            return match timeout.of(request.arguments.clone()) {
                None => Demand::default(),
                Some(Wait::For(time)) => Demand::default().pins().may_wait(time),
                Some(Wait::Forever) => Demand::default().pins().may_wait(Duration::MAX),
            };
        }
        Pin::Caching => Asked::Plain,
        Pin::Multi => Asked::Multi,
        Pin::Exec => Asked::Exec,
        Pin::Discard => Asked::Discard,
        Pin::Watch => Asked::Watch,
        Pin::Unwatch => Asked::Unwatch,
        Pin::Monitor => Asked::Monitor,
        Pin::Tracking => {
            let mut arguments = request.behind_subcommand();
            let on = arguments.next().unwrap_or_default();
            let redirects = arguments.any(|argument| commands::is_word(argument, b"REDIRECT"));
            if redirects {
                return Demand::default().refused(Failure::refused(
                    "CLIENT TRACKING can't redirect: what ids stand for is not known here",
                ));
            }
            Asked::Tracking {
                on: commands::is_word(on, b"ON"),
            }
        }
        Pin::Subscribe => return subscription(Topics::Channels, request),
        Pin::PSubscribe => return subscription(Topics::Patterns, request),
        Pin::SSubscribe => return subscription(Topics::Shards, request),
        Pin::Unsubscribe => return ends_subscription(Topics::Channels, request, state),
        Pin::PUnsubscribe => return ends_subscription(Topics::Patterns, request, state),
        Pin::SUnsubscribe => return ends_subscription(Topics::Shards, request, state),
    };
    pinned(asked)
}

fn subscription(to: Topics, request: &Request<'_>) -> Demand {
    let count = request.count().max(1);
    Demand::replies(Replies::Several)
        .pins()
        .noting(Asked::Subscribe { to, count }.to_note())
}

/// As many replies as there are topics; without any, one for each subscription, and one if there is
/// none.
fn ends_subscription(from: Topics, request: &Request<'_>, state: &Note) -> Demand {
    let count = match request.count() {
        0 => State::of(state).subscribed[from.index()].max(1),
        count => count,
    };
    Demand::replies(Replies::Several)
        .pins()
        .noting(Asked::Unsubscribe { from, count }.to_note())
}

/// A plain number.
pub(super) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(text).ok().filter(|_| is_plain)?;
    text.parse().ok()
}

/// What HELLO says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hello<'r> {
    /// `None` leaves it as it is.
    pub(super) resp3: Option<bool>,
    /// A user and a secret.
    pub(super) auth: Option<(&'r [u8], &'r [u8])>,
    pub(super) name: Option<&'r [u8]>,
}

impl<'r> Hello<'r> {
    pub(super) fn of(mut arguments: Arguments<'r>) -> Result<Self, Failure> {
        let mut hello = Hello::default();
        let Some(version) = arguments.next() else {
            return Ok(hello);
        };
        hello.resp3 = match version {
            b"2" => Some(false),
            b"3" => Some(true),
            version if number::<u32>(version).is_none() => {
                return Err(Failure::refused(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
            _ => return Err(Failure::refused("NOPROTO unsupported protocol version")),
        };
        while let Some(word) = arguments.next() {
            if word.eq_ignore_ascii_case(b"AUTH") {
                let (Some(user), Some(secret)) = (arguments.next(), arguments.next()) else {
                    return Err(malformed());
                };
                hello.auth = Some((user, secret));
            } else if word.eq_ignore_ascii_case(b"SETNAME") {
                hello.name = Some(arguments.next().ok_or_else(malformed)?);
            } else {
                return Err(malformed());
            }
        }
        Ok(hello)
    }

    /// What its reply makes of a connection that speaks RESP3 or not.
    pub(super) fn asked(&self, user: u16, speaks_resp3: bool) -> Asked {
        Asked::Hello {
            resp3: self.resp3.unwrap_or(speaks_resp3),
            user,
            logs_in: self.auth.is_some(),
            name: self.name.map(<[u8]>::to_vec),
        }
    }
}

fn malformed() -> Failure {
    Failure::refused("ERR Syntax error in HELLO")
}

/// Whether a connection is a client's own because of what it has done.
pub(super) fn is_pinned(state: &Note) -> bool {
    !Flags::of(state).are_plain()
}
