//! Any of the framings that are here already, as one value that is chosen by name: for programs
//! whose users say in a document, or on a command line, what they speak.

#[cfg(feature = "serde")]
mod document;

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use super::{
    Admission, Answer, Context, Delimited, Demand, Failure, Frame, FrameError, Framing, IdField,
    LengthJson, LengthPrefixed, Mllp, Modbus, Note, Octets, Redis, Scan, Step, Told,
    preset::{Preset, PresetFraming},
};

/// A framing that is chosen by its name, with its settings: one of [`Protocol::presets`].
///
/// It is a framing itself, for clients, servers and framed streams. Where the protocol is known
/// when the program is compiled, its own type does the same without the detour: [`LengthJson`].
///
/// ```
/// use millpond::framing::{LengthJson, Protocol};
///
/// let chosen: Protocol = "length-json".parse()?;
/// assert_eq!(chosen.preset().name, "length-json");
/// let same = Protocol::from(LengthJson::default());
/// assert_eq!(same.preset(), chosen.preset());
///
/// let unknown = "length-jason".parse::<Protocol>().unwrap_err();
/// assert!(unknown.to_string().starts_with("there is no framing named `length-jason`"));
/// # Ok::<_, millpond::framing::UnknownPreset>(())
/// ```
///
/// # In documents
///
/// With the feature `serde` it is read from any format that tells texts from tables, and written to
/// it. A name alone stands for the preset with its defaults:
///
/// ```toml
/// framing = "length-json"
/// ```
///
/// A table of one key has its settings. Those that aren't named have their defaults, and one that
/// there isn't is an error. Sizes are in bytes:
///
/// ```toml
/// framing = { length-json = { max_body = 65536 } }
/// ```
///
/// What is written is always such a table, with all settings. In Rust:
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millpond::framing::Protocol;
///
/// #[derive(serde::Deserialize)]
/// struct Route {
///     framing: Protocol,
/// }
///
/// let route: Route = toml::from_str("framing = { length-json = { max_body = 65536 } }")?;
/// assert_eq!(route.framing.preset().name, "length-json");
///
/// let misspelt = toml::from_str::<Route>("framing = { length-json = { max-boby = 65536 } }");
/// assert!(misspelt.err().unwrap().to_string().contains("line 1, column 29"));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Shared by the clones.
    chosen: Arc<Chosen>,
}

/// A name that no preset has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no framing named `{name}`; there are: {}", Names)]
#[non_exhaustive]
pub struct UnknownPreset {
    /// The name.
    pub name: String,
}

/// Makes of the presets' types all that is the same for each.
macro_rules! presets {
    ($($framing:ident,)+) => {
        /// The presets, in the order of the help.
        const PRESETS: &[Preset] = &[$(<$framing as PresetFraming>::PRESET,)+];

        #[derive(Clone, Debug)]
        enum Chosen {
            $($framing($framing),)+
        }

        impl Chosen {
            fn preset(&self) -> Preset {
                match self {
                    $(Chosen::$framing(_) => <$framing as PresetFraming>::PRESET,)+
                }
            }

            fn named(name: &str) -> Option<Self> {
                $(if name == <$framing as PresetFraming>::PRESET.name {
                    return Some(Chosen::$framing(<$framing as PresetFraming>::plain()));
                })+
                None
            }

            #[inline]
            fn framing(&self) -> &dyn Framing {
                match self {
                    $(Chosen::$framing(framing) => framing,)+
                }
            }

            fn limited(self, max_body: usize, named: Cow<'static, str>) -> Self {
                match self {
                    $(Chosen::$framing(framing) => {
                        Chosen::$framing(framing.limited(max_body, named))
                    })+
                }
            }

            fn among(self, servers: usize) -> Self {
                match self {
                    $(Chosen::$framing(framing) => Chosen::$framing(framing.among(servers)),)+
                }
            }

            fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
                match self {
                    $(Chosen::$framing(framing) => framing.echo(request),)+
                }
            }
        }

        #[cfg(feature = "serde")]
        impl Chosen {
            /// Reads the settings of the preset of this name; nothing if there is none.
            fn read<'de, D: serde::Deserializer<'de>>(
                name: &str,
                settings: D,
            ) -> Option<Result<Self, D::Error>> {
                $(if name == <$framing as PresetFraming>::PRESET.name {
                    return Some(super::preset::read(settings).map(Chosen::$framing));
                })+
                None
            }

            /// Writes its settings as the value of its name.
            fn write<S: serde::ser::SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
                match self {
                    $(Chosen::$framing(framing) => {
                        map.serialize_entry(self.preset().name, &framing.settings())
                    })+
                }
            }
        }

        $(impl From<$framing> for Protocol {
            fn from(framing: $framing) -> Self {
                Chosen::$framing(framing).into()
            }
        })+
    };
}

