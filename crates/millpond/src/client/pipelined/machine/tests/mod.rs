//! The machine against a slow, obvious model of it, over random sequences of everything that can
//! happen.

use super::*;

mod edges;
mod model;
mod play;
mod properties;
mod stories;
