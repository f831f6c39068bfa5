//! The machine does what its model does, over random sequences of everything that can happen.
//!
//! `MILLPOND_SEQUENCES` sets how many sequences are tried and `MILLPOND_SEED` which is the first:
//! each has a seed of its own, which a failure names, so that it can be run again alone.

use super::{
    edges::{Edge, Tally},
    play::Play,
};

/// How many sequences an ordinary run tries. Unoptimised code takes several times as long for each:
/// `.ci/loom` has the larger number.
const SEQUENCES: u64 = if cfg!(debug_assertions) { 3_000 } else { 6_000 };

/// How often such a run reaches each edge, at least.
const LEAST: u64 = SEQUENCES / 36;

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {value}")),
        Err(_) => otherwise,
    }
}

#[test]
fn the_pipelines_do_what_their_model_does() {
    let sequences = setting("MILLPOND_SEQUENCES", SEQUENCES).min(10_000_000);
    let first = setting("MILLPOND_SEED", 1);
    let mut tally = Tally::default();
    for seed in first..first + sequences {
        let run = std::panic::AssertUnwindSafe(|| Play::new(seed, &mut tally).run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            println!("run it again with MILLPOND_SEED={seed} MILLPOND_SEQUENCES=1");
            std::panic::resume_unwind(panic);
        }
    }
    println!(
        "{sequences} sequences, {} transitions\n{tally:#?}",
        tally.transitions
    );
    // Too few sequences prove nothing about what is rare.
    if sequences >= SEQUENCES {
        let (reached, seldom): (usize, Vec<(Edge, u64)>) = tally.seldom(LEAST);
        assert_eq!(reached, Tally::all(), "an edge was never reached");
        assert!(seldom.is_empty(), "reached too seldom: {seldom:?}");
    }
}
