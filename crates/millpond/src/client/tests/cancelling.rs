//! Requests dropped at every point at which one can be: over a stream that makes each read and
//! write wait and carries one byte at a time, at their first, second … last `Pending`, and then at
//! every pair of them. Whoever comes next gets its own reply, and every place in the pool comes
//! back.

mod demands;

use super::*;

/// What the server sends beside its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    None,
    HeartbeatBefore,
    HeartbeatsAround,
    /// A heartbeat and a part of the next, whose rest comes ahead of the next reply.
    TornHeartbeat,
}

impl Company {
    fn before(self, nth: usize) -> &'static [u8] {
        match self {
            Company::HeartbeatBefore | Company::HeartbeatsAround => HEARTBEAT,
            Company::TornHeartbeat if nth > 0 => b"tBeat",
            _ => b"",
        }
    }

    fn behind(self) -> &'static [u8] {
        match self {
            Company::HeartbeatsAround => b"HeartBeatHeartBeat",
            Company::TornHeartbeat => b"HeartBeatHear",
            _ => b"",
        }
    }
}

async fn serve(mut port: mpsc::UnboundedReceiver<MemoryStream>, company: Company) {
    while let Some(stream) = port.recv().await {
        tokio::spawn(async move {
            let mut far = Far(stream);
            for nth in 0.. {
                let Some(body) = far.request_or_end().await else {
                    return;
                };
                let wire = [company.before(nth), &frame(&body), company.behind()].concat();
                if far.0.write_all(&wire).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A client and its server; every request has a token of its own.
struct Trial {
    client: Client,
    tally: Arc<Tally>,
    token: u64,
    /// Replies that weren't their request's.
    wrong: usize,
}

impl Trial {
    fn new(company: Company, max_size: u32) -> Trial {
        let (builder, Port { accepted, tally }) = builder(Pace::ByByte);
        tokio::spawn(serve(accepted, company));
        let builder = builder.pool(move |pool| pool.max_size(max_size));
        Trial {
            client: builder.build().expect("valid settings"),
            tally,
            token: 10,
            wrong: 0,
        }
    }

    /// A request that is dropped at its `limit`-th `Pending`, unless it has ended by then.
    async fn request(&mut self, limit: usize) -> Result<(), Dropped> {
        self.token += 1;
        let reply = cut(
            limit,
            self.client.request::<_, serde_json::Value>(&self.token),
        )
        .await?;
        match reply {
            Ok(reply) if reply == self.token => {}
            reply => {
                eprintln!("{reply:?} instead of {}", self.token);
                self.wrong += 1;
            }
        }
        Ok(())
    }

    /// The next requests get their own replies, and then nothing is held.
    async fn end(mut self) -> usize {
        for _ in 0..2 {
            self.request(usize::MAX).await.expect("not dropped");
        }
        let snapshot = self.client.pool().snapshot();
        let under_way = [
            snapshot.connecting,
            snapshot.checking,
            snapshot.active,
            snapshot.closing,
        ];
        assert_eq!(under_way, [0; 4], "{snapshot}");
        assert_eq!(snapshot.idle, self.tally.open(), "{snapshot}");
        assert!(snapshot.idle <= snapshot.max_size as usize, "{snapshot}");
        self.client.pool().close(SECOND).await.expect("closed");
        assert_eq!(self.tally.open(), 0);
        self.wrong
    }
}

const ALL: [Company; 4] = [
    Company::None,
    Company::HeartbeatBefore,
    Company::HeartbeatsAround,
    Company::TornHeartbeat,
];

/// How often a request is `Pending`, on a stream that has served (`after` requests), and how many
/// bytes it carries.
async fn pending_points(company: Company, after: usize) -> usize {
    let mut limit = 1;
    loop {
        let mut trial = Trial::new(company, 1);
        for _ in 0..after {
            trial.request(usize::MAX).await.expect("not dropped");
        }
        let before = trial.tally.carried();
        let ended = trial.request(limit).await.is_ok();
        let carried = trial.tally.carried() - before;
        let wrong = trial.end().await;
        assert_eq!(wrong, 0, "dropped at {limit} with {company:?}");
        if ended {
            // The limit wasn't reached.
            assert!(
                limit > carried,
                "{limit} pending points and {carried} bytes"
            );
            println!(
                "{company:?}, after {after}: K = {}, bytes = {carried}",
                limit - 1
            );
            return limit - 1;
        }
        limit += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_point_costs_nobody_a_reply() {
    for company in ALL {
        for after in 0..2 {
            pending_points(company, after).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_dropped_request_reaches_nobody() {
    for company in ALL {
        for limit in 1.. {
            let mut trial = Trial::new(company, 1);
            let ended = trial.request(limit).await.is_ok();
            tokio::time::sleep(SECOND).await;
            assert_eq!(trial.end().await, 0, "dropped at {limit} with {company:?}");
            if ended {
                break;
            }
        }
    }
}

async fn every_pair(company: Company, max_size: u32) {
    let points = pending_points(company, 0).await;
    let (mut wrong, mut pairs) = (0, 0);
    for first in 1..=points {
        for second in 1..=points {
            let mut trial = Trial::new(company, max_size);
            let _ = trial.request(first).await;
            let _ = trial.request(second).await;
            wrong += trial.end().await;
            pairs += 1;
        }
    }
    println!(
        "{company:?}, {max_size} connections: K = {points}, {pairs} pairs, {wrong} wrong replies"
    );
    assert_eq!(wrong, 0);
}

#[tokio::test(start_paused = true)]
async fn requests_dropped_at_any_two_points_cost_the_third_nothing() {
    every_pair(Company::None, 1).await;
}

#[tokio::test(start_paused = true)]
async fn nor_do_they_among_heartbeats_on_two_connections() {
    every_pair(Company::TornHeartbeat, 2).await;
}

/// Two requests at once on two connections, one of them dropped at each point: the other isn't
/// disturbed.
#[tokio::test(start_paused = true)]
async fn a_request_dropped_beside_another_leaves_that_alone() {
    for limit in 1.. {
        let trial = Trial::new(Company::HeartbeatsAround, 2);
        let (one, other) = tokio::join!(
            cut(limit, trial.client.request::<_, u64>(&1)),
            trial.client.request::<_, u64>(&2),
        );
        assert_eq!(other.expect("a reply"), 2);
        let ended = one
            .map(|reply| assert_eq!(reply.expect("a reply"), 1))
            .is_ok();
        assert_eq!(trial.end().await, 0, "dropped at {limit}");
        if ended {
            break;
        }
    }
}
