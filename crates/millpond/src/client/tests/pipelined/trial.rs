//! A server that isn't known to look for frames is tried with two requests that are written
//! together, and given nothing more until it has answered both.

use super::*;

fn assert_not_pipelining(error: &RequestError, replies: usize, text: &str) {
    let RequestError::NotPipelining { answered, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*answered, replies, "{error:?}");
    assert_eq!(error.execution(), Execution::Possible);
    assert_eq!(Chain(error).to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn until_two_were_answered_no_third_is_written() {
    let (builder, mut port) = pipelined(128);
    let client = builder.build().unwrap();
    let mut all = all_asked(&client, 0, 10).await;
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    all.extend(all_asked(&client, 10, 10).await);
    tokio::time::sleep(SECOND).await;
    assert_eq!(far.arrived().await, [""; 0]);
    far.reply(b"0").await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(far.arrived().await, [""; 0]);
    assert!(!all[0].is_finished(), "it may be no reply to this one");
    far.reply(b"1").await;
    let rest = far.arrived().await;
    assert_eq!(rest, numbers(2..20), "full depth");
    far.replies(&rest).await;
    assert_all_answered(all, 0).await;
    assert_eq!(port.tally.opened(), 1);
}

/// One that follows alone is alone: the next two are the trial.
#[tokio::test(start_paused = true)]
async fn a_single_exchange_proves_nothing() {
    let (builder, mut port) = pipelined(128);
    let client = builder.build().unwrap();
    let first = asked(&client, "0");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0"]);
    let all = all_asked(&client, 1, 5).await;
    assert_eq!(far.arrived().await, [""; 0]);
    far.reply(b"0").await;
    assert_eq!(reply_of(first).await, "0");
    assert_eq!(far.arrived().await, ["1", "2"]);
    far.replies(&numbers(1..3)).await;
    assert_eq!(far.arrived().await, ["3", "4", "5"]);
    far.replies(&numbers(3..6)).await;
    assert_all_answered(all, 1).await;
}

/// One at a time to a server that takes a read for a request: it never sees two.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_a_read_for_a_request_is_found_out() {
    let (builder, mut port) = pipelined(128);
    let client = builder.build().unwrap();
    let began = Instant::now();
    let both = all_asked(&client, 0, 2).await;
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    far.reply(b"{\"error\":\"what is that?\"}").await;
    for asked in both {
        assert_not_pipelining(
            &error_of(asked).await,
            1,
            "of two requests that were sent together the server answered 1; it may have been executed; if it takes what it reads \
             at once for one request, as a server that doesn't look for frames does, use a client that isn't pipelined: an exchange before it \
             on the same connection had no reply within its deadline",
        );
    }
    assert_eq!(began.elapsed(), 30 * SECOND);
    assert!(far.ended().await);
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 0);
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_answers_once_and_hangs_up() {
    for answered in 0..2 {
        let (builder, mut port) = pipelined(128);
        let client = builder.build().unwrap();
        let both = all_asked(&client, 0, 2).await;
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, ["0", "1"]);
        far.replies(&numbers(0..answered)).await;
        drop(far);
        for asked in both {
            assert_not_pipelining(
                &error_of(asked).await,
                answered,
                &format!(
                    "of two requests that were sent together the server answered {answered}; it may have been executed; \
                     if it takes what it reads at once for one request, as a server that doesn't look for frames does, use a client that \
                     isn't pipelined: the peer closed it"
                ),
            );
        }
    }
}

/// The first's deadline bounds what both wait, whoever has the shorter one.
#[tokio::test(start_paused = true)]
async fn who_is_answered_in_a_trial_is_not_kept_waiting_beyond_its_deadline() {
    for (first, second) in [(SECOND, 5 * SECOND), (5 * SECOND, SECOND)] {
        let (builder, mut port) = pipelined(128);
        let client = builder.build().unwrap();
        let began = Instant::now();
        let one = asked_so(&client, within(first), "0");
        let other = asked_so(&client, within(second), "1");
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, ["0", "1"]);
        far.reply(b"0").await;
        let [one, other] = [error_of(one).await, error_of(other).await];
        assert_eq!(began.elapsed(), SECOND);
        assert!(
            matches!(one, RequestError::NotPipelining { answered: 1, .. }),
            "{one:?}"
        );
        assert!(
            matches!(
                other,
                RequestError::NotPipelining { .. } | RequestError::TimedOut { .. }
            ),
            "{other:?}"
        );
    }
}

