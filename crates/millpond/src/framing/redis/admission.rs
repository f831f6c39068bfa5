//! What a server makes of a client's request: sends it on, answers it itself, or refuses it.

use super::{
    super::{Admission, Credentials, Demand, Failure, LocalReply, Note},
    arguments::{self, Arguments},
    asked::Asked,
    commands::{Command, Decision, Here, Pin},
    demands::{self, Hello, Request, number},
    rights::Users,
    settings::RedisSettings,
    state::{Flags, State},
};

/// The lane of clients that speak RESP2, and of those that speak RESP3.
pub(super) const LANES: u16 = 2;

/// The same for users that there are and that there aren't.
const WRONG_SECRET: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// The lane of a connection.
pub(super) fn lane(flags: Flags) -> u16 {
    flags.has(Flags::RESP3).into()
}

/// By what requests are judged.
pub(super) struct Rules<'r> {
    pub(super) settings: &'r RedisSettings,
    pub(super) users: &'r Users,
}

/// As [`Framing::admit`](super::super::Framing::admit).
pub(super) fn admit(rules: &Rules<'_>, frame: &[u8], state: &Note) -> Admission {
    if !arguments::is_inline(frame) {
        return admitted(rules, &Request::of(frame), state);
    }
    let words = match arguments::of_line(frame) {
        Ok(words) => words,
        Err(error) => {
            let failure = Failure::malformed(error.to_string());
            return Demand::default().refused(failure.closing()).into();
        }
    };
    let mut array = Vec::new();
    arguments::put_array(&words, &mut array);
    let admission = admitted(rules, &Request::of(&array), state);
    admission.rewritten(array)
}

fn admitted(rules: &Rules<'_>, request: &Request<'_>, state: &Note) -> Admission {
    let mut admission = judged(rules, request, state);
    if Flags::of(state).has(Flags::MULTI) {
        // Whether it was queued is known before the next is read.
        admission.demand = admission.demand.pins();
    }
    admission
}

fn judged(rules: &Rules<'_>, request: &Request<'_>, state: &Note) -> Admission {
    let flags = Flags::of(state);
    let decision = request.command.map(|command| command.decision);
    if rules.users.await_login(state) {
        let logs_in = matches!(
            decision,
            Some(Decision::Here(
                Here::Auth | Here::Hello | Here::Quit | Here::Reset
            ))
        );
        if !logs_in {
            return refused("NOAUTH Authentication required.");
        }
    }
    if flags.has(Flags::BROKEN)
        && let Some(admission) = of_broken(decision)
    {
        return admission;
    }
    if is_bare(decision) && request.arguments.len() > 0 {
        return wrong_number(request);
    }
    if let Some(refusal) = out_of_place(decision, request, flags) {
        return refusal;
    }
    if let Some(words) = rules.users.forbids(Flags::user_of(state), request) {
        return refused(&words);
    }
    match decision {
        Some(Decision::Here(here)) if answers_here(here, flags) => {
            locally(rules, here, request, state)
        }
        // A ping too, where this state gives it another reply.
        _ => demands::demand(request, state, rules.settings).into(),
    }
}

/// Whether a command takes no arguments, by which a transaction begins or ends. Servers differ in what
/// is left of it if there are some.
fn is_bare(decision: Option<Decision>) -> bool {
    matches!(
        decision,
        Some(Decision::Pins(Pin::Multi | Pin::Exec | Pin::Discard))
    )
}

/// Of a transaction that can't be executed nothing is sent any more. With its end the connection to the
/// upstream is closed, if there is one, and what is queued there with it.
fn of_broken(decision: Option<Decision>) -> Option<Admission> {
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    Some(match decision {
        Some(Decision::Pins(Pin::Exec)) => {
            changing(Asked::Exec, LocalReply::new(aborted).resetting())
        }
        Some(Decision::Pins(Pin::Discard)) => {
            changing(Asked::Discard, LocalReply::new(b"+OK\r\n").resetting())
        }
        Some(Decision::Here(Here::Quit | Here::Reset)) => return None,
        _ => plainly(b"+QUEUED\r\n".to_vec()),
    })
}

