//! The machine as stories, and against a slow model that keeps all that has ever happened and works
//! everything out from that each time it is asked.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn ejection(after: u32, floor: Option<u32>) -> Ejection {
    Ejection {
        after,
        floor,
        pause: 100 * MS,
        max_pause: 1000 * MS,
        ..Ejection::default()
    }
}

fn dialled(choice: Choice) -> Place {
    match choice {
        Choice::Dial(place) => place,
        other => panic!("{other:?}"),
    }
}

/// As many upstreams without limits.
fn unlimited(count: usize) -> Machine {
    Machine::new(vec![u32::MAX; count], ejection(3, None))
}

/// Fails so often in a row, each time with the shortest pause, and returns when.
fn fails(machine: &mut Machine, at: usize, times: usize, mut now: Instant) -> Instant {
    let others: Vec<_> = (0..machine.upstreams.len())
        .filter(|&it| it != at)
        .collect();
    for _ in 0..times {
        let place = dialled(machine.choose(&others, now));
        assert_eq!(place.at, at);
        machine.failed(place, now, 0);
        now = machine.upstreams[at].spared_until.expect("it is spared");
    }
    now
}

#[test]
fn dials_go_where_the_fewest_connections_are_and_of_equals_in_turn() {
    let (mut machine, now) = (unlimited(3), Instant::now());
    let places: Vec<_> = (0..6).map(|_| dialled(machine.choose(&[], now))).collect();
    let at: Vec<_> = places.iter().map(|place| place.at).collect();
    assert_eq!(at, [0, 1, 2, 0, 1, 2]);
    machine.opened(places[1]);
    machine.closed(places[1]);
    assert_eq!(dialled(machine.choose(&[], now)).at, 1);
    assert_eq!(dialled(machine.choose(&[], now)).at, 2, "all equal again");
}

#[test]
fn one_that_has_failed_is_passed_over_and_then_dialled_once_at_a_time() {
    let (mut machine, start) = (unlimited(2), Instant::now());
    let now = fails(&mut machine, 0, 1, start);
    assert_eq!(now, start + 50 * MS);
    for _ in 0..3 {
        assert_eq!(dialled(machine.choose(&[], now - MS)).at, 1);
    }
    let trial = dialled(machine.choose(&[], now));
    assert_eq!(trial.at, 0);
    assert_eq!(dialled(machine.choose(&[], now)).at, 1, "one at a time");
    machine.opened(trial);
    machine.served(trial);
    for _ in 0..3 {
        assert_eq!(dialled(machine.choose(&[], now)).at, 0);
    }
}

#[test]
fn the_third_failure_ejects_and_a_probe_brings_back_on_trial() {
    let (mut machine, start) = (unlimited(3), Instant::now());
    let now = fails(&mut machine, 0, 3, start);
    assert!(machine.upstreams[0].is_ejected());
    assert_eq!(now, start + (50 + 100 + 200) * MS, "it doubles");
    assert_eq!(machine.probe(0, now - MS), Probe::At(now));
    assert_eq!(machine.probe(1, now), Probe::NotNow);
    for _ in 0..4 {
        assert_ne!(dialled(machine.choose(&[], now)).at, 0, "probes are apart");
    }
    let Probe::Dial(probe) = machine.probe(0, now) else {
        panic!("it is due");
    };
    assert_eq!(machine.probe(0, now), Probe::NotNow, "one at a time");
    assert!(machine.opened(probe), "back");
    machine.closed(probe);
    assert_eq!(machine.probe(0, now), Probe::NotNow);

    let next = dialled(machine.choose(&[], now));
    assert_eq!(next.at, 0);
    machine.opened(next);
    assert!(machine.lost(next, now, 0), "ejected at once");
    assert_eq!(machine.probe(0, now), Probe::At(now + 400 * MS));
    let Probe::Dial(probe) = machine.probe(0, now + 400 * MS) else {
        panic!("it is due");
    };
    machine.opened(probe);
    machine.served(probe);
    assert_eq!(machine.upstreams[0].failures, 0);
}

