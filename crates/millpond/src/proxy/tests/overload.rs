//! More requests come than the upstream answers: how many are answered in time, and how soon all is
//! as it was.
//!
//! With `MILLPOND_OVERLOAD` each overload lasts for so many seconds, by the paused clock, instead of
//! one or two:
//!
//! ```text
//! MILLPOND_OVERLOAD=30 cargo test --release --package millpond --lib an_overload -- --nocapture
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::{
    task::JoinHandle,
    time::{Instant, interval, timeout},
};

use super::{Duration, MS, SECOND, Scene};
use crate::{client::Pipelining, pool::Shedding};

/// Eight connections, each with an exchange of 10 ms, or two with four each: what the upstream answers
/// in a second.
const CAPACITY: usize = 800;

/// What became of the requests that began within one period.
#[derive(Debug, Default)]
struct Tally {
    /// Answered within the client's deadline.
    in_time: AtomicUsize,
    /// Told that they weren't executed.
    refused: AtomicUsize,
    /// The longest until that was told, in milliseconds.
    longest_until_refused: AtomicUsize,
    /// Given up: the client closed its connection.
    given_up: AtomicUsize,
}

impl Tally {
    /// All were answered in time.
    fn is_normal(&self) -> bool {
        self.refused.load(Relaxed) + self.given_up.load(Relaxed) == 0
    }
}

/// Clients come at a rate, whatever becomes of those before, each with one request on a connection
/// of its own, and leave at their deadline. Returns when the last has come.
async fn load(scene: &Arc<Scene>, per_second: usize, lasts: Duration, patience: Duration) -> Load {
    let tally = Arc::new(Tally::default());
    let mut clients = Vec::new();
    let mut ticks = interval(MS);
    let (began, mut come) = (Instant::now(), 0);
    while began.elapsed() < lasts {
        ticks.tick().await;
        let due = per_second * (began.elapsed().as_millis() as usize) / 1_000;
        for number in come..due {
            let (scene, tally) = (Arc::clone(scene), Arc::clone(&tally));
            clients.push(tokio::spawn(async move {
                let began = Instant::now();
                let body = format!("[{number}]");
                let mut client = scene.connect();
                let count = match timeout(patience, client.ask(body.as_bytes())).await {
                    Err(_) => &tally.given_up,
                    Ok(reply) if reply == body.as_bytes() => &tally.in_time,
                    Ok(reply) => {
                        let reply = String::from_utf8(reply).expect("text");
                        // By the route, or by its server, of whose clients too many wait.
                        assert!(reply.contains("-32001"), "{reply}");
                        let took = began.elapsed().as_millis() as usize;
                        tally.longest_until_refused.fetch_max(took, Relaxed);
                        &tally.refused
                    }
                };
                count.fetch_add(1, Relaxed);
            }));
        }
        come = due;
    }
    Load { tally, clients }
}

struct Load {
    tally: Arc<Tally>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// When all have their replies, are told, or have left.
    async fn ended(self) -> Tally {
        for client in self.clients {
            client
                .await
                .expect("its own reply, or it is told that there is none");
        }
        Arc::into_inner(self.tally).expect("all have ended")
    }
}

/// How an overload went.
struct Went {
    /// Of the capacity, as long as it lasted.
    goodput: f64,
    /// After it, with half of the capacity asked for: from when on all were answered in time.
    normal_after: Duration,
    tally: Tally,
}

/// How long an overload lasts, and whether that was asked for.
fn lasts(usual: Duration) -> (Duration, bool) {
    let seconds = std::env::var("MILLPOND_OVERLOAD");
    let asked = seconds.map(|text| Duration::from_secs(text.parse().expect("a number")));
    asked.map_or((usual, false), |asked| (asked, true))
}

/// Two pipelines, with as many exchanges in flight as eight connections.
fn pipelining() -> Pipelining {
    Pipelining::default().depth(4)
}

async fn overload(
    pipelining: Option<Pipelining>,
    times: usize,
    lasts: Duration,
    shedding: Option<Shedding>,
    patience: Duration,
) -> Went {
    let max_size = if pipelining.is_some() { 2 } else { 8 };
    let scene = Arc::new(Scene::with(
        10 * MS,
        pipelining,
        move |pool| pool.max_size(max_size).shed_waiting(shedding),
        |server| server.max_handled(8 + 1_024),
    ));
    let normal = load(&scene, CAPACITY / 2, SECOND / 2, patience).await;
    assert!(normal.ended().await.is_normal());
    let overload = load(&scene, times * CAPACITY, lasts, patience).await;
    let answered = overload.tally.in_time.load(Relaxed);
    let goodput = answered as f64 / (CAPACITY as f64 * lasts.as_secs_f64());
    let mut after = Vec::new();
    for _ in 0..30 {
        after.push(load(&scene, CAPACITY / 2, SECOND / 10, patience).await);
    }
    let mut normal_after = Duration::ZERO;
    for (tenth, load) in (1..).zip(after) {
        if !load.ended().await.is_normal() {
            normal_after = SECOND / 10 * tenth;
        }
    }
    let tally = overload.ended().await;
    println!(
        "{}{times} times the capacity for {lasts:?}, clients leave after {patience:?}, {}: {:.1} % of the capacity in time; \
         {} refused after {} ms at most, {} given up; normal after {normal_after:?}",
        pipelining.map_or("", |_| "pipelined, "),
        shedding.map_or("not shed", |_| "shed"),
        100.0 * goodput,
        tally.refused.load(Relaxed),
        tally.longest_until_refused.load(Relaxed),
        tally.given_up.load(Relaxed),
    );
    Went {
        goodput,
        normal_after,
        tally,
    }
}

#[tokio::test(start_paused = true)]
async fn with_shedding_an_overload_costs_hardly_any_of_what_can_be_answered() {
    let (lasts, _) = lasts(SECOND);
    let cases = [None, Some(pipelining())].map(|mode| [(mode, 2, 0.95), (mode, 10, 0.90)]);
    for (pipelining, times, least) in cases.into_iter().flatten() {
        let went = overload(
            pipelining,
            times,
            lasts,
            Some(Shedding::default()),
            250 * MS,
        )
        .await;
        assert!(went.goodput >= least, "{}", went.goodput);
        assert!(went.normal_after <= SECOND, "{:?}", went.normal_after);
        assert_eq!(
            went.tally.given_up.into_inner(),
            0,
            "told before they leave"
        );
    }
}

/// What it is for: whom the line serves in its order has left, or is about to.
#[tokio::test(start_paused = true)]
async fn without_shedding_an_overload_costs_most_of_it_unless_all_are_patient() {
    let (lasts, is_asked) = lasts(2 * SECOND);
    let cases = [(None, 2), (Some(pipelining()), 2), (None, 10)];
    for (pipelining, times) in cases {
        if times == 2 || is_asked {
            let went = overload(pipelining, times, lasts, None, 250 * MS).await;
            assert!(went.goodput < 0.5, "{}", went.goodput);
            assert!(went.normal_after < 3 * SECOND, "{:?}", went.normal_after);
            // The line holds 1,024, which takes 1.28 s.
            let went = overload(pipelining, times, lasts, None, 2 * SECOND).await;
            assert!(went.goodput >= 0.95, "{}", went.goodput);
        }
    }
}
