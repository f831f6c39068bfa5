//! What an error is caused by is its source, by type, and is said once.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use crate::common::{Endpoint, SECOND};
use millpond::{
    Chain,
    client::{Execution, Loss, RequestError},
    framing::{FrameError, json::JsonError},
    net::{self, ConnectError, Dialer, ListenFailure, ListenOptions, Listener},
    pool::{AcquireError, DialError, Pool, WithError, connect_with},
    server::ServeError,
};

/// A connector's own error, with a cause.
#[derive(Debug)]
struct LoginRefused {
    code: u16,
    cause: io::Error,
}

impl fmt::Display for LoginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "login refused with {}", self.code)
    }
}

impl Error for LoginRefused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

fn refused() -> LoginRefused {
    LoginRefused {
        code: 530,
        cause: io::Error::other("the disk is full"),
    }
}

fn sources<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn found<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    sources(error).find_map(|error| error.downcast_ref())
}

/// No error says what its source says as well, not even with a small letter and without the
/// system's number.
fn says_each_once(error: &(dyn Error + 'static)) {
    let words = |error: &dyn Error| {
        let text = error.to_string();
        let words = text.split(" (os error").next().unwrap_or_default();
        words.to_lowercase()
    };
    for link in sources(error) {
        if let Some(source) = link.source() {
            assert!(
                !words(link).contains(&words(source)),
                "{link}; source: {source}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_connectors_own_error_is_found_by_its_type() {
    let pool = Pool::builder(connect_with(async || Err::<(), _>(refused())))
        .outage_grace(Duration::ZERO)
        .build()
        .unwrap();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(
        found::<LoginRefused>(&error)
            .expect("among the sources")
            .code,
        530
    );
    assert!(found::<DialError>(&error).is_some());
    assert!(found::<io::Error>(&error).is_some());
    says_each_once(&error);
    assert_eq!(
        Chain(&error).to_string(),
        "the endpoint is unavailable: dials have failed, 1 in a row, the last just now: the dial failed: \
         login refused with 530: the disk is full"
    );

    let error = pool
        .with(async |()| Ok::<_, io::Error>(()))
        .await
        .unwrap_err();
    assert!(
        found::<LoginRefused>(&error).is_some(),
        "through WithError as well"
    );
    says_each_once(&error);
}

#[tokio::test(start_paused = true)]
async fn what_holds_a_failed_dial_without_being_caused_by_it_tells_its_causes_in_its_text() {
    let pool = Pool::builder(connect_with(async || Err::<(), _>(refused())))
        .min_idle(1)
        .build()
        .unwrap();
    let not_ready = pool.ready(SECOND / 2).await.unwrap_err();
    assert!(
        not_ready
            .to_string()
            .ends_with(" ago: login refused with 530: the disk is full"),
        "{not_ready}"
    );
    let late = pool.acquire().timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(late, AcquireError::TimedOut(_)), "{late}");
    assert!(
        late.to_string()
            .ends_with(" ago: login refused with 530: the disk is full"),
        "{late}"
    );
    assert!(late.source().is_none() && not_ready.source().is_none());
    let failure = pool.snapshot().last_failure.expect("dials have failed");
    assert_eq!(failure.cause, "login refused with 530: the disk is full");
}

#[tokio::test(start_paused = true)]
async fn the_error_of_an_exchange_keeps_its_sources() {
    let pool = Endpoint::new().pool().build().unwrap();
    let failed = pool
        .with(async |_| Err::<(), _>(refused()))
        .await
        .unwrap_err();
    assert_eq!(failed.to_string(), "login refused with 530");
    assert!(found::<io::Error>(&failed).is_some());
    says_each_once(&failed);
    assert_eq!(
        Chain(&failed).to_string(),
        "login refused with 530: the disk is full"
    );
}

#[tokio::test(start_paused = true)]
async fn an_exchange_may_fail_with_a_box() {
    type Boxed = Box<dyn Error + Send + Sync>;
    let pool = Endpoint::new().pool().build().unwrap();
    let failed = pool
        .with(async |_| Err::<(), Boxed>(refused().into()))
        .await;
    let failed: Boxed = failed.map_err(WithError::flatten).unwrap_err();
    assert!(failed.downcast_ref::<LoginRefused>().is_some());
    drop(pool.close(SECOND));
    let closed = pool.with(async |_| Ok::<(), Boxed>(())).await;
    let closed: Boxed = closed.map_err(WithError::flatten).unwrap_err();
    assert!(matches!(closed.downcast_ref(), Some(AcquireError::Closed)));
}

/// An error, and whether its cause is found in its chain.
type Case = (Box<dyn Error>, fn(&(dyn Error + 'static)) -> bool);

fn has<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    found::<E>(error).is_some()
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(104)
}

fn not_json() -> JsonError {
    JsonError::Invalid(serde_json::from_str::<()>("nul").unwrap_err())
}

fn not_utf8() -> JsonError {
    JsonError::NotUtf8(String::from_utf8(vec![0xff]).unwrap_err().utf8_error())
}

fn lost(cause: Loss) -> Box<dyn Error> {
    Box::new(RequestError::Lost {
        cause,
        execution: Execution::Possible,
    })
}

/// Every public error outside TLS that has a source, but for those that only a real endpoint makes.
fn cases() -> Vec<Case> {
    let dial_failed = || DialError::Failed(Arc::new(refused()));
    let unavailable = || AcquireError::Unavailable {
        failures: 3,
        ago: SECOND,
        cause: dial_failed(),
    };
    let not_pipelining = RequestError::NotPipelining {
        answered: 1,
        cause: Loss::Io(broken()),
        execution: Execution::Possible,
    };
    vec![
        (Box::new(dial_failed()), has::<LoginRefused>),
        (Box::new(unavailable()), has::<LoginRefused>),
        (
            Box::new(WithError::<io::Error>::Acquire(unavailable())),
            has::<LoginRefused>,
        ),
        (Box::new(WithError::Exchange(refused())), has::<io::Error>),
        (
            Box::new(RequestError::Acquire(unavailable())),
            has::<LoginRefused>,
        ),
        (
            Box::new(RequestError::Unserializable(not_json())),
            has::<JsonError>,
        ),
        (
            Box::new(RequestError::Unframeable(FrameError::Http)),
            has::<FrameError>,
        ),
        (
            Box::new(RequestError::NoFrame(FrameError::Tls)),
            has::<FrameError>,
        ),
        (Box::new(RequestError::Reply(not_json())), has::<JsonError>),
        (
            Box::new(RequestError::Reply(not_utf8())),
            has::<std::str::Utf8Error>,
        ),
        (lost(Loss::Closed), has::<Loss>),
        (lost(Loss::HeartbeatMissed), has::<Loss>),
        (lost(Loss::HeartbeatFlood), has::<Loss>),
        (lost(Loss::NoReply), has::<Loss>),
        (lost(Loss::StateChanged), has::<Loss>),
        (lost(Loss::HeadTimedOut), has::<Loss>),
        (lost(Loss::RuntimeEnded), has::<Loss>),
        (lost(Loss::Io(broken())), has::<io::Error>),
        (Box::new(not_pipelining), has::<io::Error>),
        (Box::new(not_utf8()), has::<std::str::Utf8Error>),
        (Box::new(ServeError::Listener(broken())), has::<io::Error>),
        (Box::new(ListenFailure::Resolve(broken())), has::<io::Error>),
        (Box::new(ListenFailure::Socket(broken())), has::<io::Error>),
    ]
}

fn check(cases: Vec<Case>) {
    for (error, finds_cause) in cases {
        says_each_once(&*error);
        assert!(
            finds_cause(&*error),
            "the cause isn't in the chain of: {error:?}"
        );
    }
}

#[test]
fn every_error_has_its_cause_as_its_source_and_not_in_its_text() {
    check(cases());
    let error = lost(Loss::Io(broken()));
    assert_eq!(
        Chain(&*error).to_string(),
        "the connection was lost before the reply came; it may have been executed: it broke: connection reset by peer"
    );
    // It says what the error in it says.
    assert_eq!(
        not_json().to_string(),
        "EOF while parsing a value at line 1 column 3"
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_or_listened_on_has_the_systems_error_as_its_source() {
    let (free, taken) = {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listen().local_addr().unwrap();
        (free, listen())
    };
    let error = Dialer::new(free.into()).dial().await.unwrap_err();
    says_each_once(&error);
    assert_eq!(
        found::<io::Error>(&error).map(io::Error::kind),
        Some(io::ErrorKind::ConnectionRefused)
    );
    let said = Chain(&error).to_string();
    let end = match cfg!(feature = "kernel") {
        true => " (nothing listens there): connection refused",
        false => ": connection refused",
    };
    assert!(said.ends_with(end), "{said}");

    let endpoint = net::Endpoint::from(taken.local_addr().unwrap());
    let error = Listener::bind(&endpoint, ListenOptions::default())
        .await
        .unwrap_err();
    says_each_once(&error);
    assert_eq!(
        found::<io::Error>(&error).map(io::Error::kind),
        Some(io::ErrorKind::AddrInUse)
    );
    assert_eq!(
        Chain(&error).to_string(),
        format!(
            "can't listen on {endpoint}: somebody listens there already; stop that, or choose another: address already in use"
        )
    );

    let pool = Pool::builder(millpond::connectors::StreamConnector::new(Dialer::new(
        free.into(),
    )))
    .outage_grace(Duration::ZERO)
    .build()
    .unwrap();
    let error = pool.acquire().await.unwrap_err();
    assert!(found::<ConnectError>(&error).is_some_and(ConnectError::is_refused));
    says_each_once(&error);
}

#[cfg(feature = "tls")]
#[test]
fn every_error_of_tls_has_its_cause_as_its_source_and_not_in_its_text() {
    use millpond::net::tls::{ServerName, Side, TlsConfigError, TlsError};
    use rustls::{AlertDescription, CertificateError, PeerIncompatible};

    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let alert = rustls::Error::AlertReceived;
    let errors = [
        TlsError::CertificateExpired {
            ago: None,
            source: rustls::Error::InvalidCertificate(CertificateError::Expired),
        },
        TlsError::CertificateNotYetValid {
            starts_in: None,
            source: rustls::Error::InvalidCertificate(CertificateError::NotValidYet),
        },
        TlsError::WrongName {
            expected: String::new(),
            presented: Vec::new(),
            source: rustls::Error::InvalidCertificate(CertificateError::NotValidForName),
        },
        TlsError::UnknownIssuer {
            side: Side::Client,
            source: rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
        },
        TlsError::CertificateRequired {
            source: alert(AlertDescription::CertificateRequired),
        },
        TlsError::CertificateMissing {
            source: rustls::Error::NoCertificatesPresented,
        },
        TlsError::OwnCertificateRefused {
            source: alert(AlertDescription::UnknownCA),
        },
        TlsError::NameNotServed {
            source: alert(AlertDescription::UnrecognisedName),
        },
        TlsError::NothingInCommon {
            source: rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
        },
        TlsError::NoCommonProtocol {
            source: rustls::Error::NoApplicationProtocol,
        },
        TlsError::NotTls {
            side: Side::Client,
            source: rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        },
        TlsError::Protocol(rustls::Error::DecryptError),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for error in errors {
        cases.push((Box::new(error), has::<rustls::Error>));
    }
    let in_handshake = TlsError::Io(broken());
    let refusal = TlsError::CertificateRequired {
        source: alert(AlertDescription::CertificateRequired),
    };
    let closed = TlsError::ClosedDuringHandshake {
        side: Side::Client,
        source: broken(),
    };
    let (key, certificates) = (String::from("key.pem"), String::from("cert.pem"));
    let unreadable = TlsConfigError::Unreadable {
        path: "cert.pem".into(),
        wanted: "certificates",
        source: broken(),
    };
    let unusable_certificate = TlsConfigError::UnusableCertificate {
        certificates,
        source: bad(),
    };
    let unusable_key = TlsConfigError::UnusableKey { key, source: bad() };
    let nameless = TlsConfigError::ServerName {
        name: String::from("a b"),
        source: ServerName::try_from("a b").unwrap_err(),
    };
    cases.extend::<[Case; 8]>([
        (Box::new(in_handshake), has::<io::Error>),
        (Box::new(closed), has::<io::Error>),
        (lost(Loss::Refused(Box::new(refusal))), has::<TlsError>),
        (Box::new(unreadable), has::<io::Error>),
        (Box::new(unusable_certificate), has::<rustls::Error>),
        (Box::new(unusable_key), has::<rustls::Error>),
        (Box::new(nameless), |error| error.source().is_some()),
        (
            Box::new(TlsConfigError::Refused(bad())),
            has::<rustls::Error>,
        ),
    ]);
    check(cases);
}
