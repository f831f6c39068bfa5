//! The settings of pipelines.

use crate::pool::InvalidSetting;

/// How many exchanges a client keeps in flight on one connection: see
/// [`ClientBuilder::pipelined`](crate::client::ClientBuilder::pipelined).
///
/// In settings files the word `"unlimited"` stands for a number of bytes that is [`usize::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Pipelining {
    pub(super) depth: usize,
    #[cfg_attr(
        feature = "serde",
        serde(with = "millpond_words::counts::max_is_unlimited")
    )]
    pub(super) max_bytes: usize,
    #[cfg_attr(
        feature = "serde",
        serde(with = "millpond_words::counts::max_is_unlimited")
    )]
    pub(super) max_waiting_bytes: usize,
}

impl Pipelining {
    /// Exchanges in flight on one connection at most, at least 1. Default 128: enough to fill each
    /// read and write, few enough that an exchange that hangs holds up no more. When that many
    /// are, another connection is used, up to the pool's `max_size`.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// Bytes of unanswered requests on one connection at most; a longer request goes alone. Default
    /// 1 MiB. `usize::MAX` is no bound.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes of the requests that wait for a place at most, at least 1. Default 64 MiB: the pool's
    /// [`max_waiting`](crate::pool::PoolBuilder::max_waiting) bounds their number, and 1,024 of a
    /// MiB each would hold a GiB. `usize::MAX` is no bound.
    ///
    /// A request that would exceed it is told
    /// [`FullOfBytes`](crate::client::RequestError::FullOfBytes) at once. One that finds nobody
    /// waiting is taken however long it is; so is the second of the two by which a server shows
    /// that it reads frames.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.max_waiting_bytes = bytes;
        self
    }

    pub(in crate::client) fn validate(&self) -> Result<(), InvalidSetting> {
        for (setting, value) in [
            ("depth", self.depth),
            ("max_waiting_bytes", self.max_waiting_bytes),
        ] {
            if value == 0 {
                return Err(InvalidSetting::new(setting, "0".into(), "at least 1"));
            }
        }
        Ok(())
    }
}

impl Default for Pipelining {
    fn default() -> Self {
        Pipelining {
            depth: 128,
            max_bytes: 1 << 20,
            max_waiting_bytes: 64 << 20,
        }
    }
}
