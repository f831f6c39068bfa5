//! The machine against a slow, obvious model of it, over random sequences of everything that can
//! happen; and its subtle rules as stories.

use super::*;

mod compare;
mod driver;
mod edges;
mod model;
mod numbered;
mod properties;
mod stories;