/// Whether the reply doesn't depend on the connection to the upstream.
fn answers_here(here: Here, flags: Flags) -> bool {
    let is_queued = flags.has(Flags::MULTI);
    let has_another_form = flags.has(Flags::SUBSCRIBED) && !flags.has(Flags::RESP3);
    here != Here::Ping || !is_queued && !has_another_form
}

/// Why a request can't come now, whatever it is else.
fn out_of_place(
    decision: Option<Decision>,
    request: &Request<'_>,
    flags: Flags,
) -> Option<Admission> {
    let here = match decision {
        Some(Decision::Here(here)) => Some(here),
        _ => None,
    };
    if matches!(here, Some(Here::Quit | Here::Reset)) {
        return None;
    }
    if flags.has(Flags::MONITOR) {
        return Some(refused(
            "ERR only QUIT and RESET are allowed in this context",
        ));
    }
    if flags.has(Flags::MULTI) {
        let is_in_place = match decision {
            Some(Decision::Here(here)) => here == Here::Ping,
            Some(Decision::Pins(
                Pin::Multi | Pin::Exec | Pin::Discard | Pin::Watch | Pin::Unwatch | Pin::Blocks(_),
            )) => true,
            Some(Decision::Pins(_)) => false,
            _ => true,
        };
        let refusal = || refused("ERR this command is not allowed within MULTI");
        return (!is_in_place).then(refusal);
    }
    if flags.has(Flags::SUBSCRIBED) && !flags.has(Flags::RESP3) {
        use Pin::{PSubscribe, PUnsubscribe, SSubscribe, SUnsubscribe, Subscribe, Unsubscribe};
        let is_in_place = here == Some(Here::Ping)
            || matches!(
                decision,
                Some(Decision::Pins(
                    Subscribe | PSubscribe | SSubscribe | Unsubscribe | PUnsubscribe | SUnsubscribe
                ))
            );
        let refusal = || {
            let name = request
                .command
                .map_or("this command", |command| command.name);
            refused(&format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                name.to_lowercase()
            ))
        };
        return (!is_in_place).then(refusal);
    }
    None
}

fn refused(words: &str) -> Admission {
    Demand::default().refused(Failure::refused(words)).into()
}

fn wrong_number(request: &Request<'_>) -> Admission {
    let name = request.command.map_or(String::new(), Command::shown);
    refused(&format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

/// Answers what concerns the client's own connection.
fn locally(rules: &Rules<'_>, here: Here, request: &Request<'_>, state: &Note) -> Admission {
    let count = request.arguments.len();
    let mut arguments = request.arguments.clone();
    match here {
        Here::Ping => match (count, arguments.next()) {
            (0, _) => plainly(b"+PONG\r\n".to_vec()),
            (1, Some(text)) => plainly(bulk(text)),
            _ => wrong_number(request),
        },
        Here::Quit => Admission::answered(Demand::default(), LocalReply::new(b"+OK\r\n").closing()),
        Here::Reset => changing(Asked::Reset, LocalReply::new(b"+RESET\r\n").resetting()),
        Here::Select => match (count, arguments.next().and_then(number::<u16>)) {
            (1, Some(database)) if rules.settings.database == database => ok(),
            (1, Some(_)) => refused(&format!(
                "this route is of database {} alone",
                rules.settings.database
            )),
            (1, None) => refused("ERR invalid DB index"),
            _ => wrong_number(request),
        },
        Here::ClientId if count == 1 => plainly(format!(":{}\r\n", id(state)).into_bytes()),
        Here::ClientGetName if count == 1 => plainly(match State::of(state).name {
            name if !name.is_empty() => bulk(&name),
            _ if Flags::of(state).has(Flags::RESP3) => b"_\r\n".to_vec(),
            _ => b"$-1\r\n".to_vec(),
        }),
        Here::ClientSetInfo if count == 3 => ok(),
        Here::ClientSetName => match (count, request.behind_subcommand().next()) {
            (2, Some(name)) => unfit_name(name).unwrap_or_else(|| {
                let name = name.into();
                changing(Asked::SetName { name }, LocalReply::new(b"+OK\r\n"))
            }),
            _ => wrong_number(request),
        },
        Here::ClientId | Here::ClientGetName | Here::ClientSetInfo => wrong_number(request),
        Here::Auth => auth(rules, request),
        Here::Hello => hello(rules, request.arguments.clone(), state),
    }
}

fn auth(rules: &Rules<'_>, request: &Request<'_>) -> Admission {
    let mut arguments = request.arguments.clone();
    let (user, secret) = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(secret), None, _) => (&b"default"[..], secret),
        (Some(user), Some(secret), None) => (user, secret),
        _ => return wrong_number(request),
    };
    if rules.users.is_empty() {
        return match (request.arguments.len(), user) {
            // The server says the same where there is no password.
            (1, _) => refused(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ),
            (_, b"default") => ok(),
            _ => refused(WRONG_SECRET),
        };
    }
    let asked = Asked::Auth {
        user: rules.users.number(user),
    };
    changing(
        asked,
        LocalReply::new(b"+OK\r\n").if_right(credentials(user, secret), wrong_secret()),
    )
}

