//! Endpoints that go away, come back, accept and hang up, or are refused by the connector itself:
//! how many dials they are met by, and what callers are told meanwhile. The bounds on dials are
//! those of the backoff, with room for its jitter.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use crate::common::{
    Dial, Endpoint, Hand, MS, REFUSED, SECOND, Scripted, at_rest, close, pass, settle,
};
use millpond_pool::{AcquireError, Eviction, Pool};
use tokio::{task::LocalSet, time::Instant};

#[tokio::test(start_paused = true)]
async fn an_endpoint_gone_for_10_s_meets_one_dial_at_a_time_and_callers_are_served_once_it_is_back()
{
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(10).min_idle(4).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    endpoint.script().dial = Dial::TakeAndFail(MS, REFUSED);
    (1..=4).for_each(|nth| endpoint.hang_up(nth));
    settle().await;
    let (before, gone) = (endpoint.dials().len(), Instant::now());
    let mut refused = 0;
    while gone.elapsed() < 10 * SECOND {
        let asked = Instant::now();
        let answer = pool.acquire().timeout(2 * SECOND).await;
        assert!(
            matches!(answer, Err(AcquireError::Unavailable { .. })),
            "{answer:?}"
        );
        assert!(asked.elapsed() <= 1100 * MS, "told within the grace of 1 s");
        refused += 1;
        pass(50 * MS).await;
    }
    let during = &endpoint.dials()[before..];
    // While callers ask the waits are drawn from 1 to 200 ms: about 100 dials in 10 s, never as
    // many as callers or as fast as they fail.
    assert!(
        (30..=250).contains(&during.len()),
        "{} dials in 10 s",
        during.len()
    );
    let gaps: Vec<_> = during.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().max() > gaps.iter().min(), "jittered");
    assert!(during.len() <= refused + 40);
    endpoint.script().dial = Dial::Succeed;
    let asked = Instant::now();
    let lent = loop {
        match pool.acquire().await {
            Ok(lent) => break lent,
            Err(_) => pass(10 * MS).await,
        }
    };
    assert!(
        asked.elapsed() <= 250 * MS,
        "served {:?} after it is back",
        asked.elapsed()
    );
    drop(lent);
    pool.ready(SECOND).await.unwrap();
    pass(200 * MS).await;
    assert!(!pool.snapshot().failing);
    at_rest(&pool, 4);
    assert!(endpoint.most_dialling() <= 4);
    close(&pool).await;
}

