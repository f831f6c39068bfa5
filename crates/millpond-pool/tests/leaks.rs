//! A connection that is lent for too long is warned of through `tracing`, once, with the place that
//! acquired it.
//!
//! The only test of its process: `tracing` caches for all threads who is interested in an event, as
//! seen by whichever thread meets it first, and other tests' threads hear nothing.

mod common;
mod warnings;

use common::{Endpoint, MS, SECOND, pass};

#[tokio::test(start_paused = true)]
async fn a_leak_is_warned_of_once_with_its_place_and_a_shared_lease_never() {
    let warnings = warnings::Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().leak_threshold(SECOND).build().unwrap();
    let _shared = pool.acquire().shared().await.unwrap();
    let _lent = pool.acquire().await.unwrap();
    let line = line!() - 1;
    pass(500 * MS).await;
    assert!(warnings.heard().is_empty());
    tokio::time::sleep(10 * SECOND).await;
    let heard = warnings.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].contains(&format!(
            "acquired_at=crates/millpond-pool/tests/leaks.rs:{line}:"
        )),
        "{heard:?}"
    );
    assert!(
        heard[0].contains("connection=2") && heard[0].contains("leak threshold"),
        "{heard:?}"
    );
}
