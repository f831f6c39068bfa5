//! What waits in a route: nobody is held up by one who sends much, and what they hold is bounded.

use super::{Duration, MS, Plain, Scene};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::framing::{Context, Framing, LengthJson};

/// Frames of so many bodies.
fn frames(bodies: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut frames = Vec::new();
    for body in bodies {
        let encoded = LengthJson::default().encode(Context::REQUEST, body.as_bytes(), &mut frames);
        encoded.expect("short");
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_thousand_requests_at_once_delays_another_by_one_exchange() {
    let scene = Scene::new(10 * MS, |pool| pool.max_size(1), |server| server);
    let Plain(mut greedy) = scene.connect();
    let many = frames((0..1_000).map(|number| number.to_string()));
    greedy.write_all(&many).await.expect("it is open");
    let mut modest = scene.connect();
    // Wherever in the greedy one's exchange it comes.
    for pause in [0, 3, 10, 17] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let began = Instant::now();
        assert_eq!(modest.ask(b"\"modest\"").await, b"\"modest\"");
        // Its own exchange takes 10 ms, and the one under way at most as long.
        assert!(began.elapsed() <= 20 * MS, "{:?}", began.elapsed());
    }
}

/// 200 clients send requests of 50 kB that wait for a single connection: 10 MB, of which as much
/// is read as may be held.
#[tokio::test(start_paused = true)]
async fn the_bytes_of_requests_that_wait_are_bounded_by_max_bytes() {
    const MAX: usize = 1 << 20;
    let scene = Scene::new(
        10 * MS,
        |pool| pool.max_size(1),
        |server| server.max_bytes(MAX),
    );
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let Plain(mut stream) = scene.connect();
            let body = format!("\"{number:0>50000}\"");
            tokio::spawn(async move {
                let frame = frames([body.clone()]);
                stream.write_all(&frame).await.expect("it is open");
                let mut client = Plain(stream);
                assert!(client.reply().await == body.as_bytes(), "its own reply");
            })
        })
        .collect();
    let mut most = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        most = most.max(scene.clients.snapshot().bytes);
        tokio::time::sleep(MS).await;
    }
    for client in clients {
        client.await.expect("its own reply");
    }
    // A reply may be longer than its request, and is counted without being asked.
    assert!((MAX / 2..=MAX + (64 << 10)).contains(&most), "{most}");
    assert!(scene.clients.snapshot().waiting_for_bytes == 0);
    assert_eq!(scene.route.snapshot().totals.answered, 200);
}
