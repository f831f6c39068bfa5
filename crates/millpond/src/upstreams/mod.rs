//! Several upstreams behind one connector: which one a dial goes to (`machine.rs`), and how many
//! connections each of them has, counted by what travels with the streams (`shared.rs`).

mod machine;
mod settings;
mod shared;
mod snapshot;
mod upstream;

pub(crate) use self::shared::{Held, Loss, Upstreams};
pub use self::{
    settings::Ejection,
    snapshot::{UpstreamFailure, UpstreamSnapshot, UpstreamTotals},
    upstream::Upstream,
};
