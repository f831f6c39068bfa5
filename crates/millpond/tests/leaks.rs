//! A connection that is lent for too long is warned of through `tracing`, once, with the place that acquired it.
//!
//! The only test of its process: `tracing` caches for all threads who is interested in an event, as seen by whichever thread meets it
//! first, and other tests' threads hear nothing.

mod common;

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
        heard[0].contains(&format!("acquired_at=crates/millpond/tests/leaks.rs:{line}:")),
        "{heard:?}"
    );
    assert!(
        heard[0].contains("connection=2") && heard[0].contains("leak threshold"),
        "{heard:?}"
    );
}

mod warnings {
    //! Hears what is warned of.

    use std::{
        fmt::{Debug, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{
        Event, Level, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    #[derive(Clone, Default)]
    pub(super) struct Warnings(Arc<Mutex<Vec<String>>>);

    impl Warnings {
        pub(super) fn heard(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{field}={value:?} ").unwrap();
        }
    }

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN && metadata.target() == "millpond::pool"
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
}
