//! Requests of one flow that a proxy passes on together: each of them as if it had been passed on by
//! itself, behind the one before.

use tokio::time::Instant;

use super::{
    deadline::{Times, expressible},
    error::RequestError,
    handle::Client,
    ongoing::Ongoing,
    pipelined::{FirstAttempt, Flow, Together},
};
use crate::{
    framed::Replied,
    framing::{Frame, Framing},
};

impl<F: Framing> Client<F> {
    /// Begins to pass on the first ones of these requests, those that have room at once and get one
    /// reply each. They have until then, or as long as requests of this client have if that is less.
    /// The others have to be passed on one by one, if any; also if it isn't pipelined.
    pub(crate) fn pass_on_together(
        &self,
        frames: &[Frame],
        flow: &Flow<F>,
        until: Option<Instant>,
    ) -> Option<Together<F>> {
        let channel = self.channel();
        let pipelines = channel.pipelines.as_ref()?;
        let (began, own) = (Instant::now(), self.deadline());
        let limit = until.map_or(own, |until| until.saturating_duration_since(began).min(own));
        let times = Times {
            began,
            deadline: began + expressible(limit),
        };
        let together = pipelines.begin_together(frames, &times, flow)?;
        channel.retries.pay_in(together.count() as u64);
        Some(together)
    }

    /// Goes on with one whose attempt has failed: there is another, or its error is told.
    pub(crate) async fn pass_on_again(
        &self,
        frame: &[u8],
        flow: &Flow<F>,
        failed: FirstAttempt,
    ) -> Result<Replied, RequestError> {
        let ongoing = Ongoing::resume(self.channel().metrics());
        let limit = failed.times.deadline - failed.times.began;
        let requests = self.within(limit);
        ongoing.ended(requests.pass_on_again(frame, flow, failed).await)
    }
}
