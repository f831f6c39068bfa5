//! What an error is caused by is its source, by type, and is said once.

mod common;

use std::{error::Error, fmt, io, time::Duration};

use common::{Endpoint, SECOND};
use millpond::{
    Chain,
    pool::{AcquireError, DialError, Pool, WithError, connect_with},
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

fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn found<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    sources(error).find_map(|error| error.downcast_ref())
}

/// No error says what its source says as well.
fn says_each_once(error: &(dyn Error + 'static)) {
    for link in sources(error) {
        if let Some(source) = link.source() {
            assert!(
                !link.to_string().contains(&source.to_string()),
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
        found::<LoginRefused>(&error).expect("among the sources").code,
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

    let error = pool.with(async |()| Ok::<_, io::Error>(())).await.unwrap_err();
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
    let failed = pool.with(async |_| Err::<(), _>(refused())).await.unwrap_err();
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
    let failed = pool.with(async |_| Err::<(), Boxed>(refused().into())).await;
    let failed: Boxed = failed.map_err(WithError::flatten).unwrap_err();
    assert!(failed.downcast_ref::<LoginRefused>().is_some());
    drop(pool.close(SECOND));
    let closed = pool.with(async |_| Ok::<(), Boxed>(())).await;
    let closed: Boxed = closed.map_err(WithError::flatten).unwrap_err();
    assert!(matches!(closed.downcast_ref(), Some(AcquireError::Closed)));
}
