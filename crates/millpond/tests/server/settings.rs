//! Settings given to a server all at once, and what it says of them.

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    net::{ListenOptions, Listener},
    server::{ServeError, Server, ServerSettings, raw},
};

use crate::serving::serve_with;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn settings_hold_as_a_whole_and_setters_change_single_ones() {
    let mut settings = ServerSettings::default();
    settings.max_connections = 1;
    settings.idle_timeout = Some(SECOND);
    let echo = raw(async |body: Bytes| Ok(body));
    let builder = Server::builder(echo)
        .max_connections(7)
        .settings(settings.clone())
        .max_in_flight(3);
    let site = serve_with(builder).await;
    settings.max_in_flight = 3;
    assert_eq!(site.running.settings(), &settings);

    let mut first = site.connect().await;
    assert_eq!(first.ask("1").await, "1");
    let _ = site.connect().await.rest_or_reset().await;
    assert_eq!(site.snapshot().totals.refused_max_connections, 1);
    let since = tokio::time::Instant::now();
    assert_eq!(first.rest().await, b"");
    assert_eq!(since.elapsed().as_secs(), 1, "by idle_timeout");
}

#[tokio::test]
async fn settings_that_are_out_of_their_range_are_named_when_serving_begins() {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default())
        .await
        .expect("a listener");
    let mut settings = ServerSettings::default();
    settings.max_handled = 0;
    let echo = raw(async |body: Bytes| Ok(body));
    let refused = Server::builder(echo).settings(settings).serve(listener);
    match refused {
        Err(ServeError::Setting(error)) => assert_eq!(error.setting, "max_handled"),
        other => panic!("{other:?}"),
    }
}
