//! What the drivers of the pipelines do, and what their sockets and peers do to them.

use super::{
    Arc, At, Came, Driver, Edge, HEARTBEAT, LeftOut, Play, Progress, Recall, Refusal, Serial,
    Silent, SlotId, Unanswered, Waker, Writer,
};

impl Play<'_> {
    pub(super) fn started(&mut self) {
        if self.model.leasing == 0 {
            return;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let waker = Waker::from(Arc::new(Silent));
        let slot = SlotId {
            at: serial,
            number: u64::from(serial),
        };
        let id = self
            .state
            .started(slot, serial, waker.clone(), self.at(self.now));
        self.model.started(serial, self.now);
        self.drivers.push(Driver {
            id,
            serial,
            waker,
            unwritten: 0,
            awake: true,
        });
        self.tally.count(Edge::Started);
        self.serve(serial);
    }

    pub(super) fn lease_failed(&mut self) {
        if self.model.leasing == 0 {
            return;
        }
        let expected = self.model.lease_failed();
        let told = self.state.lease_failed();
        self.tally.count(Edge::LeaseFailed);
        self.tally
            .count_if(!told.is_empty(), Edge::LeaseFailedForAll);
        self.leave(told, &expected);
    }

    /// Who waits is served; afterwards nobody waits who could be.
    pub(super) fn serve(&mut self, serial: Serial) {
        let arrivals = self
            .model
            .exchanges
            .iter()
            .filter(|one| one.at == At::Waiting);
        let line: Vec<_> = arrivals.map(|one| one.caller).collect();
        let before = self.model.in_flight(serial).len();
        let bound = |play: &Self| {
            let all = play.model.exchanges.iter();
            let bound = all.filter(|one| one.at == At::Waiting && one.served_by == Some(serial));
            bound.count()
        };
        let had_bound = bound(self);
        let (late, shed) = self.model.serve(serial, self.now);
        let left_out_too = late.len() + shed.len();
        let released = match self.model.pipe(serial).recall {
            Recall::Now => self.model.release(serial),
            _ => Default::default(),
        };
        let (has_bound, let_go) = (bound(self), !released.0.is_empty());
        let mut left_out = LeftOut::nobody();
        let id = self.driver(serial).id;
        let now = self.at(self.now);
        let answered = self.state.serve(id, now, &mut left_out);
        self.released(answered, released);
        self.tally.count_if(let_go, Edge::ReleasedByARecall);
        let served = !let_go && had_bound > has_bound + left_out_too;
        self.tally.count_if(served, Edge::ServedWhereItsFlowIs);
        self.driver(serial).awake = true;
        let edges = [Edge::LeftOutLate, Edge::Shed];
        let groups = [(left_out.late, late), (left_out.shed, shed)];
        for ((requests, expected), edge) in groups.into_iter().zip(edges) {
            for _ in &requests {
                self.tally.count(edge);
            }
            let replies = requests.into_iter().map(|request| request.reply);
            self.leave(replies.collect(), &expected);
        }
        let mut served = line
            .iter()
            .map(|&caller| self.model.exchange(caller).at == At::On(serial))
            .skip_while(|served| *served);
        let overtook = served.any(|served| served);
        drop(served);
        let more = self.model.in_flight(serial).len() - before;
        self.tally
            .count_if(overtook, Edge::ServedBeforeAnEarlierOne);
        self.tally.count_if(more > 0, Edge::Served);
        let together = more > 0 && self.model.pipe(serial).trial.is_some();
        self.tally.count_if(together, Edge::ServedTogether);
        let idle = self.model.in_flight(serial).is_empty();
        let free = idle && self.model.pipe(serial).recall != Recall::Now;
        assert!(
            !free || self.model.first_in_line(serial).is_none(),
            "somebody waits for what is idle"
        );
    }

    fn any_driver(&mut self) -> Option<Serial> {
        let any = self.rng.usize(..self.drivers.len().max(1));
        self.drivers.get(any).map(|driver| driver.serial)
    }

    /// The next reply, if the peer can know its request; then the driver serves.
    pub(super) fn came(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        if self.next_is_written(serial) {
            self.answers(serial);
        }
    }

    pub(super) fn answers(&mut self, serial: Serial) {
        let came = self.reply(serial);
        assert_eq!(came, Came::Expected);
        self.serve(serial);
    }

    /// The next request is with the peer as a whole.
    pub(super) fn next_is_written(&mut self, serial: Serial) -> bool {
        let unwritten = self.driver(serial).unwritten;
        let pipe = self.model.pipe(serial);
        let sent = &pipe.stream[..pipe.taken - unwritten];
        let in_flight = self.model.in_flight(serial);
        let length = |caller| sent.iter().filter(|byte| **byte == Some(caller)).count();
        let mut gets_reply = in_flight.iter().skip_while(|one| one.silent);
        gets_reply
            .next()
            .is_some_and(|next| length(next.caller) == next.length)
    }

    fn reply(&mut self, serial: Serial) -> Came {
        let body = self.rng.u32(..);
        let driver = self.driver(serial);
        let (id, unwritten) = (driver.id, driver.unwritten);
        let next = self.model.in_flight(serial).first().map(|one| one.caller);
        let proven = self.model.proven;
        let (expected, who) = self.model.came(serial, body, unwritten);
        let mut told = Vec::new();
        // A reply may come exactly while one is owed.
        let owed = self.state.owes(id, unwritten);
        let came = self.state.came(id, body, unwritten, &mut told);
        assert_eq!(owed, came != Came::Unasked);
        assert_eq!(came, expected);
        let told: Vec<_> = told
            .into_iter()
            .map(|told| {
                self.leaves(&told.reply);
                (told.reply.0, told.body)
            })
            .collect();
        assert_eq!(told, who, "who is told, and what");
        let edge = match (came, next) {
            (Came::Expected, _) => Edge::Expected,
            (Came::Early, _) => Edge::Early,
            (Came::Unasked, None) => Edge::UnaskedOfNobody,
            (Came::Unasked, Some(_)) => Edge::UnaskedOfTheUnwritten,
        };
        self.tally.count(edge);
        let held = self.model.pipe(serial).held.is_some();
        self.tally.count_if(held, Edge::Held);
        self.tally
            .count_if(!proven && self.model.proven, Edge::Proven);
        let nobody = came == Came::Expected && !held && told.is_empty();
        self.tally.count_if(nobody, Edge::RepliesToNobody);
        came
    }

    /// Those are told that get no reply and have been written.
    pub(super) fn settle_silent(&mut self) {
        if let Some(serial) = self.any_driver() {
            self.settle_silent_of(serial);
        }
    }

    pub(super) fn settle_silent_of(&mut self, serial: Serial) {
        let driver = self.driver(serial);
        let (id, unwritten) = (driver.id, driver.unwritten);
        let expected = self.model.settle_silent(serial, unwritten);
        let mut told = Vec::new();
        self.state.settle_silent(id, unwritten, &mut told);
        let told: Vec<_> = told
            .into_iter()
            .map(|told| {
                self.leaves(&told.reply);
                (told.reply.0, told.body)
            })
            .collect();
        assert_eq!(told, expected);
        self.tally
            .count_if(!told.is_empty(), Edge::SilentlyAnswered);
    }

    /// A reply that nobody expects yet; then the driver ends.
    pub(super) fn unasked(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        if !self.next_is_written(serial) {
            let came = self.reply(serial);
            assert_ne!(came, Came::Expected);
            self.compare();
            self.end_of(serial, false);
        }
    }

    /// The driver has its turn: the rest of what was taken, then what it was asked to write.
    pub(super) fn driver_turns(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        let driver = self.driver(serial);
        if !driver.awake && driver.unwritten == 0 {
            return;
        }
        if self.rng.bool() {
            self.serve(serial);
        }
        let stays = self.rng.usize(..10);
        let driver = self.driver(serial);
        driver.unwritten = driver.unwritten.min(stays);
        let (id, unwritten) = (driver.id, driver.unwritten);
        if unwritten > 0 {
            return;
        }
        while self.state.duties(id).look {
            self.look_of(serial);
            if self.drivers.iter().all(|driver| driver.serial != serial) {
                return;
            }
        }
        if self.state.duties(id).write {
            let taken = self.take(id, serial);
            self.driver(serial).unwritten = taken.min(stays);
            self.tally.count_if(taken > 0, Edge::WrittenByDriver);
        }
        self.driver(serial).awake = false;
    }

    pub(super) fn beat(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        let id = self.driver(serial).id;
        self.driver(serial).awake = true;
        let sends = self.state.beat(id, &HEARTBEAT);
        assert_eq!(sends, self.model.beat(serial, HEARTBEAT.len()));
        self.tally.count(if sends {
            Edge::Beat
        } else {
            Edge::BeatWasNotNeeded
        });
    }

    pub(super) fn look(&mut self) {
        if let Some(serial) = self.any_driver() {
            self.look_of(serial);
        }
    }

    /// The driver looks at the clock. A caller may come before it has said when it will look again.
    fn look_of(&mut self, serial: Serial) {
        let grace = self.now + 30;
        let held = self.model.pipe(serial).held.is_some();
        let (expired, head, next) = self.model.overdue(serial, self.now, grace);
        let id = self.driver(serial).id;
        let overdue = self
            .state
            .overdue(id, self.at(self.now), self.at(grace), |_| false);
        self.tally.count_if(!expired.is_empty(), Edge::Expired);
        self.leave(overdue.expired, &expired);
        assert_eq!(overdue.head, head);
        assert_eq!(overdue.next, next.map(|next| self.at(next)));
        if head {
            self.tally.count(if held {
                Edge::HeldExpired
            } else {
                Edge::HeadExpired
            });
            self.end_of(serial, false);
            return;
        }
        self.driver(serial).awake = true;
        if self.rng.u8(..4) == 0 {
            self.begin();
        }
        let looks_at = next.unwrap_or(u64::MAX).min(self.now + 10);
        let at = self.at(looks_at);
        self.state.will_look(id, at);
        self.model.pipe_mut(serial).looks_at = Some(looks_at);
    }

    pub(super) fn tick(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        let driver = self.driver(serial);
        if driver.unwritten > 0 {
            return;
        }
        let id = driver.id;
        let recall = self.model.pipe(serial).recall;
        let retired = self.model.pipe(serial).retired;
        assert_eq!(self.state.is_retired(id), retired);
        let ended = self.state.end_if_quiet(id);
        let quiet = ended.is_some();
        assert_eq!(quiet, self.model.end_if_quiet(serial));
        self.tally.count_if(retired && quiet, Edge::RetiredEnded);
        if let Some(released) = ended {
            self.forget(serial);
            let expected = self.model.release(serial);
            self.released(released, expected);
        }
        let edge = match (quiet, recall) {
            (false, _) => Edge::NotQuiet,
            (true, Recall::No) => Edge::Quiet,
            (true, _) => Edge::WantedBack,
        };
        self.tally.count(edge);
        let impatient = !self.model.may_lease();
        let leases = self.state.lease_for_waiting();
        assert_eq!(leases, self.model.lease_for_waiting());
        self.tally
            .count_if(impatient && leases > 0, Edge::LeasedImpatiently);
    }

    fn forget(&mut self, serial: Serial) {
        let at = self
            .drivers
            .iter()
            .position(|driver| driver.serial == serial);
        let driver = self.drivers.swap_remove(at.expect("it lived"));
        self.gone.push(driver.id);
    }

    pub(super) fn end(&mut self) {
        let partial = self.rng.bool();
        if let Some(serial) = self.any_driver() {
            self.end_of(serial, partial);
        }
    }

    pub(super) fn end_of(&mut self, serial: Serial, partial: bool) {
        let driver = self.driver(serial);
        let (id, unwritten) = (driver.id, driver.unwritten);
        let silent = self.model.settle_silent(serial, unwritten);
        let (told, trial, released) = self.model.end(serial, unwritten, partial);
        let ended = self.state.end(id, unwritten, partial);
        let settled = ended.silent.into_iter().map(|told| {
            self.leaves(&told.reply);
            (told.reply.0, told.body)
        });
        assert_eq!(settled.collect::<Vec<_>>(), silent);
        self.forget(serial);
        for Unanswered {
            reply, progress, ..
        } in &ended.unanswered
        {
            self.leaves(reply);
            let edge = match progress {
                Progress::Unsent => Edge::EndedUnsent,
                Progress::Unanswered => Edge::EndedUnanswered,
                Progress::Answered => Edge::EndedAnswered,
            };
            self.tally.count(edge);
        }
        let unanswered = ended.unanswered.iter();
        let unanswered: Vec<_> = unanswered.map(|one| (one.reply.0, one.progress)).collect();
        assert_eq!(unanswered, told, "who is told, and how far each had come");
        assert_eq!(ended.trial, trial);
        let leases = ended.released.leases;
        self.tally
            .count_if(!released.0.is_empty(), Edge::ReleasedByAnEnd);
        self.released(ended.released, released);
        self.tally.count_if(trial == Some(0), Edge::EndedInTrial);
        self.tally
            .count_if(trial == Some(1), Edge::EndedInTrialAfterOne);
        self.tally.count_if(leases > 0, Edge::EndedAndLeased);
    }

    /// The pool is told something.
    pub(super) fn reconsider(&mut self) {
        let refusal = match self.rng.u8(..10) {
            0 => Some(Refusal::Closed),
            1 => Some(Refusal::Draining),
            _ => None,
        };
        let seed = self.rng.u64(..);
        let recall = |number: u64| match (seed >> (number % 16 * 4)) % 8 {
            0 => Recall::Now,
            1 | 2 => Recall::AfterWaiters,
            _ => Recall::No,
        };
        let max_pipelines = self.rng.usize(1..=4);
        let closed = matches!(refusal, Some(Refusal::Closed));
        let recall = |number| if closed { Recall::Now } else { recall(number) };
        self.tally.count_if(max_pipelines < self.held, Edge::Shrunk);
        let mut pipes = self.model.pipes.iter().flatten();
        let stays = pipes.any(|pipe| pipe.retired && recall(u64::from(pipe.serial)) != Recall::Now);
        self.tally.count_if(stays, Edge::RetiredStaysSo);
        let (refused, woken, leases) = self.model.reconsider(refusal, max_pipelines, recall);
        let reconsidered = self
            .state
            .reconsider(refusal, max_pipelines, |slot| recall(slot.number));
        self.tally
            .count_if(!refused.is_empty(), Edge::ReconsideredAndRefused);
        self.tally.count_if(!woken.is_empty(), Edge::Recalled);
        self.tally.count_if(leases > 0, Edge::ReconsideredAndLeased);
        self.leave(reconsidered.refused, &refused);
        let wakes: Vec<_> = reconsidered
            .wakes
            .iter()
            .map(|waker| self.wake(waker))
            .collect();
        assert_eq!(wakes, woken);
        assert_eq!(reconsidered.leases, leases);
    }

    /// A server has said that it takes no more requests on a connection.
    pub(super) fn retire(&mut self) {
        let Some(serial) = self.any_driver() else {
            return;
        };
        let id = self.driver(serial).id;
        let woken = self.model.retire(serial);
        let waker = self.state.retire(id);
        assert_eq!(waker.is_some(), woken);
        if let Some(waker) = waker {
            assert_eq!(self.wake(&waker), serial);
        }
        self.tally.count(match woken {
            true => Edge::Retired,
            false => Edge::RetiredAndRecalledBefore,
        });
    }

    /// Who comes late to a pipeline that has ended changes nothing.
    pub(super) fn asks_the_gone(&mut self) {
        let any = self.rng.usize(..self.gone.len().max(1));
        let Some(&id) = self.gone.get(any) else {
            return;
        };
        self.tally.count(Edge::AskedOfTheGone);
        let now = self.at(self.now);
        let mut told = Vec::new();
        let mut left_out = LeftOut::nobody();
        self.state.serve(id, now, &mut left_out);
        assert!(left_out.late.is_empty() && left_out.shed.is_empty());
        self.state.settle_silent(id, 0, &mut told);
        assert_eq!(self.state.came(id, 0, 0, &mut told), Came::Unasked);
        assert!(
            self.state
                .overdue(id, now, now, |_| false)
                .expired
                .is_empty()
                && told.is_empty()
        );
        self.state.will_look(id, now);
        assert!(self.state.retire(id).is_none() && !self.state.is_retired(id));
        assert!(self.state.end_if_quiet(id).is_none() && !self.state.beat(id, &HEARTBEAT));
        assert!(
            !self.state.take(id, &mut Vec::new(), &mut Vec::new())
                && self.state.leave_to_driver(id).is_none()
        );
        let told = self.state.duties(id);
        assert!(!told.write && !told.look);
        let ended = self.state.end(id, 0, true);
        assert!(ended.unanswered.is_empty() && ended.trial.is_none());
    }

    /// Its driver has nothing to do, and its caller neither.
    pub(super) fn is_written(&self, serial: Serial) -> bool {
        self.model.pipe(serial).writer == Writer::Nobody
    }
}