#[test]
fn where_it_is_asked_for_all_are_probed_and_a_failed_probe_ejects_down_to_the_floor() {
    let start = Instant::now();
    let asked = Ejection {
        probe_interval: Some(600 * MS),
        ..ejection(3, None)
    };
    let mut machine = Machine::new([u32::MAX; 3], asked);
    for (at, first) in [(0, 200), (1, 400), (2, 600)] {
        let due = start + first * MS;
        assert_eq!(machine.probe(at, start), Probe::At(due), "spread");
        let Probe::Dial(probe) = machine.probe(at, due) else {
            panic!("it is due");
        };
        assert_eq!(machine.probe(at, due), Probe::At(due + 600 * MS));
        assert_eq!(machine.failed(probe, due, 0), at == 0, "half of three");
        assert_eq!(machine.upstreams[at].failures, 3);
    }
    // One that is ejected is probed after its pause, which is shorter.
    let Probe::Dial(probe) = machine.probe(0, start + 400 * MS) else {
        panic!("it is due");
    };
    assert!(machine.opened(probe), "back");
}

#[test]
fn the_floor_is_never_ejected_and_is_dialled_though_it_fails() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let (mut machine, now) = (unlimited(count), Instant::now());
        for at in 0..count {
            fails(&mut machine, at, 5, now);
        }
        let ejected = machine.upstreams.iter().filter(|it| it.is_ejected());
        assert_eq!(ejected.count(), most, "of {count}");
    }
    let (mut machine, start) = (unlimited(3), Instant::now());
    for (at, now) in [(0, start), (2, start + MS), (1, start + 2 * MS)] {
        fails(&mut machine, at, 3, now);
    }
    let now = start + 3 * MS;
    let mut tried = Vec::new();
    while let Choice::Dial(place) = machine.choose(&tried, now) {
        tried.push(place.at);
        machine.failed(place, now, 0);
    }
    assert_eq!(
        tried,
        [2, 1, 0],
        "the ejected one when all others have failed"
    );
    assert_eq!(machine.choose(&tried, now), Choice::Exhausted);
}

#[test]
fn what_began_before_a_failure_is_no_second_failure_and_no_proof() {
    let (mut machine, now) = (unlimited(1), Instant::now());
    let at_once: Vec<_> = (0..4).map(|_| dialled(machine.choose(&[], now))).collect();
    for &place in &at_once[..3] {
        machine.failed(place, now, 0);
    }
    assert_eq!(machine.upstreams[0].failures, 1);
    machine.opened(at_once[3]);
    machine.served(at_once[3]);
    assert_eq!(machine.upstreams[0].failures, 1);
}

#[test]
fn one_that_is_full_is_dialled_when_it_has_room_again() {
    let mut machine = Machine::new([1, 2], ejection(3, None));
    let now = Instant::now();
    let places: Vec<_> = (0..3).map(|_| dialled(machine.choose(&[], now))).collect();
    assert_eq!(machine.choose(&[], now), Choice::Full);
    machine.opened(places[0]);
    assert_eq!(machine.choose(&[], now), Choice::Full);
    machine.closed(places[0]);
    assert_eq!(dialled(machine.choose(&[], now)).at, places[0].at);
}

#[test]
fn the_pause_lies_between_half_and_all_of_what_has_been_doubled() {
    let ejection = ejection(3, None);
    let whole = [100, 200, 400, 800, 1000, 1000];
    for (failures, whole) in (1..).zip(whole) {
        let whole = whole * MS;
        assert_eq!(pause(&ejection, failures, 0), whole / 2);
        assert_eq!(pause(&ejection, failures, u64::MAX), whole);
    }
    let longest = Ejection {
        pause: Duration::MAX,
        max_pause: Duration::MAX,
        ..ejection
    };
    assert_eq!(pause(&longest, u32::MAX, u64::MAX), YEAR);
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
enum Event {
    Dialled(Place),
    Probed(Place),
    Opened(Place),
    Failed(Place, Instant, u64),
    Lost(Place, Instant, u64),
    Unfit(Place, Instant, u64),
    Served(Place),
    Closed(Place),
}

/// What the history says of an upstream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    connecting: u32,
    open: u32,
    failures: u32,
    spared_until: Option<Instant>,
    is_ejected: bool,
}

struct Model {
    max_sizes: Vec<u32>,
    ejection: Ejection,
    history: Vec<Event>,
}

