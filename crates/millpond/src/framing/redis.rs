//! Redis: RESP2 and RESP3. Owns how its parts make a framing, and how failures are told; `resp.rs`
//! knows where values end, `commands.rs` what is done with each command, `demands.rs` what a
//! request asks of its connection, `admission.rs` what a server answers itself, `rights.rs` who may
//! what, and `answers.rs` what replies make of a connection's state.
//!
//! Sources: *Redis serialization protocol specification*
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>), the definitions of the commands
//! in redis-server, and what redis-server 7.0 does.

mod admission;
mod answers;
mod arguments;
mod asked;
mod commands;
mod demands;
mod elements;
mod resp;
mod rights;
mod settings;
mod state;
mod users;

use std::borrow::Cow;

use bytes::Bytes;

use self::{
    admission::Rules,
    asked::Asked,
    commands::Decision,
    demands::Request,
    resp::Limits,
    rights::Users,
    state::{Flags, State},
};
pub use self::{
    settings::RedisSettings,
    users::{RedisCommands, RedisUser, UnknownRedisCommand},
};
use super::{
    Admission, Answer, Context, Demand, Direction, Failure, FailureKind, Frame, FrameError,
    Framing, Note, Octets, Scan, Step, Told,
    preset::{Preset, PresetFraming},
};

/// The limits on a request before its client has logged in, as redis-server has them.
const MAX_BODY_BEFORE_LOGIN: usize = 16 << 10;
const MAX_ARGUMENTS_BEFORE_LOGIN: usize = 10;

/// Redis: RESP2 and RESP3.
///
/// A request's body is a command as people write it, `SET greeting "hello there"`, or the array that
/// the wire has. A reply's body is the whole value, as the wire has it.
///
/// ```
/// use millpond::framing::{Context, Framing, Redis, Scan, Step};
///
/// let redis = Redis::default();
/// let mut wire = Vec::new();
/// redis.encode(Context::REQUEST, b"GET greeting", &mut wire)?;
/// assert_eq!(wire, b"*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\n");
///
/// let step = redis.next(Context::REPLY, b"$2\r\nhi\r\n", &mut Scan::default())?;
/// assert!(matches!(step, Step::Frame(extent) if extent.body == 8));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
///
/// # Frames
///
/// A request is an array of strings, or a line. Whatever two readers could read differently ends the
/// connection: an array without a string and an empty line, which redis-server answers not at all, so
/// that each later reply would be taken for another's; a string that doesn't end where its length
/// says; a number in another form than the server writes it. So does a line of HTTP.
///
/// A reply is any value of RESP2 or RESP3, nested to any depth, with its attributes.
///
/// # What requests ask for
///
/// A table says of each command what is done with it; [`Redis::commands`] lists it.
///
/// - Most are sent on any connection. Those that only read are [idempotent](Demand::idempotent).
/// - MULTI, WATCH, subscriptions, MONITOR, CLIENT TRACKING and commands that may wait
///   [pin](Demand::pins) their connection, until their state is gone. One that may wait has as much
///   more time as [it says](Demand::may_wait).
/// - A server answers by itself what concerns its client's connection alone: AUTH, HELLO, SELECT,
///   PING, QUIT, RESET, and CLIENT ID, GETNAME, SETNAME and SETINFO.
/// - Others are refused: those for operators, those that would end or change connections which others
///   use, and those that the table doesn't know.
///
/// What comes without being asked for, messages of channels and keys that have changed, is a
/// [push](Answer::Push) where the connection has asked for such, and a reason to close it elsewhere.
///
/// # Lanes
///
/// The server's replies look otherwise in RESP3 than in RESP2, so clients of a server that passes
/// requests on are of two [lanes](Framing::lanes): 0 for RESP2, which each begins with, and 1 for
/// RESP3, from HELLO 3 on.
///
/// # Failures
///
/// `-ERR millpond: ` and what happened; what redis-server says itself in the same case, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    settings: RedisSettings,
    users: Users,
    limits: Limits,
    before_login: Limits,
}

impl Redis {
    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own:
    /// `--max-frame`. Default: `max_body`, as documents call it, which is
    /// [`RedisSettings::max_body`].
    pub fn limit_named(self, setting: impl Into<Cow<'static, str>>) -> Self {
        Redis::new(self.settings, setting.into())
    }

    /// The settings.
    pub fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// Each command and subcommand that is known, and what is done with it, in words.
    pub fn commands() -> impl Iterator<Item = (&'static str, String)> {
        commands::decisions()
    }

    fn new(settings: RedisSettings, named: Cow<'static, str>) -> Self {
        let limits = Limits {
            max_body: settings.max_body,
            max_arguments: settings.max_arguments,
            named,
        };
        let before_login = Limits {
            max_body: limits.max_body.min(MAX_BODY_BEFORE_LOGIN),
            max_arguments: limits.max_arguments.min(MAX_ARGUMENTS_BEFORE_LOGIN),
            named: "the login, before which requests are short,".into(),
        };
        Redis {
            users: Users::of(&settings.users),
            settings,
            limits,
            before_login,
        }
    }