/// What answers is spared even while many callers ask, and they are served soon after it works
/// again.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_for_30_s_after_it_was_reached_meets_at_most_60_dials() {
    fastrand::seed(1);
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(10).build().unwrap();
    drop(pool.acquire().await.unwrap());
    endpoint.script().dial = Dial::TakeAndFail(MS, "the login was refused");
    endpoint.hang_up(1);
    settle().await;
    let (before, gone) = (endpoint.dials().len(), Instant::now());
    while gone.elapsed() < 30 * SECOND {
        assert!(pool.acquire().await.is_err());
        pass(10 * MS).await;
    }
    let during = endpoint.dials().len() - before;
    assert!((20..=60).contains(&during), "{during} dials in 30 s");
    assert_eq!(endpoint.most_dialling(), 1);
    endpoint.script().dial = Dial::Succeed;
    let back = Instant::now();
    while pool.acquire().await.is_err() {
        pass(10 * MS).await;
    }
    assert!(
        back.elapsed() <= 1_600 * MS,
        "served {:?} after it is back",
        back.elapsed()
    );
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_nobody_asks_for_is_dialled_ever_more_rarely() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail(REFUSED);
    let _pool = endpoint.pool().max_size(10).min_idle(4).build().unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let dials = endpoint.dials();
    // 1 ms to 50 ms, 100 ms, … 5 s: seven in the first seconds, then one in 2.5 s on average.
    assert!(
        (12..=70).contains(&dials.len()),
        "{} dials in a minute",
        dials.len()
    );
    assert!(
        dials
            .windows(2)
            .skip(1)
            .all(|pair| pair[1] - pair[0] <= 5 * SECOND + 2 * MS)
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_accepts_and_hangs_up_is_an_outage_whether_callers_or_min_idle_ask() {
    for min_idle in [0, 4] {
        let endpoint = Endpoint::new();
        endpoint.script().stillborn = Some(Eviction::PeerClosed);
        let pool = endpoint
            .pool()
            .max_size(10)
            .min_idle(min_idle)
            .build()
            .unwrap();
        if min_idle == 0 {
            let mut early = 0;
            let started = Instant::now();
            while started.elapsed() < 10 * SECOND {
                match pool.acquire().await.unwrap_err() {
                    AcquireError::Unavailable { cause, .. } => {
                        assert_eq!(
                            cause.to_string(),
                            "connected, but the connection died before it first served: peer closed"
                        );
                        early += 1;
                    }
                    AcquireError::TimedOut(_) => {}
                    other => panic!("{other}"),
                }
                pass(20 * MS).await;
            }
            assert!(early > 0);
        } else {
            tokio::time::sleep(10 * SECOND).await;
        }
        let dials = endpoint.dials().len();
        // Callers or none: what accepts is spared, with 750 ms between dials on average, and less
        // in the beginning.
        assert!(dials <= 60, "{dials} dials in 10 s, min_idle {min_idle}");
        if min_idle > 0 {
            // About eight rounds of backoff, each of which may refill all four before the first of
            // them is found dead.
            assert!(dials <= 60, "{dials} dials in 10 s that nobody asked for");
            assert!(pool.snapshot().failing);
        }
        endpoint.script().stillborn = None;
        tokio::time::sleep(6 * SECOND).await;
        drop(pool.acquire().await.unwrap());
        close(&pool).await;
        assert_eq!(endpoint.created(), endpoint.destroyed());
    }
}

/// Whatever the reason a check gives, a connection that never served is no success.
#[tokio::test(start_paused = true)]
async fn a_check_that_refuses_every_new_connection_does_not_spin() {
    let endpoint = Endpoint::new();
    endpoint.script().stillborn = Some(Eviction::Discarded);
    let pool = endpoint.pool().build().unwrap();
    let mut caller = Hand::new(pool.acquire());
    for _ in 0..100 {
        let _ = caller.poll();
        settle().await;
    }
    let dials = endpoint.dials().len();
    assert!(dials <= 2, "{dials} dials in no time");
}

/// Whoever merely drops a connection on which an exchange failed says nothing of the reason: the
/// pool asks.
#[tokio::test(start_paused = true)]
async fn a_listener_that_hangs_up_in_the_first_exchange_is_an_outage_also_when_nobody_says_so() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(10).build().unwrap();
    let (started, mut exchanges) = (Instant::now(), 0);
    while started.elapsed() < 30 * SECOND {
        if let Ok(mut lent) = pool.acquire().await {
            lent.dirty = true;
            endpoint.hang_up(lent.nth);
            drop(lent);
            exchanges += 1;
        }
        pass(MS).await;
    }
    let dials = endpoint.dials().len();
    assert!(exchanges > 5, "{exchanges} exchanges");
    assert!(dials <= 60, "{dials} dials in 30 s");
    let reasons = pool.snapshot().totals;
    assert_eq!(reasons.evicted(Eviction::UnfinishedExchange), 0);
    assert!(reasons.evicted(Eviction::PeerClosed) > 5);
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_through_an_outage_is_served_after_it_or_told_of_it_at_its_deadline() {
    fastrand::seed(1);
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::TakeAndFail(MS, "the login was refused");
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let started = Instant::now();
    let mut stays = Hand::begun(pool.acquire().timeout(60 * SECOND).wait_through_outage());
    let mut gives_up = Hand::begun(pool.acquire().timeout(3 * SECOND).wait_through_outage());
    let mut told = Hand::begun(pool.acquire());
    pass(1_100 * MS).await;
    assert!(matches!(told.end(), Err(AcquireError::Unavailable { .. })));
    // Who comes in the dark may wait through it as well, on a thread of its own too.
    let blocking = tokio::task::spawn_blocking({
        let pool = pool.clone();
        move || {
            pool.acquire()
                .timeout(60 * SECOND)
                .wait_through_outage()
                .blocking()
                .map(drop)
        }
    });
    while pool.snapshot().waiting < 3 {
        tokio::task::yield_now().await;
    }
    pass(2 * SECOND).await;
    match gives_up.end() {
        Err(AcquireError::TimedOut(circumstances)) => {
            assert!(circumstances.waited >= 3 * SECOND);
            let (_, cause) = circumstances.last_failure.expect("dials have failed");
            assert_eq!(cause.cause().to_string(), "the login was refused");
        }
        other => panic!("{other:?}"),
    }
    pass(27 * SECOND).await;
    assert!(!stays.woken(), "30 s of outage, and it still waits");
    let dials = endpoint.dials().len();
    assert!(dials <= 60, "{dials} dials in {:?}", started.elapsed());
    endpoint.script().dial = Dial::Succeed;
    pass(1_600 * MS).await;
    drop(stays.end().expect("served once it is over"));
    blocking.await.unwrap().expect("served as well");
    close(&pool).await;
}

/// What becomes of those who dial while the endpoint is away. Whatever it is, every connection dies
/// as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    NothingListens,
    /// A proxy accepts, and has hung up before anything is sent.
    HangsUpAtOnce,
    /// A proxy accepts, and hangs up while it is asked.
    HangsUpWhenAsked,
    /// Nothing listens; once something does, a dial takes 100 ms for another 100 ms.
    StartsSlowly,
    /// Nothing listens; once something does, it answers nobody for another 100 ms.
    AnswersLate,
}

