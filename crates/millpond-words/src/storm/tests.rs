//! What is told of a storm, and when.

use super::*;

#[test]
fn the_first_is_told_at_once_and_the_others_by_sums_that_grow_rarer() {
    let start = Instant::now();
    let mut storm = Storm::default();
    // From when to when (in ms) how many happen, and what is told then: at once; and by a sum, of
    // how many, within how long.
    let steps = [
        (0, 1, 1, None),
        (999, 50, 0, None),
        (1_000, 0, 0, Some((50, 1_000))),
        (2_000, 7, 0, None),
        (3_999, 1, 0, None),
        (4_000, 0, 0, Some((8, 3_000))),
        (12_999, 1, 0, None),
        // Late, as on a machine that stood still: what happened meanwhile is in it.
        (14_000, 0, 0, Some((1, 10_000))),
        (40_000, 2, 0, None),
        (41_000, 0, 0, Some((2, 27_000))),
        // An interval without any: the next one is told at once.
        (122_000, 0, 0, None),
        (122_001, 3, 1, None),
        (123_001, 0, 0, Some((2, 1_000))),
        (126_001, 0, 0, None),
        (500_000, 1, 1, None),
        (501_000, 0, 0, None),
    ];
    for (at, happen, at_once, sum) in steps {
        let now = start + Duration::from_millis(at);
        let told = (0..happen).filter(|_| storm.happened(now)).count();
        assert_eq!(told, at_once, "at {at} ms");
        let summed = storm.sum_up(now);
        let summed = summed.map(|sum| (sum.events, sum.within.as_millis()));
        assert_eq!(summed, sum, "at {at} ms");
    }
    assert_eq!(storm.due(), None, "all is quiet");
}

#[test]
fn a_day_of_it_is_a_line_each_five_minutes_and_every_event_is_counted_once() {
    let start = Instant::now();
    let (mut storm, mut lines, mut told) = (Storm::default(), 0, 0);
    for second in 0..86_400 {
        let now = start + Duration::from_secs(second);
        let sum = storm.sum_up(now);
        let at_once = (0..100).filter(|_| storm.happened(now)).count();
        lines += at_once + usize::from(sum.is_some());
        told += at_once as u64 + sum.map_or(0, |sum| sum.events);
    }
    told += storm
        .rest(start + Duration::from_secs(86_400))
        .map_or(0, |sum| sum.events);
    assert_eq!(told, 86_400 * 100);
    assert!(lines < 300, "{lines}");
    assert_eq!(
        storm.rest(start + Duration::from_secs(86_401)),
        None,
        "it is told once"
    );
}

#[test]
fn a_storm_that_nobody_asked_about_for_hours_is_over_and_the_next_event_is_told_at_once() {
    let start = Instant::now();
    let hours = Duration::from_secs(5 * 3_600);
    for (untold, summed) in [(0, None), (3, Some(3))] {
        let mut storm = Storm::default();
        assert!(storm.happened(start));
        for _ in 0..untold {
            assert!(!storm.happened(start));
        }
        let sum = storm.sum_up(start + hours);
        assert_eq!(sum.map(|sum| sum.events), summed);
        assert_eq!(storm.due(), None, "all is quiet");
        assert!(storm.happened(start + hours), "a new storm");
        // It begins like any other.
        assert!(!storm.happened(start + hours));
        let sum = storm.sum_up(start + hours + FIRST_INTERVAL);
        assert_eq!(sum.map(|sum| sum.events), Some(1));
    }
}

#[test]
fn a_sum_that_is_asked_for_somewhat_late_does_not_end_the_storm() {
    let start = Instant::now();
    for (late, ends) in [
        (FIRST_INTERVAL, false),
        (FIRST_INTERVAL + Duration::from_nanos(1), true),
    ] {
        let mut storm = Storm::default();
        storm.happened(start);
        storm.happened(start);
        let now = start + FIRST_INTERVAL + late;
        assert!(storm.sum_up(now).is_some());
        assert_eq!(storm.happened(now), ends, "{late:?} late");
    }
}
