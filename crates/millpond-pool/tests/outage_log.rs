//! What the log tells of an outage: that it began, how it goes on, and that it is over. The only
//! test of its process.

mod common;
mod warnings;

use common::{Dial, Endpoint, SECOND, paused_runtime};
use tokio::time::sleep;
use warnings::Warnings;

#[test]
fn an_outage_is_told_once_summed_up_ever_more_rarely_and_its_end_is_told() {
    let heard = Warnings::default();
    tracing::subscriber::set_global_default(heard.clone()).unwrap();
    let runtime = paused_runtime();
    runtime.block_on(async {
        let endpoint = Endpoint::new();
        endpoint.script().dial = Dial::Fail("connection refused");
        let pool = endpoint.pool().name("orders").min_idle(1).build().unwrap();
        sleep(9 * SECOND).await;
        let told = heard.heard();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(
            told[0].contains("dials fail") && told[0].contains("connection refused"),
            "{told:?}"
        );
        sleep(300 * SECOND).await;
        let failed = pool.snapshot().totals.dials_failed;
        let told = heard.heard();
        // By the first failure after 10 s, and each time after three times as long: at the soonest
        // after 30, 90 and 270 s.
        let sums = told.len() - 1;
        assert!(
            (3..=4).contains(&sums),
            "{failed} dials have failed: {told:#?}"
        );
        assert!(failed > 50, "{failed}");
        for sum in &told[1..] {
            assert!(
                sum.contains("dials still fail") && sum.contains("failures="),
                "{sum}"
            );
        }
        endpoint.script().dial = Dial::Succeed;
        sleep(7 * SECOND).await;
        let told = heard.heard();
        assert_eq!(told.len(), 1 + sums + 1, "{told:#?}");
        let end = told.last().unwrap();
        assert!(
            end.contains(&format!("failures={failed} ")) && end.contains("lasted=3"),
            "{end}"
        );
        assert!(
            told.iter().all(|line| line.contains("pool=\"orders\"")),
            "{told:#?}"
        );
    });
}
