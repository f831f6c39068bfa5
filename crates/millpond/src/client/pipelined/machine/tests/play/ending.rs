//! How a sequence ends: everybody does what is left to do, and then nobody waits and nobody is
//! forgotten.

use super::{Play, Recall};

impl Play<'_> {
    /// Time stands still; connections come, peers answer, and drivers tick.
    pub(super) fn comes_to_rest(&mut self) {
        let size = self.model.max_pipelines;
        self.model.reconsider(None, size, |_| Recall::No);
        let _ = self.state.reconsider(None, size, |_| Recall::No);
        for _ in 0..200 {
            if self.state.replies().is_empty() {
                break;
            }
            self.everybody_acts();
        }
        self.compare();
        let left = self.state.replies();
        assert!(left.is_empty(), "for ever: {left:?}");
        assert!(self.model.exchanges.iter().all(|one| one.told));
    }

    fn everybody_acts(&mut self) {
        while self.model.leasing > 0 {
            self.started();
            self.compare();
        }
        while !self.writers.is_empty() {
            self.caller_writes();
            self.compare();
        }
        let serials: Vec<_> = self.drivers.iter().map(|driver| driver.serial).collect();
        for serial in serials {
            let driver = self.driver(serial);
            driver.unwritten = 0;
            let id = driver.id;
            if !self.is_written(serial) {
                self.take(id, serial);
            }
            self.settle_silent_of(serial);
            while self.next_is_written(serial) {
                self.answers(serial);
            }
            self.settle_silent_of(serial);
            self.compare();
        }
        self.tick();
        self.compare();
    }
}
