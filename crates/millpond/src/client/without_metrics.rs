//! What stands in for `metrics.rs` without the feature: there are no metrics, so nobody can be told
//! anything.

use super::outcome::Outcome;

#[derive(Debug)]
pub(super) enum Metrics {}

impl Metrics {
    pub(super) fn began(&self) {
        match *self {}
    }

    pub(super) fn ended(&self, _: Outcome) {
        match *self {}
    }

    pub(super) fn waiting(&self, _: impl FnOnce() -> (usize, usize)) {
        match *self {}
    }

    pub(super) fn turned_away(&self) {
        match *self {}
    }

    pub(super) fn retry(&self, _: bool) {
        match *self {}
    }

    pub(super) fn heartbeat_sent(&self) {
        match *self {}
    }

    pub(super) fn heartbeat_received(&self) {
        match *self {}
    }

    pub(super) fn heartbeat_missed(&self) {
        match *self {}
    }
}
