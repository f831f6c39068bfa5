//! A caller may give up at any instant. A driver polls an acquire and drops it at its first, second
//! … last `Pending`, and also between being woken and being polled; then two acquires at every pair
//! of such points. Each time nothing may be lost: the pool comes to rest, its counts agree with
//! what the endpoint sees, the next caller is served, and at the end all that was opened is closed.

use std::{sync::Arc, task::Poll, time::Duration};

use crate::common::{
    Act, Dial, Endpoint, Hand, MS, SECOND, Scripted, at_rest, close, consistent, pass,
    paused_runtime, settle,
};
use millpond_pool::{Acquire, Backoff, Connection, Eviction, Pool, Probe};

/// What the callers meet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scenario {
    WaitingInLine,
    DialInProgress,
    DialThatFailsOnce,
    DialThatFailsForGood,
    ProbeInProgress,
    ProbeThatFails,
    RejectedByCheck,
    GrantedThenRejectedByCheck,
    ResetInProgress,
    BehindAFarewell,
    Paused,
}

const SCENARIOS: [Scenario; 11] = [
    Scenario::WaitingInLine,
    Scenario::DialInProgress,
    Scenario::DialThatFailsOnce,
    Scenario::DialThatFailsForGood,
    Scenario::ProbeInProgress,
    Scenario::ProbeThatFails,
    Scenario::RejectedByCheck,
    Scenario::GrantedThenRejectedByCheck,
    Scenario::ResetInProgress,
    Scenario::BehindAFarewell,
    Scenario::Paused,
];

/// A pool of one in the midst of a scenario, and what is lent meanwhile until the third step.
struct Stage {
    scenario: Scenario,
    endpoint: Arc<Endpoint>,
    pool: Pool<Scripted>,
    lent: Option<Connection<Scripted>>,
}

impl Stage {
    async fn set(scenario: Scenario) -> Stage {
        let endpoint = Endpoint::new();
        let probe = match scenario {
            Scenario::ProbeInProgress | Scenario::ProbeThatFails => Probe::Always,
            _ => Probe::Never,
        };
        let backoff = Backoff {
            base: 2 * MS,
            max: 2 * MS,
            max_while_waiting: 2 * MS,
            max_when_reached: 2 * MS,
        };
        let grace = match scenario {
            Scenario::DialThatFailsForGood => Duration::ZERO,
            _ => SECOND,
        };
        let builder = endpoint.pool().max_size(1).probe(probe);
        let pool = builder
            .backoff(backoff)
            .outage_grace(grace)
            .build()
            .unwrap();
        let lent = match scenario {
            Scenario::DialInProgress
            | Scenario::DialThatFailsOnce
            | Scenario::DialThatFailsForGood => None,
            _ => Some(pool.acquire().await.unwrap()),
        };
        let mut stage = Stage {
            scenario,
            endpoint,
            pool,
            lent,
        };
        stage.prepare();
        settle().await;
        stage
    }

    fn prepare(&mut self) {
        let mut script = self.endpoint.script();
        let mut release_now = false;
        match self.scenario {
            Scenario::WaitingInLine => {}
            Scenario::DialInProgress => script.dial = Dial::Take(3 * MS),
            Scenario::DialThatFailsOnce => {
                script.dials.push_back(Dial::TakeAndFail(2 * MS, "refused"));
                script.dial = Dial::Take(2 * MS);
            }
            Scenario::DialThatFailsForGood => script.dial = Dial::TakeAndFail(3 * MS, "refused"),
            Scenario::ProbeInProgress => {
                script.probe = Act::Take(3 * MS);
                release_now = true;
            }
            Scenario::ProbeThatFails => {
                script.probe = Act::Fail;
                script.dial = Dial::Take(2 * MS);
                release_now = true;
            }
            Scenario::RejectedByCheck => {
                script.checks.push_back(Err(Eviction::PeerClosed));
                script.dial = Dial::Take(2 * MS);
                release_now = true;
            }
            Scenario::GrantedThenRejectedByCheck => {
                script.checks.push_back(Err(Eviction::PeerClosed));
                script.dial = Dial::Take(2 * MS);
            }
            Scenario::ResetInProgress => {
                script.needs_reset = true;
                script.reset = Act::Take(3 * MS);
                release_now = true;
            }
            Scenario::BehindAFarewell => {
                script.close = Act::Take(3 * MS);
                script.dial = Dial::Take(2 * MS);
            }
            Scenario::Paused => self.pool.pause(),
        }
        drop(script);
        if release_now {
            self.lent = None;
        }
    }

    /// The world goes on by a millisecond.
    async fn step(&mut self, number: usize) {
        if number == 2 {
            match self.lent.take() {
                Some(lent) if self.scenario == Scenario::BehindAFarewell => lent.discard(),
                lent => drop(lent),
            }
            self.pool.resume();
        }
        pass(MS).await;
    }