/// How long those who start slowly take.
const SLOW: Duration = Duration::from_millis(100);

/// An endpoint, and 16 callers who ask it one thing after the other.
struct Crowd {
    endpoint: Arc<Endpoint>,
    pool: Pool<Scripted>,
    hangs_up_when_asked: Cell<bool>,
    /// Since when the endpoint is there.
    back: Cell<Instant>,
    refused: Cell<u32>,
    served: Cell<u32>,
    /// The longest wait after the endpoint was back.
    longest: Cell<Duration>,
    over: Cell<bool>,
}

impl Crowd {
    const CALLERS: u32 = 16;

    fn new() -> Rc<Self> {
        let endpoint = Endpoint::new();
        endpoint.script().dial = Dial::Take(MS);
        Rc::new(Crowd {
            pool: endpoint.pool().max_size(Self::CALLERS).build().unwrap(),
            endpoint,
            hangs_up_when_asked: Cell::new(false),
            back: Cell::new(Instant::now()),
            refused: Cell::new(0),
            served: Cell::new(0),
            longest: Cell::new(Duration::ZERO),
            over: Cell::new(false),
        })
    }

    /// Asks until it is over, pausing for about this long in between.
    async fn ask(self: Rc<Self>, pause: Duration) {
        while !self.over.get() {
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
            let asked = Instant::now();
            if self.exchange().await {
                self.served.set(self.served.get() + 1);
                let waited = Instant::now() - asked.max(self.back.get());
                self.longest.set(self.longest.get().max(waited));
            }
        }
    }

    /// Until it succeeds, or the pool gives no connection: who loses one in the middle of an
    /// exchange takes another.
    async fn exchange(&self) -> bool {
        loop {
            let mut lent = match self.pool.acquire().await {
                Ok(lent) => lent,
                Err(error) => {
                    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                    self.refused.set(self.refused.get() + 1);
                    return false;
                }
            };
            tokio::time::sleep(MS * fastrand::u32(1..=3)).await;
            if self.hangs_up_when_asked.get() {
                self.endpoint.hang_up(lent.nth);
            }
            lent.dirty = lent.hung_up();
            if !lent.dirty {
                return true;
            }
        }
    }