impl Model {
    /// All that has happened, from the beginning.
    fn known(&self) -> Vec<Known> {
        let mut known = vec![Known::default(); self.max_sizes.len()];
        let floor = match self.ejection.floor {
            Some(floor) => (floor as usize).max(1).min(known.len()),
            None => known.len() - known.len() / 2,
        };
        for (when, event) in self.history.iter().enumerate() {
            match *event {
                Event::Dialled(place) | Event::Probed(place) => known[place.at].connecting += 1,
                Event::Opened(place) => {
                    let it = &mut known[place.at];
                    it.connecting -= 1;
                    it.open += 1;
                    it.is_ejected = false;
                    it.spared_until = None;
                }
                Event::Closed(place) => known[place.at].open -= 1,
                Event::Served(place) if self.is_news(place, when) => known[place.at].failures = 0,
                Event::Served(_) => {}
                Event::Failed(place, now, random)
                | Event::Lost(place, now, random)
                | Event::Unfit(place, now, random) => {
                    if let Event::Failed(..) = event {
                        known[place.at].connecting -= 1;
                    }
                    if !self.is_news(place, when) {
                        continue;
                    }
                    let ejected = known.iter().filter(|it| it.is_ejected).count();
                    let may_eject = known.len() - ejected > floor;
                    let it = &mut known[place.at];
                    it.failures += 1;
                    if place.is_probe || matches!(event, Event::Unfit(..)) {
                        it.failures = it.failures.max(self.ejection.after);
                    }
                    it.spared_until = Some(now + pause(&self.ejection, it.failures, random));
                    it.is_ejected |= it.failures >= self.ejection.after && may_eject;
                }
            }
        }
        known
    }

    /// Whether this dial began behind the last failure of its upstream that counted. The failure of a
    /// probe always counts.
    fn is_news(&self, place: Place, when: usize) -> bool {
        let of_a_probe = |event: &Event| matches!(event, Event::Failed(it, ..) | Event::Lost(it, ..) if it.is_probe);
        if self.history.get(when).is_some_and(of_a_probe) {
            return true;
        }
        let before = &self.history[..when];
        let began = before
            .iter()
            .position(
                |event| matches!(event, Event::Dialled(it) | Event::Probed(it) if *it == place),
            )
            .expect("it began");
        !before.iter().enumerate().skip(began).any(|(at, event)| {
            matches!(event, Event::Failed(it, ..) | Event::Lost(it, ..) | Event::Unfit(it, ..) if it.at == place.at && self.is_news(*it, at))
        })
    }

