//! The pipelined client, as its callers and its server see it. What only the pure machine knows is
//! tested there; here a server does exactly what a test says, and every reply tells whose it is.

mod changed;
mod dropped;
mod ends;
mod limits;
mod losses;
mod replies;
mod times;
mod together;
mod trial;
mod verbs;

use tokio::{task::JoinHandle, time::Instant};

use super::*;
use crate::client::{Execution, Loss, PipelinesSnapshot, Pipelining, RequestError};

type Asked = JoinHandle<Result<Vec<u8>, RequestError>>;

/// A pipelined client's builder, with one connection at most.
fn pipelined(depth: usize) -> (ClientBuilder, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    (builder.pipelined(Pipelining::default().depth(depth)), port)
}

/// How a request is sent.
#[derive(Clone, Copy, Default)]
struct Manner {
    within: Option<Duration>,
    idempotent: bool,
    priority: Option<Priority>,
}

const IDEMPOTENT: Manner = Manner {
    within: None,
    idempotent: true,
    priority: None,
};

fn within(deadline: Duration) -> Manner {
    Manner {
        within: Some(deadline),
        ..Manner::default()
    }
}

fn urgent(priority: Priority) -> Manner {
    Manner {
        priority: Some(priority),
        ..Manner::default()
    }
}

fn pipelines(client: &Client) -> PipelinesSnapshot {
    client.snapshot().pipelines.expect("it is pipelined")
}

/// The exchanges in flight on each connection.
fn in_flight(client: &Client) -> Vec<usize> {
    pipelines(client).in_flight.into_values().collect()
}

fn waiting_bytes(client: &Client) -> usize {
    pipelines(client).waiting_bytes
}

/// A request whose caller runs beside the test.
fn asked<F: Framing>(client: &Client<F>, body: impl Into<Vec<u8>>) -> Asked {
    asked_so(client, Manner::default(), body)
}

fn asked_so<F: Framing>(client: &Client<F>, manner: Manner, body: impl Into<Vec<u8>>) -> Asked {
    let (client, body) = (client.clone(), body.into());
    tokio::spawn(async move {
        let mut requests = client.requests();
        if let Some(deadline) = manner.within {
            requests = requests.within(deadline);
        }
        if manner.idempotent {
            requests = requests.idempotent();
        }
        if let Some(priority) = manner.priority {
            requests = requests.priority(priority);
        }
        requests.exchange(&body).await.map(|reply| reply.to_vec())
    })
}

/// So many callers, whose bodies are their numbers from `first` on, and who begin in that order.
async fn all_asked<F: Framing>(client: &Client<F>, first: usize, count: usize) -> Vec<Asked> {
    let numbers = first..first + count;
    let all = numbers
        .map(|number| asked(client, number.to_string()))
        .collect();
    settle().await;
    all
}

#[track_caller]
fn reply_of(asked: Asked) -> impl Future<Output = String> {
    let place = std::panic::Location::caller();
    async move {
        match timeout(FOREVER, asked)
            .await
            .expect("an end")
            .expect("no panic")
        {
            Ok(reply) => String::from_utf8(reply).expect("text"),
            Err(error) => panic!("at {place}: {error}"),
        }
    }
}

#[track_caller]
fn error_of(asked: Asked) -> impl Future<Output = RequestError> {
    let place = std::panic::Location::caller();
    async move {
        match timeout(FOREVER, asked)
            .await
            .expect("an end")
            .expect("no panic")
        {
            Ok(reply) => panic!("at {place}: a reply: {reply:?}"),
            Err(error) => error,
        }
    }
}

/// Each has got the reply that says its number.
async fn assert_all_answered(all: Vec<Asked>, first: usize) {
    for (number, asked) in (first..).zip(all) {
        assert_eq!(reply_of(asked).await, number.to_string());
    }
}

impl Far {
    /// The requests that have arrived as a whole, without time passing.
    async fn arrived(&mut self) -> Vec<String> {
        settle().await;
        let mut all = Vec::new();
        while let Ok(Some(body)) = cut(1, self.request_or_end()).await {
            all.push(String::from_utf8(body).expect("text"));
        }
        all
    }

    /// Replies with these bodies, in one piece.
    async fn replies(&mut self, bodies: &[String]) {
        let wire: Vec<u8> = bodies
            .iter()
            .flat_map(|body| frame(body.as_bytes()))
            .collect();
        self.send(&wire).await;
    }
}

/// Proves to the client that its server reads frames. The pipeline is live, and nothing is in
/// flight.
async fn proven<F: Framing>(client: &Client<F>, port: &mut Port) -> Far {
    let both = all_asked(client, 0, 2).await;
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    far.replies(&["0".into(), "1".into()]).await;
    assert_all_answered(both, 0).await;
    far
}

fn numbers(of: std::ops::Range<usize>) -> Vec<String> {
    of.map(|number| number.to_string()).collect()
}

#[track_caller]
fn assert_lost(error: &RequestError, by: impl Fn(&Loss) -> bool, execution: Execution) {
    let RequestError::Lost {
        cause,
        execution: told,
    } = error
    else {
        panic!("{error:?}");
    };
    assert!(by(cause) && *told == execution, "{error:?}");
}

/// After the last reply, until its connection has been given back.
const QUIET: Duration = Duration::from_millis(300);
