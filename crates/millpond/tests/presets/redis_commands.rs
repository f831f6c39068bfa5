//! What a real server says of its commands, and that each of them has a decision. Starts a
//! redis-server, or what the environment's `REDIS_SERVER` names, on a Unix socket. Ignored by an
//! ordinary run, since it needs that program: `.ci/redis` runs it, and fails where it is missing.
//!
//! Where a snapshot of that version is in `redis/`, it must be what the server says; `MILLPOND_WRITE=1`
//! writes it. The unit tests of the decisions compare them with the snapshots.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use millpond::framing::Redis;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server with a folder of its own, ended with the test.
struct Server {
    process: Child,
    folder: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Server {
    fn start() -> Server {
        let program = env::var("REDIS_SERVER").unwrap_or_else(|_| String::from("redis-server"));
        let folder =
            env::temp_dir().join(format!("millpond-redis-commands-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut process = Command::new(&program)
            .args(["--port", "0", "--unixsocket", "redis.sock"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}: install it (apt-get install redis-server)")
            });
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(folder.join("redis.sock")) {
                Ok(stream) => break stream,
                Err(error) => {
                    let ended = process.try_wait().expect("a child");
                    assert!(ended.is_none(), "{program} has ended at once");
                    assert!(begun.elapsed() < PATIENCE, "{error}");
                    std::thread::yield_now();
                }
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Server {
            process,
            folder,
            stream: BufReader::new(stream),
        }
    }

    fn ask(&mut self, line: &str) -> Reply {
        let stream = self.stream.get_mut();
        write!(stream, "{line}\r\n").expect("written");
        Reply::read(&mut self.stream)
    }

    /// `redis-7.0.15`.
    fn version(&mut self) -> String {
        let info = self.ask("INFO server").text();
        let of = |key: &str| info.lines().find_map(|line| line.strip_prefix(key));
        match (of("valkey_version:"), of("redis_version:")) {
            (Some(version), _) => format!("valkey-{version}"),
            (None, Some(version)) => format!("redis-{version}"),
            (None, None) => panic!("{info}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A reply in RESP2.
#[derive(Debug)]
enum Reply {
    Text(String),
    Number(i64),
    Array(Vec<Reply>),
}

impl Reply {
    fn read(stream: &mut impl BufRead) -> Reply {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        let rest = line[1..].trim_end();
        let number = || rest.parse::<i64>().expect("a number");
        match line.as_bytes()[0] {
            b'+' => Reply::Text(rest.to_owned()),
            b':' => Reply::Number(number()),
            b'$' => {
                let mut text = vec![0; usize::try_from(number() + 2).expect("a string")];
                stream.read_exact(&mut text).expect("a string");
                text.truncate(text.len() - 2);
                Reply::Text(String::from_utf8(text).expect("UTF-8"))
            }
            b'*' => Reply::Array((0..number()).map(|_| Reply::read(stream)).collect()),
            _ => panic!("{line}"),
        }
    }

    fn text(self) -> String {
        match self {
            Reply::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    fn array(self) -> Vec<Reply> {
        match self {
            Reply::Array(array) => array,
            other => panic!("no array: {other:?}"),
        }
    }

    fn words(self) -> String {
        let mut words: Vec<_> = self.array().into_iter().map(Reply::text).collect();
        words.sort();
        words.join(",").replace('@', "")
    }
}

/// The lines of a snapshot for what `COMMAND` answers: the name, the number of its arguments, its
/// flags, and its categories.
fn lines(commands: Reply, lines: &mut BTreeMap<String, String>) {
    for command in commands.array() {
        let mut parts = command.array().into_iter();
        let mut next = || parts.next().expect("a part");
        let name = next().text().to_ascii_lowercase();
        let Reply::Number(arity) = next() else {
            panic!("{name} without a number of arguments");
        };
        let flags = next().words();
        // The first and the last key, and the step.
        let _ = (next(), next(), next());
        let categories = next().words();
        // Tips and where keys are.
        let _ = (next(), next());
        let line = format!(
            "{name} {arity} {} {}",
            or_none(&flags),
            or_none(&categories)
        );
        self::lines(next(), lines);
        lines.insert(name, line);
    }
}

fn or_none(words: &str) -> &str {
    if words.is_empty() { "-" } else { words }
}

/// The names in what `COMMAND DOCS` answers.
fn documented(docs: Reply, names: &mut BTreeSet<String>) {
    let mut docs = docs.array().into_iter();
    while let (Some(name), Some(facts)) = (docs.next(), docs.next()) {
        names.insert(name.text().to_ascii_lowercase());
        let mut facts = facts.array().into_iter();
        while let (Some(key), Some(value)) = (facts.next(), facts.next()) {
            if key.text() == "subcommands" {
                documented(value, names);
            }
        }
    }
}

/// Whether a command, `client|kill`, is in the table: with its subcommand, or as a whole.
fn is_decided(name: &str, decisions: &BTreeMap<&str, String>) -> bool {
    let name = name.to_ascii_uppercase().replace('|', " ");
    let (container, _) = name.split_once(' ').unwrap_or((&name, ""));
    let whole = || {
        !decisions
            .keys()
            .any(|known| known.starts_with(&format!("{container} ")))
    };
    decisions.contains_key(&*name) || decisions.contains_key(container) && whole()
}

#[test]
#[ignore = "needs redis-server: .ci/redis runs it"]
fn every_command_of_a_real_server_has_a_decision() {
    let mut server = Server::start();
    let version = server.version();
    let mut said = BTreeMap::new();
    lines(server.ask("COMMAND"), &mut said);
    let mut names: BTreeSet<_> = said.keys().cloned().collect();
    documented(server.ask("COMMAND DOCS"), &mut names);
    assert!(names.len() > 200, "{version} has {} commands", names.len());

    let mut snapshot = format!(
        "# What {version} answers to COMMAND: name, number of arguments, flags, categories. Written by\n\
         # MILLPOND_WRITE=1 REDIS_SERVER=(the program) cargo test --package millpond --test presets \
         redis -- --ignored\n"
    );
    for line in said.values() {
        writeln!(snapshot, "{line}").expect("written");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = manifest.join(format!("tests/presets/redis/{version}.txt"));
    if env::var_os("MILLPOND_WRITE").is_some() {
        fs::write(&path, &snapshot).expect("written");
    }
    match fs::read_to_string(&path) {
        Ok(written) => assert!(
            written == snapshot,
            "{} isn't what the server says; MILLPOND_WRITE=1 writes it",
            path.display()
        ),
        Err(_) => println!("no snapshot of {version}: only its names are compared"),
    }

    let decisions: BTreeMap<_, _> = Redis::commands().collect();
    let undecided: Vec<_> = names
        .iter()
        .filter(|name| !is_decided(name, &decisions))
        .collect();
    assert!(
        undecided.is_empty(),
        "{version}: without a decision: {undecided:?}"
    );
    println!(
        "{version}: {} commands and subcommands, all with a decision",
        names.len()
    );
}
