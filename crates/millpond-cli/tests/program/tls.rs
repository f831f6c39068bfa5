//! TLS connections that fail: the errors, and their advice.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use crate::common::{Authority, Folder, Served, run};

/// A self-signed CA certificate, as `openssl req -x509 -nodes` makes it.
fn self_made(folder: &Folder) -> (String, String) {
    let mut params = CertificateParams::new([String::from("localhost"), String::from("127.0.0.1")])
        .expect("names");
    params
        .distinguished_name
        .push(DnType::CommonName, "self made");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (
        folder.write("own.pem", &certificate.pem()),
        folder.write("own.key", &key.serialize_pem()),
    )
}

#[test]
fn a_cas_own_certificate_is_told_by_serve_with_what_to_make_and_by_call_in_plain_words() {
    let folder = Folder::new();
    let (cert, key) = self_made(&folder);
    let mut served = Served::start_at(
        "tls://127.0.0.1:0",
        &["--tls-cert", &cert, "--tls-key", &key],
    );
    let told = served.event("doubtful_certificate");
    let reason = told["reason"].as_str().expect("text");
    for part in [
        "CA:TRUE",
        "openssl req -x509",
        "-addext basicConstraints=critical,CA:FALSE",
        &cert,
        &key,
    ] {
        assert!(reason.contains(part), "{part:?} is missing: {reason}");
    }
    let called = served.call(&["--ca", &cert, "1"]);
    assert_eq!(called.code, Some(3), "{called:?}");
    for part in ["the peer's certificate is that of a CA", "CA:FALSE"] {
        assert!(called.err.contains(part), "{part:?} is missing: {called:?}");
    }
    assert!(!called.err.contains("Other("), "{called:?}");
}

#[test]
fn who_shows_no_certificate_was_not_connected_and_nothing_was_executed() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = authority.write(&folder, "ca.pem");
    let (cert, key) = authority.issue(&folder, "127.0.0.1");
    let identity = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let served = Served::start_at("tls://127.0.0.1:0", &identity);
    let called = served.call(&["--ca", &ca, "1"]);
    assert_eq!(called.code, Some(3), "{called:?}");
    assert!(called.err.contains("--cert and --key"), "{called:?}");
    assert!(!called.err.contains("executed"), "{called:?}");
    for mode in [&[][..], &["--pipelined"]] {
        let to = ["call", "--to", &served.endpoint, "--ca", &ca, "-"];
        let lines = run(&[&to, mode].concat(), "1\n");
        assert!(
            lines.out.contains("--cert and --key") && lines.out.contains("-32000"),
            "{lines:?}"
        );
        assert!(!lines.out.contains("executed"), "{lines:?}");
    }
    let measured = run(&["bench", "--to", &served.endpoint, "--ca", &ca], "");
    assert_eq!(measured.code, Some(3), "{measured:?}");
    assert!(measured.err.contains("--cert and --key"), "{measured:?}");
}

#[test]
fn errors_name_flags() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = authority.write(&folder, "ca.pem");
    let (cert, key) = authority.issue(&folder, "pond.example");
    let served = Served::start_at(
        "tls://127.0.0.1:0",
        &["--tls-cert", &cert, "--tls-key", &key],
    );
    let (other, _) = self_made(&folder);
    for (flags, flag) in [
        (["--ca", ca.as_str()], "with --server-name"),
        (["--ca", other.as_str()], "with --ca,"),
    ] {
        for command in [["call", "1"], ["bench", "--requests=1"]] {
            let called = run(
                &[
                    &[command[0], "--to", &served.endpoint, command[1]],
                    &flags[..],
                ]
                .concat(),
                "",
            );
            assert_eq!(called.code, Some(3), "{called:?}");
            assert!(called.err.contains(flag), "{called:?}");
        }
    }
}

#[test]
fn a_file_that_cant_be_used_is_told_with_its_flag() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = authority.write(&folder, "ca.pem");
    let (cert, key) = authority.issue(&folder, "localhost");
    let missing = folder.file("missing.pem");
    // Well-formed PEM with four bytes of nothing in it.
    let no_certificate = folder.write(
        "no-certificate.pem",
        "-----BEGIN CERTIFICATE-----\nAAAAAA==\n-----END CERTIFICATE-----\n",
    );
    let no_key = folder.write(
        "no-key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAAAA==\n-----END PRIVATE KEY-----\n",
    );
    let to = ["call", "--to", "tls://127.0.0.1:1", "1"];
    let listen = ["serve", "--listen", "tls://127.0.0.1:0"];
    for (command, flags, said) in [
        (&to[..], &["--ca", &missing][..], "error: --ca: "),
        (
            &to,
            &["--ca", &ca, "--cert", &missing, "--key", &key],
            "error: --cert: ",
        ),
        (&to, &["--cert", &cert, "--key", &ca], "error: --key: "),
        (
            &to,
            &["--ca", &no_certificate, "--cert", &cert, "--key", &key],
            "error: --ca: no CA certificate",
        ),
        (
            &to,
            &["--cert", &no_certificate, "--key", &key],
            "error: --cert: the first certificate (",
        ),
        (
            &to,
            &["--cert", &cert, "--key", &no_key],
            "error: --key: the private key (",
        ),
        (
            &listen,
            &["--tls-cert", &no_certificate, "--tls-key", &key],
            "error: --tls-cert: the first certificate (",
        ),
        (
            &listen,
            &["--tls-cert", &cert, "--tls-key", &no_key],
            "error: --tls-key: the private key (",
        ),
        (
            &listen,
            &["--tls-cert", &cert, "--tls-key", &missing],
            "error: --tls-key: ",
        ),
        (
            &listen,
            &[
                "--tls-cert",
                &cert,
                "--tls-key",
                &key,
                "--tls-client-ca",
                &missing,
            ],
            "error: --tls-client-ca: ",
        ),
    ] {
        let refused = run(&[command, flags].concat(), "");
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (Some(2), ""),
            "{flags:?}: {refused:?}"
        );
        assert!(refused.err.starts_with(said), "{flags:?}: {}", refused.err);
    }
}
