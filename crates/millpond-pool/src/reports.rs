//! What a pool tells its log of outages, leaks, and connections that are never released.

use millpond_words::Span;

use super::{
    connector::Connector,
    explain::last_failure,
    pooled::Borrower,
    shared::SharedPool,
    state::{Leak, OutageNews, Unreleased},
};

impl<C: Connector> SharedPool<C> {
    #[cold]
    pub(crate) fn report_outage(&self, news: OutageNews) {
        let last = last_failure(&self.lock(), self.clock.now());
        let cause = last
            .as_ref()
            .map(|(_, error)| error.cause())
            .map(tracing::field::display);
        let pool = &self.name;
        match news {
            OutageNews::Began => {
                tracing::warn!(target: "millpond::pool", pool, cause, "dials fail")
            }
            OutageNews::Lasts { since, failures } => {
                tracing::warn!(target: "millpond::pool", pool, ?since, failures, cause, "dials still fail");
            }
            OutageNews::Ended { lasted, failures } => {
                tracing::info!(target: "millpond::pool", pool, ?lasted, failures, "dials succeed again, and what they open serves");
            }
        }
    }

    pub(crate) fn report_leak(&self, leak: &Leak<Borrower>) {
        tracing::warn!(
            target: "millpond::pool",
            pool = self.name,
            connection = leak.number,
            acquired_at = %leak.tag.acquired_at,
            lent_for = %Span(leak.lent_for),
            "a connection has been lent for longer than the leak threshold"
        );
    }

    /// Says where connections are dropped without a release, and what to write there.
    #[cold]
    pub(crate) fn report_unreleased(&self, habit: &Unreleased<Borrower>) {
        tracing::warn!(
            target: "millpond::pool",
            pool = self.name,
            acquired_at = %habit.tag.acquired_at,
            unreleased = habit.unreleased,
            released = habit.released,
            "connections are used and then merely dropped, and each is closed for it, since its reply may be still to come; call \
             release() when the reply has been read, or run the exchange in Pool::with; if connections match replies to requests by \
             themselves, build the connector with connections_manage_exchanges(); calls that were cancelled need nothing"
        );
    }
}