    async fn goes_away(&self, how: Away, outage: Duration) {
        match how {
            Away::NothingListens | Away::StartsSlowly | Away::AnswersLate => {
                self.endpoint.script().dial = Dial::Fail(REFUSED)
            }
            Away::HangsUpAtOnce => self.endpoint.script().stillborn = Some(Eviction::PeerReset),
            Away::HangsUpWhenAsked => self.hangs_up_when_asked.set(true),
        }
        self.endpoint.hang_up_all();
        self.back.set(Instant::now() + outage + SECOND);
        tokio::time::sleep(outage).await;
        match how {
            Away::StartsSlowly => {
                self.endpoint.script().dial = Dial::Take(SLOW);
                tokio::time::sleep(SLOW).await;
            }
            Away::AnswersLate => {
                self.endpoint.script().dial = Dial::AtTheGate;
                tokio::time::sleep(SLOW).await;
                self.endpoint.gate.add_permits(100);
            }
            Away::NothingListens | Away::HangsUpAtOnce | Away::HangsUpWhenAsked => {}
        }
        self.hangs_up_when_asked.set(false);
        self.endpoint.script().stillborn = None;
        self.endpoint.script().dial = Dial::Take(MS);
        self.back.set(Instant::now());
    }
}

/// What `story` makes of a crowd, with chance drawn from `seed`: how many were refused, and the
/// longest wait.
fn with_a_crowd(seed: u64, pause: Duration, story: impl AsyncFnOnce(&Crowd)) -> (u32, Duration) {
    fastrand::seed(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let crowd = Crowd::new();
        let ask = |_| tokio::task::spawn_local(Rc::clone(&crowd).ask(pause));
        let callers: Vec<_> = (0..Crowd::CALLERS).map(ask).collect();
        tokio::time::sleep(60 * MS).await;
        assert!(
            crowd.endpoint.created() > 8 && crowd.served.get() > 100,
            "it is in use"
        );
        crowd.longest.set(Duration::ZERO);
        story(&crowd).await;
        crowd.over.set(true);
        for caller in callers {
            caller.await.unwrap();
        }
        close(&crowd.pool).await;
        (crowd.refused.get(), crowd.longest.get())
    })
}

/// At default settings: the grace of a second means what it says, whatever the endpoint does to
/// those who dial meanwhile.
#[test]
fn an_outage_shorter_than_the_grace_refuses_nobody() {
    const SEEDS: u32 = 100;
    let kinds = [
        Away::NothingListens,
        Away::HangsUpAtOnce,
        Away::HangsUpWhenAsked,
        Away::StartsSlowly,
        Away::AnswersLate,
    ];
    let mut faults = Vec::new();
    for how in kinds {
        for millis in [10, 50, 200, 500, 900] {
            let (mut runs, mut worst) = (0, Duration::ZERO);
            for seed in 0..SEEDS {
                let (refused, longest) = with_a_crowd(seed.into(), 2 * MS, async |crowd| {
                    crowd.goes_away(how, Duration::from_millis(millis)).await;
                    tokio::time::sleep(50 * MS).await;
                });
                runs += u32::from(refused > 0);
                worst = worst.max(longest);
            }
            let found = format!(
                "{how:?} for {millis} ms: refused somebody in {runs} of {SEEDS} runs, \
                 the longest wait after it was back {worst:?}"
            );
            println!("{found}");
            if runs > 0 || worst > 250 * MS {
                faults.push(found);
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_proxy_whose_server_is_away_for_10_ms_every_2_s_refuses_nobody() {
    for seed in 0..5 {
        for how in [Away::HangsUpAtOnce, Away::HangsUpWhenAsked] {
            let (refused, longest) = with_a_crowd(seed, 2 * MS, async |crowd| {
                for _ in 0..10 {
                    crowd.goes_away(how, 10 * MS).await;
                    tokio::time::sleep(1_990 * MS).await;
                }
            });
            println!("{how:?}, seed {seed}: {refused} refused, the longest wait {longest:?}");
            assert_eq!(refused, 0, "{how:?}, seed {seed}");
        }
    }
}
