//! The machine's subtle rules, as stories.

use super::*;

mod stories;