/// Connections that break before anything was written say nothing of how the server reads.
#[tokio::test(start_paused = true)]
async fn two_that_were_never_written_are_no_trial() {
    let (builder, mut port) = pipelined(128);
    let client = builder.build().unwrap();
    let holder = client.pool().acquire().await.unwrap();
    let far = port.accept().await;
    let both = all_asked(&client, 0, 2).await;
    far.0.stop_reading();
    drop(holder);
    for asked in both {
        assert_lost(
            &error_of(asked).await,
            |loss| matches!(loss, Loss::Io(_)),
            Execution::Impossible,
        );
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_leave_a_trial_do_not_spoil_it() {
    for leaves in 0..2 {
        let (builder, mut port) = pipelined(128);
        let client = builder.build().unwrap();
        let mut both = all_asked(&client, 0, 2).await;
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, ["0", "1"]);
        both.remove(leaves).abort();
        settle().await;
        let more = all_asked(&client, 2, 3).await;
        assert_eq!(far.arrived().await, [""; 0]);
        far.replies(&numbers(0..2)).await;
        assert_eq!(reply_of(both.remove(0)).await, (1 - leaves).to_string());
        assert_eq!(far.arrived().await, ["2", "3", "4"]);
        far.replies(&numbers(2..5)).await;
        assert_all_answered(more, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_exchange_holds_others_up_for_two_ticks_at_most() {
    let (builder, mut port) = pipelined(128);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    let slow = asked(&client, "slow");
    let mut first = port.accept().await;
    assert_eq!(first.arrived().await, ["slow"]);
    let began = Instant::now();
    let all = all_asked(&client, 0, 5).await;
    let mut second = port.accept().await;
    assert!(began.elapsed() <= 200 * MS, "{:?}", began.elapsed());
    assert_eq!(second.arrived().await, ["0", "1"]);
    second.replies(&numbers(0..2)).await;
    assert_eq!(second.arrived().await, ["2", "3", "4"]);
    second.replies(&numbers(2..5)).await;
    assert_all_answered(all, 0).await;
    // The first has room now that the server is known.
    let next = asked(&client, "next");
    assert_eq!(first.arrived().await, ["next"]);
    first.replies(&["slow".into(), "next".into()]).await;
    assert_eq!(reply_of(slow).await, "slow");
    assert_eq!(reply_of(next).await, "next");
}

/// Nor does one whose request the server takes in slowly.
#[tokio::test(start_paused = true)]
async fn nor_does_one_that_is_being_written() {
    let (builder, mut port) = pipelined(128);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    let long = asked(&client, vec![b'x'; 2 * CAPACITY]);
    let mut first = port.accept().await;
    settle().await;
    let began = Instant::now();
    let all = all_asked(&client, 0, 2).await;
    let mut second = port.accept().await;
    assert!(began.elapsed() <= 200 * MS, "{:?}", began.elapsed());
    assert_eq!(second.arrived().await, ["0", "1"]);
    second.replies(&numbers(0..2)).await;
    assert_all_answered(all, 0).await;
    let body = first.request().await;
    first.reply(&body).await;
    assert_eq!(reply_of(long).await.len(), 2 * CAPACITY);
}

/// Where nothing ever follows an unanswered exchange nothing has to be proven.
#[tokio::test(start_paused = true)]
async fn at_a_depth_of_one_there_is_no_trial() {
    let (builder, mut port) = pipelined(1);
    let client = builder.pool(|pool| pool.max_size(3)).build().unwrap();
    let began = Instant::now();
    let all = all_asked(&client, 0, 3).await;
    let mut fars = Vec::new();
    for _ in 0..3 {
        fars.push(port.accept().await);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    for far in &mut fars {
        let arrived = far.arrived().await;
        assert_eq!(arrived.len(), 1);
        far.replies(&arrived).await;
    }
    assert_all_answered(all, 0).await;
}
