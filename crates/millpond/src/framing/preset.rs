//! What a framing is that has a name of its own here: the contract between the registry of
//! [`Protocol`](super::Protocol) and the files of its presets.

use std::{borrow::Cow, fmt};

use bytes::Bytes;

use super::{Failure, Frame, Framing};

/// The name of a framing that is here already, for documents, command lines and their help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// Its name: `length-json`.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
}

impl Preset {
    pub(super) const fn new(name: &'static str, about: &'static str) -> Self {
        Preset { name, about }
    }
}

/// Its name.
impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// A framing with a name and settings, all of which can be said in a document.
pub(super) trait PresetFraming: Framing + Clone + fmt::Debug {
    /// Its name, in kebab case, and what it is.
    const PRESET: Preset;

    /// What can be set, in snake case. A document's unknown keys are errors. What is made of them
    /// calls each setting as the document does, in its errors too: `max_body`.
    type Settings: TryInto<Self, Error: fmt::Display> + Document;

    /// The framing of which nothing is set.
    fn plain() -> Self;

    /// The settings that make this framing, for documents.
    #[cfg_attr(not(feature = "serde"), expect(dead_code))]
    fn settings(&self) -> Self::Settings;

    /// The same with another limit, in bytes, which errors call by this name.
    fn limited(self, max_body: usize, named: Cow<'static, str>) -> Self;

    /// The same for requests that are passed on to so many servers, which may differ in what isn't
    /// theirs in common.
    fn among(self, servers: usize) -> Self {
        let _ = servers;
        self
    }

    /// The bodies of the smallest right reply to a request: its own, unless the protocol's replies
    /// have another form.
    ///
    /// # Errors
    ///
    /// The request is none of this protocol's.
    fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
        Ok(vec![request.clone().into_body()])
    }
}

/// Reads a framing's settings, and makes the framing.
#[cfg(feature = "serde")]
pub(super) fn read<'de, F: PresetFraming, D: serde::Deserializer<'de>>(
    settings: D,
) -> Result<F, D::Error> {
    let settings: F::Settings = serde::Deserialize::deserialize(settings)?;
    settings.try_into().map_err(serde::de::Error::custom)
}

/// What a document can hold, where documents are read at all.
#[cfg(feature = "serde")]
pub(super) trait Document: serde::Serialize + serde::de::DeserializeOwned {}

#[cfg(feature = "serde")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Document for T {}

/// What a document can hold, where documents are read at all.
#[cfg(not(feature = "serde"))]
pub(super) trait Document {}

#[cfg(not(feature = "serde"))]
impl<T> Document for T {}
