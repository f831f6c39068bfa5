//! Sends one request.

use std::time::{Duration, Instant};

use super::{
    plan::Plan,
    report::{self, Called, Form, Phases},
};
use crate::{complaint::Complaint, exit::Exit};

pub(super) async fn run(plan: &Plan, form: Form, body: &[u8]) -> Result<Exit, Complaint> {
    // No grace for outages: the caller is told at once.
    let client = plan.client(1, 1, Some(Duration::ZERO), None)?;
    let began = Instant::now();
    let replies = plan.exchange(&client, body).await;
    let total = began.elapsed();
    let dialled = client.pool().connector().streams().last_timings();
    let called = Called {
        replies,
        carry_json: plan.spoken.carries_json(),
        phases: Phases::of(dialled.map(|timings| timings.dial), total),
    };
    report::show(&called, form)
}
