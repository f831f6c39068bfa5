//! What is read from which text, and what is refused, where and in which words.

mod properties;

use std::net::{Ipv6Addr, SocketAddr};

use super::{parse::LONGEST_PATH, *};

fn tcp(host: Host, port: u16) -> Endpoint {
    Endpoint::Tcp(HostPort { host, port })
}

fn address(text: &str) -> Host {
    Host::Address(text.parse().expect("an address"))
}

fn name(text: &str) -> Host {
    Host::Name(text.parse().expect("a name"))
}

fn unix(path: &str) -> Endpoint {
    Endpoint::Unix(PathBuf::from(path))
}

fn refused(text: &str) -> EndpointError {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{text:?} was read as {endpoint}"),
        Err(error) => error,
    }
}

#[test]
fn a_good_text_is_read_and_written_canonically() {
    let mapped = Host::Address(IpAddr::V6(Ipv6Addr::new(
        0, 0, 0, 0, 0, 0xffff, 0x102, 0x304,
    )));
    for (text, endpoint, canonical) in [
        (
            "localhost:80",
            tcp(name("localhost"), 80),
            "tcp://localhost:80",
        ),
        (
            "tcp://DB.Example.com:5432",
            tcp(name("db.example.com"), 5432),
            "tcp://db.example.com:5432",
        ),
        ("TCP://a:1", tcp(name("a"), 1), "tcp://a:1"),
        (
            "tcp://example.com.:1",
            tcp(name("example.com."), 1),
            "tcp://example.com.:1",
        ),
        (
            "tcp://_srv._tcp.a_b:1",
            tcp(name("_srv._tcp.a_b"), 1),
            "tcp://_srv._tcp.a_b:1",
        ),
        (
            "tcp://xn--bcher-kva.example:1",
            tcp(name("xn--bcher-kva.example"), 1),
            "tcp://xn--bcher-kva.example:1",
        ),
        (
            "tcp://3com.com:1",
            tcp(name("3com.com"), 1),
            "tcp://3com.com:1",
        ),
        ("tcp://0x7g.1:1", tcp(name("0x7g.1"), 1), "tcp://0x7g.1:1"),
        // Schemes as hosts.
        ("tcp:80", tcp(name("tcp"), 80), "tcp://tcp:80"),
        ("unix:80", tcp(name("unix"), 80), "tcp://unix:80"),
        (
            "127.0.0.1:0",
            tcp(address("127.0.0.1"), 0),
            "tcp://127.0.0.1:0",
        ),
        (
            "tcp://0.0.0.0:65535",
            tcp(address("0.0.0.0"), 65535),
            "tcp://0.0.0.0:65535",
        ),
        ("tcp://a:00080", tcp(name("a"), 80), "tcp://a:80"),
        ("[::1]:80", tcp(address("::1"), 80), "tcp://[::1]:80"),
        (
            "tcp://[2001:DB8:0::1]:80",
            tcp(address("2001:db8::1"), 80),
            "tcp://[2001:db8::1]:80",
        ),
        (
            "[::ffff:1.2.3.4]:5",
            tcp(mapped, 5),
            "tcp://[::ffff:1.2.3.4]:5",
        ),
        (
            "unix:///run/a.sock",
            unix("/run/a.sock"),
            "unix:///run/a.sock",
        ),
        (
            "Unix:///run/A b%20@:é?#",
            unix("/run/A b%20@:é?#"),
            "unix:///run/A b%20@:é?#",
        ),
    ] {
        assert_eq!(text.parse::<Endpoint>().as_ref(), Ok(&endpoint), "{text}");
        assert_eq!(endpoint.to_string(), canonical);
    }
}

