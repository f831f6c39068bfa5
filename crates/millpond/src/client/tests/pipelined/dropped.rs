//! Requests whose callers go, at every point at which they can: that costs them their replies, and
//! nobody else anything.

use super::*;

/// A client over a stream of single bytes, and its server.
struct Stage {
    client: Client,
    tally: Arc<Tally>,
    token: u64,
    wrong: usize,
}

impl Stage {
    async fn new(is_proven: bool) -> Stage {
        let (
            builder,
            Port {
                mut accepted,
                tally,
            },
        ) = builder(Pace::ByByte);
        tokio::spawn(async move {
            while let Some(stream) = accepted.recv().await {
                tokio::spawn(async move {
                    let mut far = Far(stream);
                    while let Some(body) = far.request_or_end().await {
                        let wire = [HEARTBEAT, &frame(&body)].concat();
                        if far.0.write_all(&wire).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let client = builder.pipelined(Pipelining::default()).build().unwrap();
        if is_proven {
            let three = all_asked(&client, 0, 3).await;
            assert_all_answered(three, 0).await;
        }
        Stage {
            client,
            tally,
            token: 1_000,
            wrong: 0,
        }
    }

    async fn request(&mut self, limit: usize) -> Result<(), Dropped> {
        self.token += 1;
        let requests = self.client.requests();
        let reply = cut_at_turn(limit, requests.request::<_, u64>(&self.token)).await?;
        self.wrong += usize::from(reply.ok() != Some(self.token));
        Ok(())
    }

    /// The next gets its own reply, and all of this was on one connection, which is then idle.
    async fn end(mut self) -> usize {
        self.token += 1;
        let reply = self.client.request::<_, u64>(&self.token).await;
        self.wrong += usize::from(reply.ok() != Some(self.token));
        tokio::time::sleep(QUIET).await;
        let snapshot = self.client.snapshot();
        assert_eq!(
            (snapshot.pool.idle, snapshot.pool.active, snapshot.waiting),
            (1, 0, 0),
            "{snapshot}"
        );
        assert_eq!((self.tally.opened(), self.tally.open()), (1, 1));
        self.wrong
    }
}

/// At how many turns of the scheduler a request is `Pending`.
async fn pending_points(is_proven: bool) -> usize {
    for limit in 1.. {
        let mut stage = Stage::new(is_proven).await;
        let ended = stage.request(limit).await.is_ok();
        assert_eq!(stage.end().await, 0, "dropped at {limit}");
        if ended {
            return limit - 1;
        }
    }
    unreachable!()
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_point_costs_its_reply_alone() {
    let all = tokio::spawn(async {
        for is_proven in [false, true] {
            let points = pending_points(is_proven).await;
            println!("proven: {is_proven}, K = {points}");
            assert!(points > 40, "each byte of a request takes a turn: {points}");
        }
    });
    all.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_dropped_at_any_two_points_cost_the_third_nothing() {
    let all = tokio::spawn(async {
        for is_proven in [false, true] {
            let points = pending_points(is_proven).await;
            let (mut wrong, mut pairs) = (0, 0);
            for first in 1..=points {
                for second in 1..=points {
                    let mut stage = Stage::new(is_proven).await;
                    let _ = stage.request(first).await;
                    let _ = stage.request(second).await;
                    wrong += stage.end().await;
                    pairs += 1;
                }
            }
            println!("proven: {is_proven}, K = {points}, {pairs} pairs, {wrong} wrong replies");
            assert_eq!(wrong, 0);
        }
    });
    all.await.unwrap();
}

/// Two at once, one of them dropped at each point: the other isn't disturbed.
#[tokio::test(start_paused = true)]
async fn a_request_dropped_beside_another_leaves_that_alone() {
    let all = tokio::spawn(async {
        for is_proven in [false, true] {
            for limit in 1.. {
                let stage = Stage::new(is_proven).await;
                let (one, before, behind) = tokio::join!(
                    biased;
                    cut_at_turn(limit, stage.client.request::<_, u64>(&1)),
                    stage.client.request::<_, u64>(&2),
                    stage.client.request::<_, u64>(&3),
                );
                assert_eq!((before.unwrap(), behind.unwrap()), (2, 3));
                let ended = one.map(|reply| assert_eq!(reply.unwrap(), 1)).is_ok();
                assert_eq!(stage.end().await, 0, "dropped at {limit}");
                if ended {
                    break;
                }
            }
        }
    });
    all.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_replies_of_those_who_have_gone_are_read_and_dropped() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let mut all = all_asked(&client, 0, 8).await;
    assert_eq!(far.arrived().await.len(), 8);
    for gone in [0, 3, 4, 7] {
        all[gone].abort();
    }
    settle().await;
    assert_eq!(in_flight(&client), [8], "their replies will come");
    far.replies(&numbers(0..8)).await;
    for stays in [6, 5, 2, 1] {
        assert_eq!(reply_of(all.remove(stays)).await, stays.to_string());
    }
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_goes_while_it_waits_is_never_written() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let mut all = all_asked(&client, 0, 6).await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    for gone in [2, 4] {
        all[gone].abort();
        settle().await;
    }
    assert_eq!(client.snapshot().waiting, 2);
    far.replies(&numbers(0..2)).await;
    assert_eq!(far.arrived().await, ["3", "5"]);
    far.replies(&["3".into(), "5".into()]).await;
    for stays in [5, 3, 1, 0] {
        assert_eq!(reply_of(all.remove(stays)).await, stays.to_string());
    }
    assert_eq!(far.arrived().await, [""; 0]);
}

/// Who is first in line and doesn't fit holds the others up; when it goes they are served.
#[tokio::test(start_paused = true)]
async fn when_the_first_in_line_goes_the_next_is_served_soon() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder
        .pipelined(Pipelining::default().max_bytes(100))
        .build()
        .unwrap();
    let mut far = proven(&client, &mut port).await;
    let slow = asked(&client, "slow");
    settle().await;
    let long = asked(&client, "x".repeat(90));
    settle().await;
    let short = asked(&client, "short");
    assert_eq!(far.arrived().await, ["slow"]);
    long.abort();
    tokio::time::sleep(200 * MS).await;
    assert_eq!(far.arrived().await, ["short"]);
    far.replies(&["slow".into(), "short".into()]).await;
    assert_eq!(reply_of(slow).await, "slow");
    assert_eq!(reply_of(short).await, "short");
}
