//! Calling all who are in line costs each of them a poll, and so must not bring about the next
//! call.

use std::collections::VecDeque;

use super::*;

/// As many callers as this wait for one connection, on a thread that takes 50 µs to poll one of
/// them; whoever gets the connection has it for a millisecond, and gets in line again. Upkeep runs
/// elsewhere, and comes when it means to.
struct BusyThread {
    scene: Scene,
    tickets: Vec<Option<QueueTicket>>,
    /// Who has been woken, and not yet been polled.
    run_queue: VecDeque<usize>,
    lent: Option<(usize, Lent, Moment)>,
    wakes: usize,
    served: usize,
}

const POLL: Duration = Duration::from_micros(50);

impl BusyThread {
    fn new(callers: usize) -> Self {
        let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
        let lent = lent.remove(0);
        let tickets = (0..callers).map(|_| Some(scene.try_wait(600_000).expect("may wait")));
        let tickets = tickets.collect();
        scene.release(lent);
        let mut thread = BusyThread {
            scene,
            tickets,
            run_queue: VecDeque::new(),
            lent: None,
            wakes: 0,
            served: 0,
        };
        thread.hear();
        thread
    }

    /// The scene's callers count from 1, and the first of them has had the connection.
    fn hear(&mut self) {
        for waker in self.scene.woken() {
            self.wakes += 1;
            self.run_queue.push_back(waker as usize - 2);
        }
    }

    /// Time passes for everybody but this thread.
    fn stall(&mut self, time: Duration) {
        let until = self.scene.now.after(time);
        loop {
            let upkeep = self.scene.state.planned_wake();
            let release = self.lent.as_ref().map_or(Moment::NEVER, |&(_, _, at)| at);
            let next = upkeep.min(release).max(self.scene.now);
            if next > until {
                self.scene.now = until;
                return;
            }
            self.scene.now = next;
            if next == release {
                let (_, lent, _) = self.lent.take().expect("it is lent");
                self.scene.release(lent);
            } else {
                self.scene.tick();
            }
            self.hear();
        }
    }

    /// Polls the next one that was woken; where there is none, time passes.
    fn turn(&mut self) {
        self.stall(POLL);
        let Some(caller) = self.run_queue.pop_front() else {
            return;
        };
        let Some(ticket) = self.tickets[caller].take() else {
            return;
        };
        let waker = caller as u64 + 2;
        match self
            .scene
            .does(|state, now, fx| state.poll(ticket, now, waker, fx))
        {
            Polled::Waiting(ticket) => self.tickets[caller] = Some(ticket),
            Polled::Lent {
                key, connection, ..
            } => {
                let until = self.scene.now.after(Duration::from_millis(1));
                self.lent = Some((caller, (key, connection), until));
                self.served += 1;
            }
            Polled::Refused(why) => panic!("{why:?}"),
        }
        self.hear();
    }
}

#[test]
fn a_thread_that_stalls_once_is_called_once() {
    for callers in [20, 200, 400] {
        let mut thread = BusyThread::new(callers);
        thread.stall(Duration::from_millis(20));
        while thread.served < callers {
            thread.turn();
        }
        let BusyThread { wakes, served, .. } = thread;
        let revoked = thread.scene.state.totals().revoked;
        println!("{callers} callers: {served} served, {wakes} woken, {revoked} grants revoked");
        assert!(
            wakes <= 3 * callers,
            "{callers} callers: {wakes} wakes for {served} grants"
        );
    }
}

#[test]
fn while_those_who_were_called_answer_an_overdue_grant_goes_to_the_next_in_line() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _sleeps = scene.wait();
    let mut called: VecDeque<QueueTicket> = (0..6).map(|_| scene.wait()).collect();
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    assert_eq!(scene.woken(), [2, 3, 4, 5, 6, 7, 8]);
    let taken = scene.picks_up(called.pop_front().expect("the first"));
    // Each answer gives the others another 5 ms.
    let mut back = VecDeque::new();
    for ticket in called.drain(..3) {
        scene.pass(4);
        back.push_back(scene.still_waits(ticket));
    }
    scene.release(taken);
    assert_eq!(scene.woken(), [1_000]);
    scene.tick();
    scene.tick_after(4);
    scene.still_waits(called.pop_front().expect("the fourth"));
    scene.tick_after(1);
    assert_eq!(scene.woken(), [1_000], "the next in line alone");
    scene.tick_after(1);
    scene.tick_after(5);
    assert_eq!(scene.woken(), [1_000; 2], "nobody has answered for 5 ms");
    assert_eq!(scene.state.totals().revoked, 3);
}