fn hello(rules: &Rules<'_>, arguments: Arguments<'_>, state: &Note) -> Admission {
    let hello = match Hello::of(arguments) {
        Ok(hello) => hello,
        Err(failure) => return Demand::default().refused(failure).into(),
    };
    let now = State::of(state);
    let speaks_resp3 = now.flags.has(Flags::RESP3);
    let resp3 = hello.resp3.unwrap_or(speaks_resp3);
    if resp3 != speaks_resp3 && demands::is_pinned(state) {
        return refused(
            "the version can't be changed while there are transactions, subscriptions or scans",
        );
    }
    if let Some(refusal) = hello.name.and_then(unfit_name) {
        return refusal;
    }
    let has_users = !rules.users.is_empty();
    if rules.users.await_login(state) && hello.auth.is_none() {
        return refused(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if !has_users && hello.auth.is_some_and(|(user, _)| user != b"default") {
        return refused(WRONG_SECRET);
    }
    let user = hello.auth.map_or(0, |(user, _)| rules.users.number(user));
    let mut reply = LocalReply::new(greeting(rules, resp3, now.id));
    if resp3 != speaks_resp3 {
        reply = reply.for_lane(u16::from(resp3));
    }
    if let Some((user, secret)) = hello.auth.filter(|_| has_users) {
        reply = reply.if_right(credentials(user, secret), wrong_secret());
    }
    changing(hello.asked(user, speaks_resp3), reply)
}

/// The reply to HELLO.
fn greeting(rules: &Rules<'_>, resp3: bool, id: u64) -> Vec<u8> {
    let head = if resp3 { "%7" } else { "*14" };
    let version = &rules.settings.server_version;
    format!(
        "{head}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n${}\r\n{version}\r\n$5\r\nproto\r\n:{}\r\n$2\r\nid\r\n:{}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        version.len(),
        if resp3 { 3 } else { 2 },
        id + 1,
    )
    .into_bytes()
}

/// From 1 on, as the server's.
fn id(state: &Note) -> u64 {
    State::of(state).id + 1
}

fn wrong_secret() -> Failure {
    Failure::refused(WRONG_SECRET)
}

fn credentials(user: &[u8], secret: &[u8]) -> Credentials {
    Credentials {
        user: user.into(),
        secret: secret.into(),
    }
}

/// The longest name that a client may give its connection, in bytes: it is kept as long as that.
const LONGEST_NAME: usize = 256;

/// Why this is no name of a connection.
fn unfit_name(name: &[u8]) -> Option<Admission> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Some(refused(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    let is_too_long = name.len() > LONGEST_NAME;
    is_too_long.then(|| refused(&format!("a client's name has {LONGEST_NAME} bytes at most")))
}

fn ok() -> Admission {
    plainly(b"+OK\r\n".to_vec())
}

/// A reply that changes nothing.
fn plainly(reply: Vec<u8>) -> Admission {
    Admission::answered(Demand::default(), LocalReply::new(reply))
}

/// A reply that changes the connection's state.
fn changing(asked: Asked, reply: LocalReply) -> Admission {
    let demand = Demand::default().pins().noting(asked.to_note());
    Admission::answered(demand, reply)
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}