    /// The limits of a request on a connection of this state.
    fn limits(&self, state: &Note) -> &Limits {
        let is_of_client = Flags::of(state).has(Flags::OF_CLIENT);
        match is_of_client && self.users.await_login(state) {
            true => &self.before_login,
            false => &self.limits,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        RedisSettings::default().into()
    }
}

impl From<RedisSettings> for Redis {
    fn from(settings: RedisSettings) -> Self {
        Redis::new(settings, "max_body".into())
    }
}

impl Framing for Redis {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        match context.direction() {
            Direction::Request => resp::request(bytes, scan, self.limits(context.state())),
            Direction::Reply => resp::reply(bytes, scan, &self.limits),
        }
    }

    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let begins = out.len();
        match (context.direction(), body.first()) {
            (Direction::Request, Some(first)) if *first != b'*' => {
                arguments::put_array(&arguments::of_line(body)?, out);
            }
            _ => out.extend_from_slice(body),
        }
        let frame = &out[begins..];
        let found = self.next(context, frame, &mut Scan::default());
        let is_one = matches!(found, Ok(Step::Frame(extent)) if extent.length() == frame.len());
        if is_one {
            return Ok(());
        }
        let length = frame.len();
        out.truncate(begins);
        Err(found.err().unwrap_or(FrameError::NotOneFrame { length }))
    }

    fn max_frame(&self) -> usize {
        self.settings.max_body
    }

    fn name(&self) -> &str {
        "the protocol of Redis"
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        demands::demand(&Request::of(request), state, &self.settings)
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        answers::answers(asked, reply, state)
    }

    fn failed(&self, asked: Option<&Note>, _: &[u8], state: &mut Note) {
        answers::failed(asked, state);
    }

    fn admit(&self, request: &[u8], state: &Note) -> Admission {
        let rules = Rules {
            settings: &self.settings,
            users: &self.users,
        };
        admission::admit(&rules, request, state)
    }

    fn accepted(&self, number: u64) -> Note {
        State::of_client(number).to_note()
    }

    fn lanes(&self) -> u16 {
        admission::LANES
    }

    fn lane(&self, state: &Note) -> u16 {
        admission::lane(Flags::of(state))
    }

    fn lane_login(&self, lane: u16) -> Vec<(Vec<u8>, Octets)> {
        let mut steps = Vec::new();
        if lane == 1 {
            steps.push((b"HELLO 3".to_vec(), Octets::from("%")));
        }
        if self.settings.database != 0 {
            let select = format!("SELECT {}", self.settings.database);
            steps.push((select.into_bytes(), Octets::from("+OK")));
        }
        steps
    }

    fn may_push(&self, state: &Note) -> bool {
        let flags = Flags::of(state);
        flags.has(Flags::SUBSCRIBED) || flags.has(Flags::TRACKING) || flags.has(Flags::MONITOR)
    }

    fn is_unfit(&self, asked: &Note, reply: &[u8]) -> bool {
        // What a script says is its author's.
        reply.first() == Some(&b'-')
            && !Asked::is_script(asked)
            && matches!(
                elements::error_code(reply),
                b"LOADING" | b"READONLY" | b"MASTERDOWN" | b"CLUSTERDOWN"
            )
    }

    fn tells_malformed(&self) -> bool {
        true
    }

    fn failure_needs_request(&self) -> bool {
        false
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        _: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let message = failure.message();
        let before: &[u8] = match failure.kind() {
            FailureKind::Malformed => b"-ERR Protocol error: ",
            FailureKind::Refused if has_code(message) => b"-",
            _ => b"-ERR millpond: ",
        };
        out.extend_from_slice(before);
        // A line holds no other one.
        out.extend(message.bytes().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => byte,
        }));
        out.extend_from_slice(b"\r\n");
        Told::ByReply
    }
}

/// Whether a message begins with one of the codes by which the server itself tells clients of
/// errors.
fn has_code(message: &str) -> bool {
    const CODES: [&str; 5] = ["ERR", "NOAUTH", "NOPERM", "NOPROTO", "WRONGPASS"];
    let code = message.split(' ').next().unwrap_or_default();
    CODES.contains(&code)
}

impl PresetFraming for Redis {
    const PRESET: Preset = Preset::new(
        "redis",
        "Redis, RESP2 and RESP3; transactions and subscriptions get a connection of their own",
    );

    type Settings = RedisSettings;

    fn plain() -> Self {
        Redis::default()
    }

    fn settings(&self) -> RedisSettings {
        self.settings.clone()
    }

    fn limited(mut self, max_body: usize, named: Cow<'static, str>) -> Self {
        self.settings.max_body = max_body;
        self.limit_named(named)
    }

    fn among(mut self, servers: usize) -> Self {
        self.settings.pin_scans |= servers > 1;
        self
    }

    /// The last argument, or OK: of a server that keeps nothing.
    fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
        let request = Request::of(request.body());
        let is_kept = |decision| !matches!(decision, Decision::Plain | Decision::Cursor);
        if request
            .command
            .is_some_and(|command| is_kept(command.decision))
        {
            return Err(Failure::refused(
                "ERR this server repeats what it is sent, and keeps nothing",
            ));
        }
        Ok(vec![match request.arguments.last() {
            None => Bytes::from_static(b"+OK\r\n"),
            Some(last) => [format!("${}\r\n", last.len()).as_bytes(), last, b"\r\n"]
                .concat()
                .into(),
        }])
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