    /// Where a dial goes.
    fn choose(&self, tried: &[usize], now: Instant) -> Result<usize, Choice> {
        let known = self.known();
        let count = known.len();
        let last = self.history.iter().rev().find_map(|event| match event {
            Event::Dialled(place) => Some(place.at),
            _ => None,
        });
        let turn = last.map_or(0, |last| last + 1);
        let mut untried: Vec<_> = (turn..turn + count)
            .map(|at| at % count)
            .filter(|at| !tried.contains(at))
            .collect();
        if untried.is_empty() {
            return Err(Choice::Exhausted);
        }
        if untried.iter().any(|&at| !known[at].is_ejected) {
            untried.retain(|&at| !known[at].is_ejected);
        }
        untried.retain(|&at| known[at].connecting + known[at].open < self.max_sizes[at]);
        let in_doubt = |at: usize| {
            let it = &known[at];
            let is_spared = it.spared_until.is_some_and(|until| now < until);
            it.failures > 0 && (is_spared || it.connecting > 0)
        };
        let size = |at: usize| known[at].connecting + known[at].open;
        let sound: Vec<_> = untried
            .iter()
            .copied()
            .filter(|&at| !in_doubt(at))
            .collect();
        let best = match sound.is_empty() {
            false => sound.into_iter().min_by_key(|&at| size(at)),
            true => untried
                .into_iter()
                .min_by_key(|&at| (known[at].spared_until, size(at))),
        };
        best.ok_or(Choice::Full)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Dial { tried: u8 },
    Probe(usize),
    Open(usize),
    Fail(usize, u64),
    Lose(usize, u64),
    Disappoint(usize, u64),
    Serve(usize),
    Close(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![3 => Just(0), 1 => any::<u8>()].prop_map(|tried| Step::Dial { tried }),
        2 => any::<usize>().prop_map(Step::Probe),
        3 => any::<usize>().prop_map(Step::Open),
        3 => (any::<usize>(), any::<u64>()).prop_map(|(which, random)| Step::Fail(which, random)),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(which, random)| Step::Lose(which, random)),
        1 => (any::<usize>(), any::<u64>())
            .prop_map(|(which, random)| Step::Disappoint(which, random)),
        1 => any::<usize>().prop_map(Step::Serve),
        1 => any::<usize>().prop_map(Step::Close),
        2 => (0..400_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_machine_does_as_the_model(
        max_sizes in prop::collection::vec(prop_oneof![1..4_u32, Just(u32::MAX)], 1..5),
        after in 1..4_u32,
        floor in prop::option::of(0..6_u32),
        probe_interval in prop::option::of((1..300_u64).prop_map(Duration::from_millis)),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let ejection = Ejection { probe_interval, ..ejection(after, floor) };
        let mut next_probe: Vec<Option<Instant>> = vec![None; max_sizes.len()];
        let mut machine = Machine::new(max_sizes.clone(), ejection);
        let mut model = Model { max_sizes: max_sizes.clone(), ejection, history: Vec::new() };
        let count = max_sizes.len();
        let mut now = Instant::now();
        let (mut dials, mut open): (Vec<Place>, Vec<Place>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Dial { tried } => {
                    let tried: Vec<_> = (0..count).filter(|at| tried & (1 << at) != 0).collect();
                    let expected = model.choose(&tried, now);
                    let chosen = machine.choose(&tried, now);
                    match chosen {
                        Choice::Dial(place) => {
                            prop_assert_eq!(Ok(place.at), expected);
                            dials.push(place);
                            model.history.push(Event::Dialled(place));
                        }
                        other => prop_assert_eq!(Err(other), expected),
                    }
                }
                Step::Probe(at) => {
                    let at = at % count;
                    let it = &model.known()[at];
                    let has_room = it.connecting + it.open < max_sizes[at];
                    let by_interval = probe_interval.filter(|_| !it.is_ejected);
                    let is_idle = it.is_ejected && it.connecting == 0;
                    let may = has_room && (is_idle || by_interval.is_some());
                    let mut until = it.spared_until;
                    if let Some(interval) = by_interval {
                        let share = interval / u32::try_from(count).unwrap();
                        let first = now + share * u32::try_from(at + 1).unwrap();
                        until = until.max(Some(*next_probe[at].get_or_insert(first)));
                    }
                    let until = until.filter(|&until| now < until);
                    match machine.probe(at, now) {
                        Probe::Dial(place) => {
                            prop_assert!(may && until.is_none() && place.at == at);
                            prop_assert!(place.is_probe);
                            next_probe[at] = probe_interval.map(|interval| now + interval);
                            dials.push(place);
                            model.history.push(Event::Probed(place));
                        }
                        Probe::At(then) => prop_assert!(may && until == Some(then)),
                        Probe::NotNow => prop_assert!(!may),
                    }
                }
                Step::Open(which) if !dials.is_empty() => {
                    let place = dials.swap_remove(which % dials.len());
                    let was_ejected = model.known()[place.at].is_ejected;
                    prop_assert_eq!(machine.opened(place), was_ejected);
                    open.push(place);
                    model.history.push(Event::Opened(place));
                }
                Step::Fail(which, random) if !dials.is_empty() => {
                    let place = dials.swap_remove(which % dials.len());
                    let before = model.known()[place.at].is_ejected;
                    model.history.push(Event::Failed(place, now, random));
                    let ejects = !before && model.known()[place.at].is_ejected;
                    prop_assert_eq!(machine.failed(place, now, random), ejects);
                }
                Step::Lose(which, random) if !open.is_empty() => {
                    let place = open[which % open.len()];
                    let before = model.known()[place.at].is_ejected;
                    model.history.push(Event::Lost(place, now, random));
                    let ejects = !before && model.known()[place.at].is_ejected;
                    prop_assert_eq!(machine.lost(place, now, random), ejects);
                }
                Step::Disappoint(which, random) if !open.is_empty() => {
                    let place = open[which % open.len()];
                    let before = model.known()[place.at].is_ejected;
                    model.history.push(Event::Unfit(place, now, random));
                    let ejects = !before && model.known()[place.at].is_ejected;
                    prop_assert_eq!(machine.unfit(place, now, random), ejects);
                }
                Step::Serve(which) if !open.is_empty() => {
                    let place = open[which % open.len()];
                    machine.served(place);
                    model.history.push(Event::Served(place));
                }
                Step::Close(which) if !open.is_empty() => {
                    let place = open.swap_remove(which % open.len());
                    machine.closed(place);
                    model.history.push(Event::Closed(place));
                }
                Step::Wait(time) => now += Duration::from_millis(time),
                _ => {}
            }
            let known: Vec<_> = machine.upstreams.iter().map(|it| Known {
                connecting: it.connecting,
                open: it.open,
                failures: it.failures,
                spared_until: it.spared_until,
                is_ejected: it.is_ejected(),
            }).collect();
            prop_assert_eq!(&known, &model.known());
            for (it, max_size) in known.iter().zip(&max_sizes) {
                prop_assert!(it.connecting + it.open <= *max_size);
            }
        }
    }
}