#[test]
fn what_is_as_long_as_may_be_is_read() {
    let label = "a".repeat(63);
    let longest = [&*label, &*label, &*label, &"b".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for host in [format!("{longest}."), longest] {
        let text = format!("tcp://{host}:1");
        assert_eq!(text.parse(), Ok(tcp(name(&host), 1)));
    }
    let path = format!("/{}", "p".repeat(LONGEST_PATH - 1));
    assert_eq!(format!("unix://{path}").parse(), Ok(unix(&path)));
}

const KNOWN: &str = if cfg!(feature = "tls") {
    "write tcp://host:port, tls://host:port or unix:///path"
} else {
    "write tcp://host:port or unix:///path, or tls://host:port with the feature `tls`"
};

/// Texts without quotes and backslashes, so that an error shows them as they are: the position,
/// what is wrong, what to do.
const REFUSED: &[(&str, usize, &str, &str)] = &[
    (
        "",
        1,
        "no endpoint",
        "write tcp://host:port or unix:///path",
    ),
    (" a:1", 1, "white space", "remove it"),
    // Schemes.
    ("://a:1", 1, "no scheme", KNOWN),
    ("redis://a:1", 1, "unknown scheme", KNOWN),
    ("udp://a:1", 1, "unknown scheme", KNOWN),
    ("tpc://a:1", 1, "unknown scheme", "did you mean tcp://?"),
    ("TP://a:1", 1, "unknown scheme", "did you mean tcp://?"),
    ("tcp4://a:1", 1, "unknown scheme", "did you mean tcp://?"),
    ("tcps://a:1", 1, "unknown scheme", "did you mean tls://?"),
    ("ssl://a:1", 1, "unknown scheme", "did you mean tls://?"),
    ("tsl://a:1", 1, "unknown scheme", "did you mean tls://?"),
    ("unxi:///a", 1, "unknown scheme", "did you mean unix:///?"),
    ("http://a:1", 1, "unknown scheme", HTTP),
    ("HTTPS://a/b", 1, "unknown scheme", HTTP),
    ("tcp:/a:1", 4, "no \"://\" after the scheme", KNOWN),
    ("unix:/run/@a", 5, "no \"://\" after the scheme", KNOWN),
    (
        "/run/@a",
        1,
        "a path without a scheme",
        "write unix:// before it",
    ),
    // What URLs have, and endpoints haven't.
    ("tcp://a:1/", 10, "a slash at the end", ENDS),
    ("a:1/b", 4, "a path", ENDS),
    ("tcp://a/b", 8, "a path", ENDS),
    ("tcp://a:1?b", 10, "a query", ENDS),
    ("tcp://a:1#b", 10, "a fragment", ENDS),
    // Ports.
    ("tcp://a", 8, "no port", "write host:port"),
    ("8080", 5, "no port", "write host:port"),
    ("tcp://a:", 9, "no port", PORT),
    ("tcp://a:http", 9, "no digit in the port", PORT),
    ("tcp://a:1x", 10, "no digit in the port", PORT),
    ("tcp://a:+1", 9, "no digit in the port", PORT),
    ("tcp://a:-1", 9, "no digit in the port", PORT),
    ("tcp://a:١", 9, "no digit in the port", PORT),
    ("tcp://a:1 ", 10, "no digit in the port", PORT),
    ("tcp://a:65536", 9, "a port beyond 65535", PORT),
    ("tcp://a:000080", 14, "a sixth digit in the port", PORT),
    // Addresses.
    (
        "tcp://::1:80",
        7,
        "an IPv6 address without brackets",
        BRACKETS,
    ),
    (
        "fe80::1%eth0:80",
        1,
        "an IPv6 address without brackets",
        BRACKETS,
    ),
    (
        "1:2:3:4:5:6:7:8:80",
        1,
        "an IPv6 address without brackets",
        BRACKETS,
    ),
    ("::1", 1, "an IPv6 address without brackets", BRACKETS),
    ("db:80:90", 6, "a second \":\"", "write host:port"),
    ("[fe80::1%eth0]:80", 9, "a zone id", ZONE),
    ("[::1:80", 1, "\"[\" without \"]\"", "write [address]:port"),
    (
        "[::1]",
        6,
        "no port after the address",
        "write [address]:port",
    ),
    (
        "[::1]80",
        6,
        "no port after the address",
        "write [address]:port",
    ),
    ("[::1]:x", 7, "no digit in the port", PORT),
    ("tcp://[]:80", 8, "no IPv6 address in brackets", IPV6),
    ("tcp://[::g]:80", 8, "no IPv6 address in brackets", IPV6),
    ("[127.0.0.1]:80", 2, "no IPv6 address in brackets", IPV6),
    (
        "tcp://1.2.3:80",
        7,
        "a number that is no IPv4 address",
        NUMBER,
    ),
    (
        "256.1.1.1:80",
        1,
        "a number that is no IPv4 address",
        NUMBER,
    ),
    (
        "0127.0.0.1:80",
        1,
        "a number that is no IPv4 address",
        NUMBER,
    ),
    (
        "127.0.0.1.:80",
        1,
        "a number that is no IPv4 address",
        NUMBER,
    ),
    (
        "2130706433:80",
        1,
        "a number that is no IPv4 address",
        NUMBER,
    ),
    ("0X7f.1:80", 1, "a number that is no IPv4 address", NUMBER),
    // Names.
    ("tcp://", 7, "no host", "write host:port"),
    ("tcp://:80", 7, "no host", ANY),
    ("tcp://a..b:1", 9, "an empty label", LABEL),
    ("tcp://.a:1", 7, "an empty label", LABEL),
    ("tcp://a.b..:1", 11, "an empty label", LABEL),
    (".:1", 1, "an empty label", LABEL),
    (
        "tcp://é.b:1",
        7,
        "a character beyond ASCII",
        "write the name as xn--…",
    ),
    ("tcp://a b:1", 8, "a character that no name has", CHARACTERS),
    (
        "tcp://a.b%20:1",
        10,
        "a character that no name has",
        CHARACTERS,
    ),
    ("tcp://a.-b:1", 9, "\"-\" at a label's edge", EDGE),
    ("tcp://a.b-:1", 10, "\"-\" at a label's edge", EDGE),
    // Unix sockets.
    ("unix://", 8, "no absolute path", SLASHES),
    ("unix://run/a", 8, "no absolute path", SLASHES),
    ("unix://@a", 8, "no absolute path", SLASHES),
    (
        "unix:///run/",
        12,
        "a slash at the end of the path",
        "name the socket, not a folder",
    ),
    (
        "unix:///",
        8,
        "a slash at the end of the path",
        "name the socket, not a folder",
    ),
];

const HTTP: &str =
    "this speaks plain sockets, not HTTP; write tcp://host:port, or tls://host:port for TLS";
const ENDS: &str = "an endpoint ends with its port";
const PORT: &str = "a port is a number from 0 to 65535";
const BRACKETS: &str = "put it in brackets: [address]:port";
const IPV6: &str = "write it as in [::1]:80, and names and IPv4 addresses without brackets";
const ZONE: &str = "endpoints have none, since it means something on one machine only; use an address that needs none";
const NUMBER: &str = "write four numbers from 0 to 255 without leading zeros; resolvers read others in surprising ways";
const ANY: &str =
    "write 127.0.0.1 for this machine, or to listen on all its addresses 0.0.0.0 or [::]";
const LABEL: &str = "a name has something between its dots";
const CHARACTERS: &str = "use letters, digits, \"-\", \"_\" and dots";
const EDGE: &str = "a label begins and ends with a letter, a digit or \"_\"";
const SLASHES: &str = "write three slashes, as in unix:///run/name.sock";

#[test]
fn a_bad_text_is_refused_in_words_that_help() {
    for &(text, position, problem, advice) in REFUSED {
        let error = refused(text);
        assert_eq!(
            error.to_string(),
            format!("{problem} at character {position} of \"{text}\"; {advice}")
        );
        assert_eq!((error.position(), error.input()), (position, text));
        let spaces = " ".repeat(position - 1);
        assert_eq!(
            format!("{error:#}"),
            format!("{problem} at character {position}; {advice}\n    {text}\n    {spaces}^")
        );
    }
}

#[test]
fn what_is_too_long_is_refused_with_both_figures() {
    let long = LONGEST_PATH + 1;
    let label = "a".repeat(64);
    let labels = format!("{}bb", "a.".repeat(126));
    let path = format!("/{}", "p".repeat(LONGEST_PATH));
    let accents = format!("/p{}", "é".repeat(LONGEST_PATH / 2));
    for (text, position, begin, end) in [
        (
            format!("tcp://x.{label}:1"),
            72,
            String::from("a label of 64 characters at character 72 of"),
            "; a label has at most 63",
        ),
        (
            format!("{labels}:1"),
            254,
            String::from("a name of 254 characters at character 254 of"),
            "; a name has at most 253",
        ),
        (
            format!("unix://{path}"),
            long + 7,
            format!(
                "a path of {long} bytes, of which {LONGEST_PATH} fit, at character {} of",
                long + 7
            ),
            "; use a shorter path or a symbolic link to its folder",
        ),
        (
            format!("unix://{accents}"),
            7 + 2 + LONGEST_PATH / 2,
            format!("a path of {long} bytes, of which {LONGEST_PATH} fit, at character"),
            "; use a shorter path or a symbolic link to its folder",
        ),
    ] {
        let error = refused(&text);
        let message = error.to_string();
        assert!(message.starts_with(&begin), "{message}");
        assert!(message.ends_with(end), "{message}");
        assert_eq!(error.position(), position, "{message}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_a_tls_endpoint_is_refused_and_the_feature_named() {
    assert_eq!(
        refused("TLS://a:1").to_string(),
        "tls:// in a build without TLS at character 1 of \"TLS://a:1\"; add the feature `tls` of millpond"
    );
}

#[cfg(feature = "tls")]
#[test]
fn with_tls_a_tls_endpoint_is_read() {
    let endpoint = Endpoint::Tls(HostPort {
        host: name("a"),
        port: 1,
    });
    assert_eq!("TLS://A:1".parse(), Ok(endpoint.clone()));
    assert_eq!(endpoint.to_string(), "tls://a:1");
    assert_eq!(refused("tls://a:x").position(), 9);
}

#[test]
fn what_a_terminal_might_execute_is_escaped_and_the_caret_still_points_at_the_fault() {
    let error = refused("tcp://a\u{1b}[31m:1");
    let advice = "use letters, digits, \"-\", \"_\" and dots";
    assert_eq!(
        error.to_string(),
        format!(
            "a character that no name has at character 8 of \"tcp://a\\u{{1b}}[31m:1\"; {advice}"
        )
    );
    let error = refused("unix:///\u{202e}\"a\nb");
    assert_eq!(
        format!("{error:#}"),
        concat!(
            "a control character in the path at character 12; remove it\n",
            "    unix:///\\u{202e}\\\"a\\nb\n",
            "                       ^",
        )
    );
    let error = refused("unix:///a\0");
    assert_eq!(
        error.to_string(),
        "a control character in the path at character 10 of \"unix:///a\\0\"; remove it"
    );
}

#[test]
fn of_a_long_text_only_what_is_around_the_fault_is_shown() {
    let error = refused(&format!(
        "tcp://{}!{}:1",
        "a".repeat(1_000),
        "b".repeat(1_000)
    ));
    let (before, behind) = ("a".repeat(60), "b".repeat(59));
    assert_eq!(
        format!("{error:#}"),
        format!(
            "a character that no name has at character 1007; use letters, digits, \"-\", \"_\" and dots\n    \
             …{before}!{behind}…\n    {}^",
            " ".repeat(61)
        )
    );
}

#[test]
fn a_password_is_never_told() {
    for (text, input, message) in [
        (
            "tcp://jo:sécret@a:1",
            "tcp://*********@a:1",
            "user info at character 7 of \"tcp://*********@a:1\"; an endpoint has none: remove everything up to \"@\"",
        ),
        (
            "jo:secr/et@a:1",
            "**********@a:1",
            "user info at character 1 of \"**********@a:1\"; an endpoint has none: remove everything up to \"@\"",
        ),
        (
            "jo:s://cret@a:1",
            "***********@a:1",
            "user info at character 1 of \"***********@a:1\"; an endpoint has none: remove everything up to \"@\"",
        ),
        (
            "redis://:s@e@a:1",
            "redis://****@a:1",
            &format!("unknown scheme at character 1 of \"redis://****@a:1\"; {KNOWN}"),
        ),
    ] {
        let error = refused(text);
        assert_eq!((error.input(), &*error.to_string()), (input, message));
        assert!(!format!("{error:#} {error:?}").contains("cret"));
    }
}

#[test]
fn a_name_is_judged_alone_too() {
    let name: HostName = "A-1.b.".parse().expect("a name");
    assert_eq!((name.as_str(), &*name.to_string()), ("a-1.b.", "a-1.b."));
    let refused = |text: &str| text.parse::<HostName>().expect_err("no name").to_string();
    assert_eq!(
        refused("127.0.0.1"),
        "an address instead of a name at character 1 of \"127.0.0.1\"; use Host::Address"
    );
    assert_eq!(
        refused("a.b-"),
        "\"-\" at a label's edge at character 4 of \"a.b-\"; \
         a label begins and ends with a letter, a digit or \"_\""
    );
    assert!(refused("::1").starts_with("a character that no name has at character 1"));
    assert!(refused("").starts_with("an empty label at character 1"));
}

#[test]
fn endpoints_come_from_socket_addresses_and_strings() {
    let v6: SocketAddr = "[fe80::1%3]:80".parse().expect("an address");
    assert_eq!(Endpoint::from(v6).to_string(), "tcp://[fe80::1]:80");
    assert_eq!(Endpoint::try_from("a:1"), Ok(tcp(name("a"), 1)));
    assert_eq!(
        Endpoint::try_from(String::from("a:1")),
        Ok(tcp(name("a"), 1))
    );
    assert_eq!(Endpoint::try_from("a"), Err(refused("a")));
}

#[cfg(feature = "serde")]
#[test]
fn as_json_an_endpoint_is_its_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let endpoint = tcp(name("a"), 1);
    let json = serde_json::to_string(&endpoint).expect("JSON");
    assert_eq!(json, "\"tcp://a:1\"");
    assert_eq!(
        serde_json::from_str::<Endpoint>(&json).expect("an endpoint"),
        endpoint
    );
    let error = serde_json::from_str::<Endpoint>("\"a:x\"").expect_err("no port");
    assert_eq!(error.to_string(), refused("a:x").to_string());

    let relative = serde_json::to_string(&unix("a")).expect_err("a relative path");
    assert_eq!(relative.to_string(), refused("unix://a").to_string());
    let unreadable = Endpoint::Unix(PathBuf::from(OsStr::from_bytes(b"/\xff")));
    let error = serde_json::to_string(&unreadable).expect_err("not UTF-8");
    assert_eq!(
        error.to_string(),
        "a socket's path that isn't UTF-8 has no text; rename it"
    );
}