    /// The endpoint is well again, and the pool must be as if nobody had ever given up.
    async fn nothing_is_lost(mut self) {
        self.lent = None;
        self.pool.resume();
        {
            let mut script = self.endpoint.script();
            script.checks.clear();
            script.dials.clear();
            script.dial = Dial::Succeed;
            script.probe = Act::Pass;
            script.close = Act::Pass;
            script.needs_reset = false;
        }
        pass(20 * MS).await;
        let snapshot = consistent(&self.pool);
        assert_eq!((snapshot.waiting, snapshot.active), (0, 0), "{snapshot}");
        let next = self.pool.acquire().timeout(SECOND).await;
        drop(next.expect("the next caller is served"));
        settle().await;
        at_rest(&self.pool, 1);
        let totals = self.pool.snapshot().totals;
        assert_eq!(totals.lent, totals.released, "{totals:?}");
        close(&self.pool).await;
        assert_eq!(self.endpoint.created(), self.endpoint.destroyed());
    }
}

/// A caller that gives up at its `limit`-th point. Two points for each `Pending`: at once, and
/// after the world has gone on, when it may have been woken and granted a connection that it never
/// comes for.
struct Quitter<'p> {
    acquire: Option<Hand<Acquire<'p, Scripted>>>,
    points: usize,
    limit: usize,
    pendings: usize,
}

impl<'p> Quitter<'p> {
    fn new(pool: &'p Pool<Scripted>, limit: usize) -> Self {
        Quitter {
            acquire: Some(Hand::new(pool.acquire())),
            points: 0,
            limit,
            pendings: 0,
        }
    }

    fn done(&self) -> bool {
        self.acquire.is_none()
    }

    fn poll(&mut self) {
        let Some(acquire) = &mut self.acquire else {
            return;
        };
        match acquire.poll() {
            Poll::Ready(answer) => {
                drop(answer); // Refused or served: it goes.
                self.acquire = None;
            }
            Poll::Pending => {
                self.pendings += 1;
                self.pass_point();
            }
        }
    }

    fn pass_point(&mut self) {
        self.points += 1;
        if self.points == self.limit {
            self.acquire = None;
        }
    }

    fn world_went_on(&mut self) {
        if self.acquire.is_some() {
            self.pass_point();
        }
    }
}

const NEVER: usize = usize::MAX;

/// Runs two callers (or one: a limit of 0 keeps the second away) to their ends; says how many
/// points and `Pending`s each passed.
async fn run(scenario: Scenario, first: usize, second: usize) -> [(usize, usize); 2] {
    let mut stage = Stage::set(scenario).await;
    let pool = stage.pool.clone();
    let mut quitters = [Quitter::new(&pool, first), Quitter::new(&pool, second)];
    if second == 0 {
        quitters[1].acquire = None;
    }
    let mut steps = 0;
    loop {
        quitters.iter_mut().for_each(Quitter::poll);
        consistent(&stage.pool);
        if quitters.iter().all(Quitter::done) {
            break;
        }
        stage.step(steps).await;
        steps += 1;
        assert!(
            steps < 200,
            "{scenario:?} ({first}, {second}) doesn't end: {pool:?}"
        );
        quitters.iter_mut().for_each(Quitter::world_went_on);
    }
    let passed = quitters.map(|quitter| (quitter.points, quitter.pendings));
    stage.nothing_is_lost().await;
    passed
}

#[tokio::test(start_paused = true)]
async fn an_acquire_dropped_at_any_pending_point_loses_nothing() {
    for scenario in SCENARIOS {
        let [(points, pendings), _] = run(scenario, NEVER, 0).await;
        assert!(pendings > 0, "{scenario:?} has no pending point");
        println!("{scenario:?}: K = {pendings}, {points} points");
        for point in 1..=points {
            run(scenario, point, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_acquires_dropped_at_any_pair_of_points_lose_nothing() {
    let mut pairs = 0;
    for scenario in SCENARIOS {
        let [(first, k1), (second, k2)] = run(scenario, NEVER, NEVER).await;
        println!("{scenario:?}: K = {k1} and {k2}, {} pairs", first * second);
        // A caller lasts longer where the other has not gone before it: a few points more cover
        // that.
        for i in 1..=first + 4 {
            for j in 1..=second + 4 {
                run(scenario, i, j).await;
                pairs += 1;
            }
        }
    }
    println!("{pairs} pairs in all");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_hands_its_grant_to_the_next_in_line_at_once() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut waiters: Vec<_> = (0..5).map(|_| Hand::begun(pool.acquire())).collect();
    drop(lent);
    while waiters.len() > 1 {
        assert!(waiters[0].woken() && !waiters[1].woken());
        drop(waiters.remove(0));
        assert!(waiters[0].woken(), "handed over in the same instant");
    }
    drop(waiters[0].end().unwrap());
    drop(waiters);
    at_rest(&pool, 1);
    assert_eq!(pool.snapshot().totals.cancelled, 4);
}

/// The paused clock goes on by itself only when every task sleeps; so an upkeep that never does
/// makes this stand still.
#[test]
fn upkeep_sleeps_until_the_time_that_it_has_planned() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = paused_runtime();
        runtime.block_on(async {
            let endpoint = Endpoint::new();
            endpoint.script().dial = Dial::Fail("refused");
            let pool = endpoint.pool().build().unwrap();
            pool.acquire().timeout(50 * MS).await.unwrap_err(); // Earlier than the next tick.
        });
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(10 * SECOND)
        .expect("upkeep spins before a deadline or a backoff's end");
}
