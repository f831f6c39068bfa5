//! Settings as a value: all at once, with the builder's defaults, and read from and written to serde
//! formats as people write them.

use std::time::Duration;

use crate::common::{Endpoint, SECOND};
use millpond_pool::{BuildError, PoolSettings};

#[tokio::test(start_paused = true)]
async fn the_defaults_are_the_builders() {
    let endpoint = Endpoint::new();
    let usual = endpoint.pool().build().unwrap();
    let defaults = endpoint.pool().settings(PoolSettings::default());
    assert_eq!(defaults.build().unwrap().settings(), usual.settings());
}

#[tokio::test(start_paused = true)]
async fn all_are_taken_at_once_and_checked_when_the_pool_is_built() {
    let endpoint = Endpoint::new();
    let mut settings = PoolSettings::default();
    (settings.max_size, settings.acquire_timeout) = (3, Some(2 * SECOND));
    let builder = endpoint.pool().max_size(7).name("orders");
    let pool = builder.settings(settings.clone()).build().unwrap();
    let built = pool.settings();
    assert_eq!((built.max_size, built.name.as_deref()), (3, Some("pool")));
    assert_eq!(built.acquire_timeout, Some(2 * SECOND));

    settings.close_timeout = Duration::ZERO;
    let Err(BuildError::Setting(error)) = endpoint.pool().settings(settings).build() else {
        panic!("out of its range")
    };
    assert_eq!(error.setting, "close_timeout");
}

#[cfg(feature = "serde")]
mod serialized {
    use super::*;
    use millpond_pool::{Backoff, Order, Probe, Shedding};
    use serde_json::{from_value, json, to_value};

    #[test]
    fn they_come_back_as_they_were_written() {
        let mut settings = PoolSettings::default();
        let back = |settings: &PoolSettings| from_value(to_value(settings).unwrap()).unwrap();
        assert_eq!(settings, back(&settings));

        settings.name = Some(String::from("orders"));
        (settings.max_size, settings.min_idle) = (7, 2);
        (settings.max_waiting, settings.max_connecting) = (8, 1);
        settings.acquire_timeout = None;
        settings.connect_timeout = Duration::from_nanos(1_234_567_891);
        settings.check_timeout = Duration::from_millis(1);
        settings.close_timeout = Duration::from_micros(1);
        settings.idle_timeout = None;
        settings.max_lifetime = Some(Duration::from_nanos(86_400_000_000_001));
        settings.outage_grace = Duration::ZERO;
        settings.backoff = Backoff {
            base: Duration::from_millis(10),
            max: Duration::from_secs(100 * 365 * 24 * 60 * 60),
            ..Backoff::default()
        };
        settings.order = Order::Fifo;
        settings.leak_threshold = None;
        settings.shed_waiting = Some(Shedding {
            target: Duration::from_millis(20),
            interval: SECOND,
        });
        for probe in [
            Some(Probe::Never),
            Some(Probe::Always),
            Some(Probe::WhenIdleFor(Duration::from_millis(1_500))),
        ] {
            settings.probe = probe;
            assert_eq!(settings, back(&settings));
        }
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        let settings: PoolSettings = from_value(json!({})).unwrap();
        assert_eq!(settings, PoolSettings::default());
        let settings: PoolSettings =
            from_value(json!({ "backoff": { "max_seconds": 1 } })).unwrap();
        assert_eq!(settings.backoff.max, SECOND);
        let settings: PoolSettings = from_value(json!({ "shed_waiting": {} })).unwrap();
        assert_eq!(settings.shed_waiting, Some(Shedding::default()));
        assert_eq!(settings.backoff.base, Backoff::default().base);
    }

    #[test]
    fn times_are_seconds_and_never_is_a_word() {
        let settings: PoolSettings = from_value(json!({
            "acquire_timeout_seconds": 0.25,
            "connect_timeout_seconds": 2,
            "idle_timeout_seconds": "never",
            "max_lifetime_seconds": null,
            "probe": { "when_idle_for_seconds": 30 },
        }))
        .unwrap();
        assert_eq!(settings.acquire_timeout, Some(Duration::from_millis(250)));
        assert_eq!(settings.connect_timeout, 2 * SECOND);
        assert_eq!((settings.idle_timeout, settings.max_lifetime), (None, None));
        assert_eq!(settings.probe, Some(Probe::WhenIdleFor(30 * SECOND)));

        let written = to_value(&settings).unwrap();
        assert_eq!(written["acquire_timeout_seconds"], json!(0.25));
        assert_eq!(written["idle_timeout_seconds"], json!("never"));
        assert_eq!(written["probe"], json!({ "when_idle_for_seconds": 30.0 }));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_named() {
        let refused = |json: serde_json::Value| {
            let read = from_value::<PoolSettings>(json);
            read.unwrap_err().to_string()
        };
        for (json, expected) in [
            (json!({ "max_sise": 4 }), "unknown field `max_sise`"),
            (
                json!({ "backoff": { "maximum": 4 } }),
                "unknown field `maximum`",
            ),
            (
                json!({ "connect_timeout_seconds": "never" }),
                "invalid value: string \"never\", expected a number of seconds",
            ),
            (
                json!({ "connect_timeout_seconds": null }),
                "invalid type: null, expected a number of seconds",
            ),
            (
                json!({ "idle_timeout_seconds": "5 s" }),
                "invalid value: string \"5 s\", expected a number of seconds, or \"never\"",
            ),
            (
                json!({ "idle_timeout_seconds": -1 }),
                "invalid value: integer `-1`, expected a number of seconds, or \"never\"",
            ),
            (
                json!({ "idle_timeout_seconds": -0.5 }),
                "invalid value: floating point `-0.5`, expected a number of seconds",
            ),
            (
                json!({ "idle_timeout_seconds": 1e300 }),
                "invalid value: floating point `1e+300`, expected a number of seconds",
            ),
        ] {
            let said = refused(json);
            assert!(said.starts_with(expected), "{said}");
        }
    }

    /// Written by a pool that was built, they build the same pool.
    #[tokio::test(start_paused = true)]
    async fn those_of_a_pool_build_another_like_it() {
        let endpoint = Endpoint::new();
        let pool = endpoint.pool().name("orders").probe(Probe::Always);
        let pool = pool.idle_timeout(None).build().unwrap();
        let written = serde_json::to_string(&pool.settings()).unwrap();
        let read: PoolSettings = serde_json::from_str(&written).unwrap();
        let like_it = endpoint.pool().settings(read).build().unwrap();
        assert_eq!(like_it.settings(), pool.settings());
    }
}
