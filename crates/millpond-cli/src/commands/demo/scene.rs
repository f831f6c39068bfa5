//! The founding scene, line by line: two requests at once open two sockets, and two more a second
//! later open none. The server tells which socket carried what: it sees the port that each request
//! comes from.

use std::{collections::BTreeSet, fmt, future::Future, time::Duration};

use millpond::{
    client::{Client, HeartbeatTotals, RequestError},
    framing::Failure,
    server::{Handler, Reply, Request, Server},
};
use serde::{Deserialize, Serialize};
use tokio::{
    select,
    time::{Instant, interval, sleep},
};

use super::error::DemoError;
use crate::commands::embedded::Embedded;
use crate::{screen::Screen, stop::Stop};

/// How long the server takes for a reply: long enough for two requests to overlap.
const REPLY_AFTER: Duration = Duration::from_millis(20);

/// The pause between the two pairs of requests.
const PAUSE: Duration = Duration::from_secs(1);

/// Short enough that both sides send some during the pause. The default is 10 s.
const HEARTBEATS: Duration = Duration::from_millis(600);

/// How often heartbeats are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scene {
    /// The local ports of the sockets that carried the first two requests.
    pub(super) first_ports: BTreeSet<u16>,
    /// And the two that followed.
    pub(super) later_ports: BTreeSet<u16>,
    /// How many sockets there were in all.
    pub(super) connections_opened: u64,
    /// The later requests used the same sockets, and no other was opened.
    pub(super) reused: bool,
    pub(super) heartbeats: HeartbeatTotals,
}

#[derive(Serialize, Deserialize)]
struct SceneReply {
    text: String,
    /// The port that the request came from.
    port: u16,
}

/// Answers a text with a text and the port that the request came from.
struct Article;

impl Handler for Article {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        sleep(REPLY_AFTER).await;
        let text: String = serde_json::from_slice(request.body()).map_err(failure)?;
        let reply = SceneReply {
            text: text.replace("request", "reply"),
            port: request.peer_addr().map_or(0, |peer| peer.port()),
        };
        serde_json::to_vec(&reply).map(Reply::from).map_err(failure)
    }
}

fn failure(error: impl fmt::Display) -> Failure {
    Failure::refused(error.to_string())
}

/// Plays the scene. `None` if it was stopped.
pub(super) async fn play(screen: &mut Screen, stop: &Stop) -> Result<Option<Scene>, DemoError> {
    let server =
        Embedded::start(|| Server::builder(Article).heartbeat_interval(HEARTBEATS)).await?;
    let client = Client::builder(server.address().into())
        .heartbeat_interval(HEARTBEATS)
        .pool(|pool| pool.name("scene").max_size(2))
        .build()?;
    let mut stage = Stage {
        began: Instant::now(),
        screen,
    };
    stage.say("two requests at once; no socket is open yet");
    let Some(first_ports) = stage
        .exchange(&client, ["request 1", "request 2"], stop)
        .await?
    else {
        return Ok(None);
    };
    let opened = client.pool().snapshot().totals.opened;
    stage.say(&format!(
        "{opened} sockets are open, named by their local port"
    ));
    if stage.pause(&client, stop).await.is_none() {
        return Ok(None);
    }
    stage.say("two more requests, a second later");
    let Some(later_ports) = stage
        .exchange(&client, ["request 3", "request 4"], stop)
        .await?
    else {
        return Ok(None);
    };
    let opened = client.pool().snapshot().totals.opened;
    let reused = opened == 2 && first_ports.len() == 2 && first_ports == later_ports;
    stage.say(&match reused {
        true => format!("the same two sockets carried them: {opened} opened in all"),
        false => format!("other sockets carried them: {opened} opened in all"),
    });
    Ok(Some(Scene {
        first_ports,
        later_ports,
        connections_opened: opened,
        reused,
        heartbeats: client.pool().connector().heartbeats(),
    }))
}

/// Where the scene is shown, each line with its time.
struct Stage<'s> {
    began: Instant,
    screen: &'s mut Screen,
}

impl Stage<'_> {
    fn say(&mut self, line: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.screen.wrapped(&format!("{at:6.3} s  "), line);
    }

    /// Sends both requests at once, and returns the local ports of their sockets.
    async fn exchange(
        &mut self,
        client: &Client,
        texts: [&str; 2],
        stop: &Stop,
    ) -> Result<Option<BTreeSet<u16>>, RequestError> {
        let [one, other] = texts.map(|text| client.request::<_, SceneReply>(text));
        let Some((one, other)) = unless_stopped(stop, async { tokio::join!(one, other) }).await
        else {
            return Ok(None);
        };
        let mut ports = BTreeSet::new();
        for (text, reply) in texts.into_iter().zip([one?, other?]) {
            self.say(&format!(
                "socket {:5}: {text} -> {:?}",
                reply.port, reply.text
            ));
            ports.insert(reply.port);
        }
        Ok(Some(ports))
    }

    /// Sends nothing, and tells of heartbeats as they are seen. `None` if it was stopped.
    async fn pause(&mut self, client: &Client, stop: &Stop) -> Option<()> {
        let until = self.began + PAUSE;
        let mut looks = interval(LOOK);
        let mut before = client.pool().connector().heartbeats();
        while Instant::now() < until {
            unless_stopped(stop, looks.tick()).await?;
            let now = client.pool().connector().heartbeats();
            if now != before {
                self.say(&format!(
                    "heartbeats while idle: {} sent, {} received",
                    now.sent, now.received
                ));
                before = now;
            }
        }
        Some(())
    }
}

async fn unless_stopped<T>(stop: &Stop, act: impl Future<Output = T>) -> Option<T> {
    select! {
        done = act => Some(done),
        () = stop.stopped() => None,
    }
}
