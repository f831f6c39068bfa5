//! The invariants, as assertions that a test calls after every transition.

use super::{Carried, Machine, live, pipeline::AttendedBy};
use crate::pool::unstable::{Recall, Refusal};

impl<K: Carried> Machine<K> {
    /// Panics when an invariant of the machine (listed at its top) doesn't hold.
    pub(super) fn check(&self) {
        for pipeline in self.pipelines.iter().flatten() {
            let mut ends = 0;
            let mut bytes = 0;
            let mut silent = 0;
            for expected in &pipeline.expected {
                assert!(expected.begins >= ends, "1: expected out of order");
                ends = expected.begins + expected.length as u64;
                bytes += expected.length;
                silent += usize::from(expected.silent);
            }
            assert!(ends <= pipeline.appended, "1: expected, and never appended");
            assert_eq!(bytes, pipeline.bytes, "the unanswered bytes");
            assert_eq!(silent, pipeline.silent, "those that get no reply");
            let taken_or_not = pipeline.handed + pipeline.outgoing.len() as u64;
            assert_eq!(
                taken_or_not, pipeline.appended,
                "a byte is lost, or doubled"
            );
            assert_eq!(
                pipeline.outgoing.is_empty(),
                pipeline.attended == AttendedBy::Nobody,
                "3: {:?} attends to {} bytes",
                pipeline.attended,
                pipeline.outgoing.len()
            );
            let in_flight = pipeline.expected.len();
            assert!(
                in_flight <= self.limits.depth.max(1),
                "4: too many in flight"
            );
            assert!(
                bytes <= self.limits.max_bytes || in_flight == 1,
                "4: {bytes} bytes in flight"
            );
            assert!(
                !pipeline.retired || pipeline.recall == Recall::Now,
                "6: retired, and {:?}",
                pipeline.recall
            );
            let held = pipeline.trial.as_ref().map(|trial| trial.answered);
            if !self.proven {
                let together = held.map_or(1, |answered| 2 - answered);
                assert!(in_flight <= together, "7: {in_flight} follow each other");
            }
            if let Some(answered) = held {
                assert!(answered < 2 && answered + in_flight >= 2, "a trial of one");
            }
        }
        let all = || self.waiting.all();
        for flow in self.flows.all() {
            for &rank in &flow.waiting {
                let mut all = all().filter(|(_, other, _)| *other == rank);
                let (served_by, ..) = all.next().expect("8: it waits nowhere");
                assert_eq!(served_by, flow.served_by(), "8: it waits elsewhere");
            }
            let serials = flow.last.filter(|_| !flow.waiting.is_empty());
            let alive = serials.is_none_or(|(id, _)| live(&self.pipelines, id).is_some());
            assert!(alive, "8: it waits for a pipeline that is gone");
        }
        let of_flows = self
            .flows
            .all()
            .map(|flow| flow.waiting.len())
            .sum::<usize>();
        let with_flow = all().filter(|(_, _, request)| request.flow.is_some());
        assert_eq!(
            of_flows,
            with_flow.count(),
            "8: it waits unknown to its flow"
        );
        let bytes: usize = all().map(|(_, _, request)| request.frame.len()).sum();
        assert_eq!(bytes, self.waiting.bytes(), "the bytes of those who wait");
        assert!(
            bytes <= self.limits.max_waiting_bytes || self.waiting.len() <= 2,
            "5: {} wait with {bytes} bytes",
            self.waiting.len()
        );
        assert!(
            self.waiting.len() == 0 || self.leasing + self.live() > 0,
            "somebody waits for nothing"
        );
        assert!(
            self.waiting.len() == 0
                || !matches!(self.refusal, Some(Refusal::Closed | Refusal::RuntimeEnded)),
            "somebody waits, and nobody is served any more"
        );
    }

    /// What is in use and what is to come.
    pub(super) fn held(&self) -> usize {
        self.live() + self.leasing
    }

    /// Everybody who hasn't been told.
    pub(super) fn replies(&self) -> Vec<&K::Reply> {
        let waiting = self.waiting.all().map(|(_, _, request)| &request.reply);
        let begun = self.pipelines.iter().flatten().flat_map(|pipeline| {
            let held = pipeline
                .trial
                .iter()
                .filter_map(|trial| trial.held.as_ref());
            let expected = pipeline.expected.iter();
            held.map(|held| &held.reply)
                .chain(expected.filter_map(|expected| expected.reply.as_ref()))
        });
        waiting.chain(begun).collect()
    }
}
