//! That endpoints survive being written, and that texts nobody thought of are refused in order.

use std::net::IpAddr;

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof, proptest},
    sample::select,
    test_runner::{Config, RngSeed},
};

use super::{
    super::{Endpoint, Host, HostName, HostPort},
    name, unix,
};

/// What texts are made of that get deep into the grammar.
#[rustfmt::skip]
const PIECES: [&str; 29] = [
    "tcp", "TLS", "unix", "http", "://", ":", "/", "[", "]", "::1", "fe80::", "%", "@", ".", "-", "_", "a", "0x", "127.0.0.1",
    "80", "99999", "é", "中", "\u{1b}", "\0", " ", "?", "#", "pppppppppppppppppppppppppppppp\"",
];

fn hosts() -> impl Strategy<Value = Host> {
    let names =
        "[a-z_]([a-z0-9_-]{0,9}[a-z0-9_])?(\\.[a-z0-9_]([a-z0-9_-]{0,9}[a-z0-9_])?){0,4}\\.?";
    prop_oneof![
        any::<IpAddr>().prop_map(Host::Address),
        names.prop_map(|text| name(&text)),
    ]
}

/// The kinds of endpoint that have a host and a port.
const HAVE_PORTS: &[fn(HostPort) -> Endpoint] = &[
    Endpoint::Tcp,
    #[cfg(feature = "tls")]
    Endpoint::Tls,
];

fn endpoints() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        (hosts(), any::<u16>(), select(HAVE_PORTS))
            .prop_map(|(host, port, kind)| kind(HostPort { host, port })),
        "(/[a-z@%:?#é ]{1,9}){1,5}".prop_map(|path| unix(&path)),
    ]
}

/// Texts that get deep into the grammar.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => select(&PIECES[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop_oneof![
        vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        any::<String>()
    ]
}

proptest! {
    #![proptest_config(Config {
        cases: 5_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    })]

    #[test]
    fn what_is_written_is_read_as_the_same(endpoint in endpoints()) {
        let text = endpoint.to_string();
        let same: Endpoint = text.parse().expect("a canonical text");
        assert_eq!(&same, &endpoint);
        assert_eq!(same.to_string(), text);
    }

    #[test]
    fn any_text_is_read_or_refused_at_a_place_within_it(text in pieces()) {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => assert_eq!(endpoint.to_string().parse(), Ok(endpoint)),
            Err(error) => {
                let characters = text.chars().count();
                assert!((1..=characters + 1).contains(&error.position()), "{error}");
                assert_eq!(error.input().chars().count(), characters);
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                let drawing = format!("{error:#}");
                let lines: Vec<_> = drawing.lines().collect();
                assert_eq!(lines.len(), 3, "{drawing}");
                assert!(lines[2].trim_start() == "^" && lines[2].chars().count() <= lines[1].chars().count() + 1);
            }
        }
        let _ = text.parse::<HostName>();
    }
}
