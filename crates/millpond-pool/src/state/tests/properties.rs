//! The machine does what its model does, over random sequences of everything that can happen.
//!
//! `MILLPOND_SEQUENCES` sets how many sequences are tried (3,000, or 60,000 optimised) and
//! `MILLPOND_SEED` which ones; the same seed gives the same sequences. A failure is shrunk, told
//! step by step, and can be run again by `replay` below. For a long run:
//!
//! ```text
//! MILLPOND_SEQUENCES=10000000 MILLPOND_SEED=7 cargo test --release -p millpond --lib the_machine -- --nocapture
//! ```

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

use super::{
    driver::{Driver, RandomSettings, Step},
    edges::Tally,
};

/// How many sequences an ordinary run tries. Unoptimised code takes ten times as long for each:
/// `.ci/loom` has the larger number.
const SEQUENCES: u32 = if cfg!(debug_assertions) {
    3_000
} else {
    60_000
};

/// How often such a run takes each edge of the diagram, at least.
const LEAST: u64 = SEQUENCES as u64 / 120;

type Numbers = (u16, u8, u8, u64);

fn run(settings: [u8; 17], steps: &[Numbers], narrate: bool, tally: &mut Tally) {
    let settings = RandomSettings(settings);
    let mut driver = Driver::new(&settings, narrate, tally);
    for &step in steps {
        driver.step(Step(step));
    }
    driver.finish(settings.ends_by_draining());
}

fn setting<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {value}")),
        Err(_) => otherwise,
    }
}

thread_local! {
    static SHRINKING: Cell<bool> = const { Cell::new(false) };
}

/// While a failure shrinks, this thread fails thousands of times: only the last is of interest.
fn keep_quiet_while_shrinking() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !SHRINKING.get() {
            loud(panic);
        }
    }));
}

#[test]
fn the_machine_does_what_its_model_does() {
    let sequences = setting("MILLPOND_SEQUENCES", SEQUENCES);
    let seed = setting("MILLPOND_SEED", 1);
    let config = Config {
        cases: sequences,
        failure_persistence: None,
        max_shrink_iters: setting("PROPTEST_MAX_SHRINK_ITERS", 50_000),
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let steps = vec(any::<Numbers>(), 50..=200);
    let tally = RefCell::new(Tally::default());
    keep_quiet_while_shrinking();
    SHRINKING.set(true);
    let outcome = TestRunner::new(config).run(&(any::<[u8; 17]>(), steps), |(settings, steps)| {
        let run = AssertUnwindSafe(|| run(settings, &steps, false, &mut tally.borrow_mut()));
        catch_unwind(run).map_err(|_| TestCaseError::fail("they differ"))
    });
    SHRINKING.set(false);
    if let Err(TestError::Fail(_, (settings, mut steps))) = outcome {
        // These do nothing.
        steps.retain(|step| *step != (0, 0, 0, 0));
        println!(
            "seed {seed}; the shortest sequence that fails, for `replay`:\n{settings:?}, &{steps:?}"
        );
        run(settings, &steps, true, &mut Tally::default());
        unreachable!("it failed before");
    }
    outcome.expect("nothing but failures ends a run");
    let tally = tally.into_inner();
    // Too few sequences prove nothing about what is rare: then each edge must only be a known one.
    let enough = sequences >= SEQUENCES / 10;
    let least =
        u64::from(enough) * LEAST * u64::from(sequences.min(SEQUENCES)) / u64::from(SEQUENCES);
    let (table, faults) = tally.report(least);
    println!(
        "{sequences} sequences, {} transitions\n{table}",
        tally.transitions
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Paste here what a failure printed, and see it told with `cargo test -p millpond replay --
/// --nocapture`.
#[test]
fn replay() {
    run([0; 17], &[], true, &mut Tally::default());
}
