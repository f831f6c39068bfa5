//! Users of a route: their hashes by `millpond hash-secret`, their logins, and what is wrong with
//! those that a file has.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use crate::{
    common::{Folder, Served, millpond, run, terminal},
    proxy::Proxy,
};

/// Sends each line, and answers the first line of each reply.
fn told(endpoint: &str, lines: &[&str]) -> Vec<String> {
    let address = endpoint.strip_prefix("tcp://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let mut replies = BufReader::new(stream.try_clone().expect("a copy"));
    let told = lines.iter().map(|line| {
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .expect("sent");
        let mut reply = String::new();
        replies.read_line(&mut reply).expect("a reply");
        if reply.starts_with('$') {
            reply.clear();
            replies.read_line(&mut reply).expect("a text");
        }
        reply.trim_end().to_owned()
    });
    told.collect()
}

fn routes(folder: &Folder, users: &str) -> String {
    let text = format!(
        "[route.cache]\nlisten = '127.0.0.1:0'\nto = '127.0.0.1:1'\nframing = 'redis'\n{users}\n"
    );
    folder.write("routes.toml", &text)
}

#[test]
fn who_is_in_the_file_can_log_in_with_the_secret_that_was_hashed() {
    let hash = run(&["hash-secret"], "open sesame\n");
    assert_eq!(hash.code, Some(0), "{hash:?}");
    let is_one_line = hash.out.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        && hash.out.ends_with('\n')
        && hash.out.lines().count() == 1;
    assert!(is_one_line, "{hash:?}");
    let folder = Folder::new();
    let file = folder.write("app.hash", &hash.out);
    let upstream = Served::start(&["--framing", "redis"]);
    let text = format!(
        "[route.cache]\nlisten = '127.0.0.1:0'\nto = '{}'\nframing = 'redis'\n\
         [route.cache.users]\napp = {{ secret_hash = '${{file:{file}}}', commands = ['@read'] }}\n",
        upstream.endpoint
    );
    let config = folder.write("routes.toml", &text);
    assert_eq!(
        run(&["proxy", "--config", &config, "--check"], "").code,
        Some(0)
    );
    let mut proxy = Proxy::start(&["--config", &config]);
    let endpoint = proxy.listening();
    let replies = told(
        &endpoint,
        &[
            "GET a",
            "AUTH app sesame",
            "AUTH app 'open sesame'",
            "GET a",
            "SET a b",
        ],
    );
    assert_eq!(
        replies,
        [
            "-NOAUTH Authentication required.",
            "-WRONGPASS invalid username-password pair or user is disabled.",
            "+OK",
            "a",
            "-NOPERM User app has no permissions to run the 'set' command",
        ]
    );
    assert_eq!(told(&endpoint, &["AUTH app 'open sesame'"]), ["+OK"]);
    let (drained, _) = proxy.drained();
    let totals = &drained["proxy"]["totals"];
    assert_eq!(totals["logins"], 2, "{drained}");
    assert_eq!(
        (&totals["logins_failed"], &totals["secrets_hashed"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn what_is_wrong_with_users_is_told_and_no_secret_is() {
    let folder = Folder::new();
    let hash =
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$TBSdABQuZLF0aGxfvmjRWmwZkPKG6bZdOrRqCA0H1xE";
    for (users, said) in [
        (
            "users.app.secret_hash = 'sesame'",
            "users.app: secret_hash: it is no hash of argon2",
        ),
        (
            "users.app.secret_hash = '$scrypt$sesame'",
            "millpond hash-secret makes one",
        ),
        (
            "users.app.secret_hash = '${env:NEVER_SET_HERE}'",
            "isn't set",
        ),
        (
            "users.app.secret_hsh = 'sesame'",
            "did you mean secret_hash?",
        ),
        ("users.app = {}", "secret_hash"),
        ("users.app = 'sesame'", "a table with secret_hash"),
        (
            "users.app = { secret_hash = 'sesame', commands = ['gte'] }",
            "there is no command gte",
        ),
        ("users = {}", "users is empty"),
        (
            &format!("users.app = {{ secret_hash = '{hash}', commands = ['gte'] }}"),
            "there is no command gte; did you mean GET?",
        ),
        (
            &format!("users.app = {{ secret_hash = '{hash}', commands = ['config get'] }}"),
            "CONFIG is never sent",
        ),
    ] {
        let checked = run(
            &["proxy", "--config", &routes(&folder, users), "--check"],
            "",
        );
        assert_eq!(checked.code, Some(2), "{users}: {checked:?}");
        assert!(checked.err.contains(said), "{users}: {}", checked.err);
        assert!(!checked.err.contains("sesame"), "{users}: {}", checked.err);
        assert!(
            checked.err.contains("routes.toml, line "),
            "{}",
            checked.err
        );
    }
    let other =
        "[route.a]\nlisten = '127.0.0.1:0'\nto = '127.0.0.1:1'\nusers.app.secret_hash = 'x'\n";
    let other = folder.write("other.toml", other);
    let checked = run(&["proxy", "--config", &other, "--check"], "");
    assert!(
        checked.err.contains("users are for framing redis"),
        "{}",
        checked.err
    );
    let alone =
        "[route.a]\nlisten = '127.0.0.1:0'\nto = '127.0.0.1:1'\nframing.redis.users.app = {}\n";
    let alone = folder.write("alone.toml", alone);
    let checked = run(&["proxy", "--config", &alone, "--check"], "");
    assert_eq!(checked.code, Some(2));
    assert!(checked.err.contains("have no secrets"), "{}", checked.err);
}

#[test]
fn a_secret_that_is_none_is_not_hashed() {
    for (input, said) in [
        ("", "the secret is empty"),
        ("\r\n", "the secret is empty"),
        (&"x".repeat((16 << 10) + 1)[..], "more than 16 KiB"),
    ] {
        let hash = run(&["hash-secret"], input);
        assert_eq!((hash.code, hash.out.as_str()), (Some(2), ""));
        assert!(hash.err.contains(said), "{}", hash.err);
    }
}

/// What is shown at a terminal where this is typed, each at its own prompt; and the exit code.
fn typed(typed: &[&str]) -> (String, Option<i32>) {
    let (mut window, end) = terminal(80);
    let mut command = millpond(&["hash-secret"]);
    let [input, output] = [&end, &end].map(|end| end.try_clone().expect("a descriptor"));
    let mut child = command
        .stdin(input)
        .stdout(output)
        .stderr(end)
        .spawn()
        .expect("the program");
    drop(command);
    let mut shown = Vec::new();
    for keys in typed {
        let begins = shown.len();
        while !shown[begins..].ends_with(b": ") {
            let mut byte = [0];
            window.read_exact(&mut byte).expect("a prompt");
            shown.push(byte[0]);
        }
        window.write_all(keys.as_bytes()).expect("typed");
    }
    // A terminal's end is an error.
    let _ = window.read_to_end(&mut shown);
    let code = child.wait().expect("its end").code();
    (String::from_utf8(shown).expect("text"), code)
}

#[test]
fn at_a_terminal_the_secret_is_asked_for_twice_and_never_shown() {
    let (shown, code) = typed(&["sesamf\u{7f}e\r", "sesame\r"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("$argon2id$") && !shown.contains("sesam"),
        "{shown}"
    );
    let (shown, code) = typed(&["sesame\r", "Sesame\r"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("these are two secrets") && !shown.contains("esame"),
        "{shown}"
    );
    let (shown, code) = typed(&["sesame\u{3}"]);
    assert_eq!(code, Some(130), "{shown}");
    assert!(
        !shown.contains("sesame") && !shown.contains("$argon2id$"),
        "{shown}"
    );
}
