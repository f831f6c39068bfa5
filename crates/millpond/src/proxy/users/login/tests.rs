//! What a login costs is counted in hashes, not in time.

use argon2::Params;
use tokio::{task::JoinSet, time::advance};

use super::*;
use crate::proxy::users::failures::{BURST, INTERVAL};

const WRONG: &str = "WRONG";

struct Scene {
    logins: Arc<Logins>,
    counters: Counters,
}

impl Scene {
    fn of(names: &[&str]) -> Scene {
        let params = Params::new(8, 1, 1, None).expect("params");
        let users = names.iter().fold(Users::new(), |users, name| {
            let secret = format!("{name}'s secret");
            let hash = SecretHash::with(secret.as_bytes(), params.clone()).expect("hashed");
            users.user(*name, hash)
        });
        Scene {
            logins: Logins::new("orders", users),
            counters: Counters::default(),
        }
    }

    async fn try_as(&self, guest: &Guest, user: &str, secret: &str) -> Result<(), Failure> {
        let credentials = Credentials {
            user: user.into(),
            secret: secret.into(),
        };
        let (wrong, limit) = (Failure::refused(WRONG), Duration::from_secs(5));
        let login = (self.logins).log_in(guest, &credentials, &wrong, limit, &self.counters);
        login.await
    }

    /// By a client of this address that connects for it.
    async fn log_in(&self, address: u8, user: &str, secret: &str) -> Result<(), Failure> {
        self.try_as(&guest(address), user, secret).await
    }

    fn totals(&self) -> [u64; 4] {
        let totals = self.counters.totals();
        [
            totals.logins,
            totals.logins_failed,
            totals.logins_refused,
            self.logins.hashed(),
        ]
    }
}

fn guest(address: u8) -> Guest {
    Guest::new(Some(SocketAddr::from(([192, 0, 2, address], 1))))
}

#[tokio::test]
async fn a_secret_that_was_right_costs_no_more_hashes() {
    let scene = Scene::of(&["ann", "bob"]);
    for _ in 0..20 {
        scene.log_in(1, "ann", "ann's secret").await.expect("right");
    }
    assert_eq!(scene.totals(), [20, 0, 0, 1]);
    scene.log_in(1, "bob", "bob's secret").await.expect("right");
    assert_eq!(scene.totals(), [21, 0, 0, 2]);
    for (user, secret) in [
        ("ann", "bob's secret"),
        ("ann", "ann's secret "),
        ("ann", ""),
        ("", "ann's secret"),
        ("eve", "ann's secret"),
        ("eve", "bob's secret"),
        ("ANN", "ann's secret"),
    ] {
        let told = scene.log_in(2, user, secret).await.expect_err(user);
        assert_eq!((told.message(), told.closes()), (WRONG, false));
    }
    assert_eq!(scene.totals(), [21, 7, 0, 9]);
    scene.log_in(1, "ann", "ann's secret").await.expect("right");
    assert_eq!(scene.totals(), [22, 7, 0, 9]);
}

#[tokio::test]
async fn a_user_that_there_is_not_costs_as_much_as_one_that_there_is() {
    let scene = Scene::of(&["ann"]);
    let mut expected = 0;
    for user in ["ann", "eve", "an", "", "\0"] {
        for secret in ["a", "", "ann's secret?"] {
            let told = scene.log_in(expected as u8, user, secret).await;
            assert_eq!(told.expect_err(user), Failure::refused(WRONG));
            expected += 1;
            assert_eq!(scene.totals(), [0, expected, 0, expected]);
        }
    }
    // Nor does the secret of the user whose hash it is compared with make it known.
    scene
        .log_in(100, "ann", "ann's secret")
        .await
        .expect("right");
    for user in ["eve", "bob"] {
        let told = scene.log_in(101, user, "ann's secret").await;
        assert_eq!(told.expect_err(user), Failure::refused(WRONG));
        expected += 1;
        assert_eq!(scene.totals(), [1, expected, 0, expected + 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_nothing_is_hashed_and_nothing_is_said_of_the_secret() {
    let scene = Scene::of(&["ann", "bob"]);
    scene.log_in(1, "ann", "ann's secret").await.expect("right");
    for _ in 0..BURST {
        let told = scene.log_in(1, "ann", "guess").await.expect_err("wrong");
        assert_eq!(told.message(), WRONG);
    }
    let hashed = u64::from(BURST) + 1;
    for secret in ["guess", "ann's secret"] {
        let told = scene.log_in(1, "ann", secret).await.expect_err("too many");
        assert!(told.message().starts_with("too many logins have failed"));
    }
    assert_eq!(scene.totals(), [1, u64::from(BURST), 2, hashed]);
    // Others are not in its way.
    scene
        .log_in(2, "ann", "ann's secret")
        .await
        .expect("another address");
    scene
        .log_in(1, "bob", "bob's secret")
        .await
        .expect("another user");
    advance(INTERVAL).await;
    scene
        .log_in(1, "ann", "ann's secret")
        .await
        .expect("one is taken again");
}

#[tokio::test]
async fn many_at_once_are_no_way_around_the_limit_and_those_who_are_right_are_served() {
    let scene = Arc::new(Scene::of(&["ann"]));
    let play = |secret: &'static str, address| {
        let scene = Arc::clone(&scene);
        async move {
            let mut all = JoinSet::new();
            for _ in 0..200 {
                let scene = Arc::clone(&scene);
                all.spawn(async move { scene.log_in(address, "ann", secret).await });
            }
            let told = all.join_all().await;
            told.iter().filter(|told| told.is_ok()).count()
        }
    };
    assert_eq!(play("guess", 1).await, 0);
    let [_, failed, refused, hashed] = scene.totals();
    assert_eq!(failed + refused, 200);
    assert!(
        hashed <= u64::from(BURST) + 2,
        "{hashed} guesses were tried"
    );
    assert_eq!(play("ann's secret", 2).await, 200);
    let [right, _, _, hashed_now] = scene.totals();
    assert_eq!(right, 200);
    assert!(hashed_now - hashed <= MAX_HASHING as u64);
}

#[tokio::test]
async fn the_last_failure_closes_its_connection_whatever_comes_between() {
    let scene = Scene::of(&["ann"]);
    let guest = guest(1);
    for number in 1..=LAST_FAILURE + 1 {
        let told = scene.try_as(&guest, "ann", "guess").await;
        let closes = number >= LAST_FAILURE;
        assert_eq!(told.expect_err("wrong").closes(), closes, "{number}");
        let told = scene.try_as(&guest, "ann", "ann's secret").await;
        told.expect("right");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_others_hashes_is_told_when_its_time_is_over() {
    let scene = Scene::of(&["ann"]);
    let all = scene.logins.hashing.available_permits() as u32;
    let permits = scene.logins.hashing.acquire_many(all).await.expect("open");
    let told = scene.log_in(1, "ann", "ann's secret").await;
    let told = told.expect_err("it isn't its turn");
    assert_eq!(told.kind(), crate::framing::FailureKind::Overloaded);
    assert!(!told.closes());
    assert_eq!(scene.totals(), [0; 4]);
    drop(permits);
    scene.log_in(1, "ann", "ann's secret").await.expect("right");
}

#[tokio::test]
async fn without_users_nobody_is_let_in() {
    let scene = Scene::of(&[]);
    let told = scene.log_in(1, "ann", "").await;
    assert_eq!(told.expect_err("nobody"), Failure::refused(WRONG));
    assert_eq!(scene.totals(), [0, 1, 0, 0]);
}