// A new preset is a file of its own, which implements `Framing` and `PresetFraming`, and a line
// here.
presets! {
    LengthJson,
    LengthPrefixed,
    Delimited,
    Mllp,
    Modbus,
    Redis,
}

impl From<Chosen> for Protocol {
    fn from(chosen: Chosen) -> Self {
        Protocol {
            chosen: Arc::new(chosen),
        }
    }
}

impl Protocol {
    /// All presets: their names, with a line on what each is.
    pub fn presets() -> &'static [Preset] {
        PRESETS
    }

    /// The preset of this name, with its defaults. So does [`str::parse`].
    ///
    /// # Errors
    ///
    /// There is none of this name, and which there are.
    pub fn named(name: &str) -> Result<Self, UnknownPreset> {
        let chosen = Chosen::named(name).ok_or_else(|| UnknownPreset { name: name.into() })?;
        Ok(chosen.into())
    }

    /// Which preset it is.
    ///
    /// Its name is for documents; [`Framing::name`] is for sentences.
    pub fn preset(&self) -> Preset {
        self.chosen.preset()
    }

    /// Redis's, if it is that one: its settings have users, which a program may take from elsewhere.
    pub fn as_redis(&self) -> Option<&Redis> {
        match &*self.chosen {
            Chosen::Redis(redis) => Some(redis),
            _ => None,
        }
    }

    /// The same with another limit on bodies, in bytes. [`FrameError::TooLong`] then calls the
    /// limit by the name of the setting that it was set with: `--max-frame`.
    ///
    /// Without this the limit is what the settings say, and its name is theirs.
    pub fn limited(self, max_body: usize, setting: impl Into<Cow<'static, str>>) -> Self {
        Protocol {
            chosen: Arc::new(Arc::unwrap_or_clone(self.chosen).limited(max_body, setting.into())),
        }
    }

    /// The same for a proxy that passes requests on to so many servers: what means something to one
    /// of them alone, such as a cursor, then stays there. Only `redis` has such.
    pub fn among(self, servers: usize) -> Self {
        Protocol {
            chosen: Arc::new(Arc::unwrap_or_clone(self.chosen).among(servers)),
        }
    }

    /// The bodies of the smallest right reply to a request, for a server that only shows that it is
    /// there: nearly always one, which is the request's own. Where the protocol's replies have
    /// another form, it is the one that accepts the request.
    ///
    /// # Errors
    ///
    /// The request is none of this protocol's, in words for its sender.
    pub fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
        self.chosen.echo(request)
    }
}

impl FromStr for Protocol {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        Protocol::named(name)
    }
}

/// The names of all presets, for errors.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, preset) in PRESETS.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{preset}")?;
        }
        Ok(())
    }
}

impl Framing for Protocol {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.chosen.framing().next(context, bytes, scan)
    }

    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.chosen.framing().encode(context, body, out)
    }

    fn max_frame(&self) -> usize {
        self.chosen.framing().max_frame()
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        self.chosen.framing().heartbeat()
    }

    fn name(&self) -> &str {
        self.chosen.framing().name()
    }

    fn looks_at_requests(&self) -> bool {
        self.chosen.framing().looks_at_requests()
    }

    fn max_reply(&self) -> usize {
        self.chosen.framing().max_reply()
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        self.chosen.framing().demand(request, state)
    }

    fn failed(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) {
        self.chosen.framing().failed(asked, reply, state)
    }

    fn admit(&self, request: &[u8], state: &Note) -> Admission {
        self.chosen.framing().admit(request, state)
    }

    fn accepted(&self, number: u64) -> Note {
        self.chosen.framing().accepted(number)
    }

    fn lanes(&self) -> u16 {
        self.chosen.framing().lanes()
    }

    fn lane(&self, state: &Note) -> u16 {
        self.chosen.framing().lane(state)
    }

    fn lane_login(&self, lane: u16) -> Vec<(Vec<u8>, Octets)> {
        self.chosen.framing().lane_login(lane)
    }

    fn may_push(&self, state: &Note) -> bool {
        self.chosen.framing().may_push(state)
    }

    fn is_unfit(&self, asked: &Note, reply: &[u8]) -> bool {
        self.chosen.framing().is_unfit(asked, reply)
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        self.chosen.framing().answers(asked, reply, state)
    }

    fn id(&self) -> Option<IdField> {
        self.chosen.framing().id()
    }

    fn tells_malformed(&self) -> bool {
        self.chosen.framing().tells_malformed()
    }

    fn failure_needs_request(&self) -> bool {
        self.chosen.framing().failure_needs_request()
    }

    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        self.chosen
            .framing()
            .encode_failure(context, request, failure, out)
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
