//! What a length-prefixed protocol is made of, as people set it; and where that is validated.

use millpond_words::InvalidSetting;

use crate::framing::{ByteOrder, LengthJson, Octets};

/// The longest header, in bytes: no protocol has one that is nearly as long.
const LONGEST_HEADER: usize = 4_096;

/// Most digits of a length in text: all such numbers fit into 64 bits.
const MOST_DIGITS: u8 = 19;

/// Most bytes of a length in BCD, which are 18 digits.
const MOST_BCD: u8 = 9;

/// What [`LengthPrefixed`](super::LengthPrefixed) is made of. The default is a big-endian `u32` that
/// counts the body, and then the body.
///
/// With the feature `serde` it is read from any serde format and written to it. What isn't named
/// keeps its default, and an unknown name is an error.
///
/// Fields may be added in a minor release: end a literal with `..LengthPrefixedSettings::default()`.
///
/// ```
/// use millpond::framing::{Counts, LengthField, LengthPrefixed, LengthPrefixedSettings};
///
/// // A magic number of two bytes, then the length of the whole frame as a u16.
/// let protocol = LengthPrefixed::new(LengthPrefixedSettings {
///     fixed: [0xCA, 0xFE].into(),
///     length: LengthField::U16,
///     counts: Counts::Frame,
///     ..LengthPrefixedSettings::default()
/// })?;
/// # #[cfg(feature = "serde")] {
/// let same: LengthPrefixedSettings =
///     serde_json::from_str(r#"{ "fixed": [202, 254], "length": "u16", "counts": "frame" }"#)?;
/// assert_eq!(LengthPrefixed::new(same)?, protocol);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(default, deny_unknown_fields, rename_all = "snake_case")
)]
pub struct LengthPrefixedSettings {
    /// The bytes that every frame begins with, such as a magic number or a version. They are
    /// written on sending. On receipt the first that differs is an error. Default: none.
    pub fixed: Octets,
    /// Where the length field begins, in bytes from the frame's first. Default: behind the fixed
    /// bytes. Bytes of the header that belong to no field are 0 on sending and ignored on receipt.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub offset: Option<usize>,
    /// How the length is written. Default: `u32`, as most protocols have it.
    pub length: LengthField,
    /// The order of the length's bytes. Digits have but one: the most significant first. Default:
    /// big-endian, the network's order.
    pub byte_order: ByteOrder,
    /// What the length counts. Default: the body.
    pub counts: Counts,
    /// What is added to the number in the length field to get the number of bytes that are counted:
    /// 1 for a protocol that announces one byte less than it sends. Default 0.
    pub adjustment: i32,
    /// The field with the id that a reply repeats. Default: there is none, and replies come in the
    /// order of the requests.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub id: Option<IdSettings>,
    /// How long the header is, in bytes, at most 4,096. Default: up to the end of the last field.
    /// All behind it is the body.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub header: Option<usize>,
    /// What a frame without a body is. Default: a message like any other.
    pub empty: EmptyBody,
    /// The longest body, in bytes, when it is announced and when it is to be sent. No more than the
    /// length field can say counts. Default: 1 MiB, far more than a message and far less than a
    /// machine's memory.
    pub max_body: usize,
}

/// How a length is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LengthField {
    /// A number of 1 byte.
    U8,
    /// A number of 2 bytes.
    U16,
    /// A number of 3 bytes.
    U24,
    /// A number of 4 bytes.
    #[default]
    U32,
    /// A number of 8 bytes.
    U64,
    /// So many decimal digits in ASCII, 1 to 19, with zeros in front: `0042`. In settings files
    /// `{ digits = 4 }`.
    Digits(u8),
    /// So many bytes of packed BCD, 1 to 9: two decimal digits each, the first in the upper half.
    /// In settings files `{ bcd = 2 }`.
    Bcd(u8),
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Counts {
    /// The bytes behind the header.
    #[default]
    Body,
    /// All bytes, those of the header too.
    Frame,
}

/// What a frame without a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum EmptyBody {
    /// A request or a reply.
    #[default]
    Message,
    /// A heartbeat, which either side may send between frames and nobody answers. No message can
    /// have an empty body then, and clients and servers send such frames by themselves, as often as
    /// their `heartbeat_interval` says.
    Heartbeat,
}

/// A field with the id of a request, which its reply repeats. It lies within the header, at the
/// same place in both.
///
/// Fields may be added in a minor release: end a literal with `..IdSettings::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(default, deny_unknown_fields, rename_all = "snake_case")
)]
pub struct IdSettings {
    /// Where it begins, in bytes from the frame's first. Default 0.
    pub offset: usize,
    /// How many bytes it has, 1 to 8. Default 4.
    pub width: usize,
    /// The order of its bytes. Default: big-endian.
    pub byte_order: ByteOrder,
    /// What is done with it. Default: requests are renumbered.
    pub mode: IdMode,
}

/// What is done with ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum IdMode {
    /// The connection numbers its requests: each is sent with a number of the connection's own, the
    /// reply must have the same, and is handed out with the id that the request had.
    #[default]
    Renumbered,
    /// Frames go as they came, and the reply must have its request's id. For protocols in which a
    /// checksum or a signature covers the id. A request that is made of a body has the id 0, for
    /// there is nothing to number it by: the comparison then says no more than that the reply has
    /// 0 too. Whoever sends bodies wants [`Renumbered`](IdMode::Renumbered).
    Compared,
}

impl Default for LengthPrefixedSettings {
    fn default() -> Self {
        LengthPrefixedSettings {
            fixed: Octets::default(),
            offset: None,
            length: LengthField::default(),
            byte_order: ByteOrder::Big,
            counts: Counts::Body,
            adjustment: 0,
            id: None,
            header: None,
            empty: EmptyBody::Message,
            max_body: LengthJson::DEFAULT_MAX_BODY,
        }
    }
}

impl Default for IdSettings {
    fn default() -> Self {
        IdSettings {
            offset: 0,
            width: 4,
            byte_order: ByteOrder::Big,
            mode: IdMode::Renumbered,
        }
    }
}

impl LengthField {
    /// How many bytes it has.
    pub(super) fn width(self) -> usize {
        match self {
            LengthField::U8 => 1,
            LengthField::U16 => 2,
            LengthField::U24 => 3,
            LengthField::U32 => 4,
            LengthField::U64 => 8,
            LengthField::Digits(width) | LengthField::Bcd(width) => width.into(),
        }
    }

    /// The largest number that it can say.
    pub(super) fn largest(self) -> u64 {
        match self {
            LengthField::Digits(digits) => 10_u64.pow(digits.into()) - 1,
            LengthField::Bcd(bytes) => 100_u64.pow(bytes.into()) - 1,
            binary => u64::MAX >> (64 - 8 * binary.width()),
        }
    }

    pub(super) fn is_binary(self) -> bool {
        !matches!(self, LengthField::Digits(_) | LengthField::Bcd(_))
    }
}

/// Where the fields lie, in bytes from the frame's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Where the length field begins.
    pub(super) offset: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// The header's length.
    pub(super) header: usize,
    /// What has to be added to the announced number to get the body's length.
    pub(super) to_body: i64,
    /// The longest body: what is set, or what the length field can say.
    pub(super) max_body: usize,
}

impl LengthPrefixedSettings {
    /// Where the fields lie.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or contradicts another.
    pub(super) fn layout(&self) -> Result<Layout, InvalidSetting> {
        let (offset, end) = self.length_field()?;
        let last = match self.id {
            Some(id) => self.id_field(id, offset, end)?.max(end),
            None => end,
        };
        let header = self.header.unwrap_or(last);
        if !(last..=LONGEST_HEADER).contains(&header) {
            let allowed = format!("{last}, where its last field ends, to {LONGEST_HEADER}");
            return refuse("header", header, allowed);
        }
        let counted = match self.counts {
            Counts::Body => 0,
            Counts::Frame => header as i64,
        };
        let to_body = i64::from(self.adjustment) - counted;
        let longest = i128::from(self.length.largest()) + i128::from(to_body);
        if longest < 0 {
            let value = format!("{:?}", self.length).to_lowercase();
            let allowed = format!("a field whose largest number stands for {header} bytes or more");
            return refuse("length", value, allowed);
        }
        // The whole frame is to be counted in a usize, and its parts in an i64.
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        let max_body = self.max_body.min(longest);
        let max_body = max_body.min(isize::MAX as usize - LONGEST_HEADER);
        let shortest = usize::try_from(to_body).unwrap_or(0);
        if max_body < shortest {
            let allowed = format!("at least {shortest}, the shortest body with this adjustment");
            return refuse("max_body", self.max_body, allowed);
        }
        if self.empty == EmptyBody::Heartbeat && shortest > 0 {
            let allowed = "\"message\": with this adjustment no body is empty";
            return refuse("empty", "\"heartbeat\"", allowed);
        }
        Ok(Layout {
            offset,
            end,
            header,
            to_body,
            max_body,
        })
    }

    fn length_field(&self) -> Result<(usize, usize), InvalidSetting> {
        let most = match self.length {
            LengthField::Digits(_) => MOST_DIGITS.into(),
            LengthField::Bcd(_) => MOST_BCD.into(),
            _ => 8,
        };
        let (length, width) = (self.length, self.length.width());
        if !(1..=most).contains(&width) {
            let name = match length {
                LengthField::Bcd(_) => "length.bcd",
                _ => "length.digits",
            };
            return refuse(name, width, format!("1 to {most}"));
        }
        if !length.is_binary() && self.byte_order == ByteOrder::Little {
            return refuse("byte_order", "\"little\"", "\"big\": digits have no other");
        }
        let fixed = self.fixed.len();
        if fixed > LONGEST_HEADER {
            let value = format!("{fixed} bytes long");
            return refuse("fixed", value, format!("at most {LONGEST_HEADER}"));
        }
        let offset = self.offset.unwrap_or(fixed);
        if !(fixed..=LONGEST_HEADER).contains(&offset) {
            let allowed = format!("{fixed}, where the fixed bytes end, to {LONGEST_HEADER}");
            return refuse("offset", offset, allowed);
        }
        Ok((offset, offset + width))
    }

    /// Where it ends. The length field is at `offset..end`.
    fn id_field(&self, id: IdSettings, offset: usize, end: usize) -> Result<usize, InvalidSetting> {
        if !(1..=8).contains(&id.width) {
            return refuse("id.width", id.width, "1 to 8");
        }
        let fixed = self.fixed.len();
        if !(fixed..=LONGEST_HEADER).contains(&id.offset) {
            let allowed = format!("{fixed}, where the fixed bytes end, to {LONGEST_HEADER}");
            return refuse("id.offset", id.offset, allowed);
        }
        let id_end = id.offset + id.width;
        if id.offset < end && offset < id_end {
            let allowed = format!("such that no byte of it is of the length, {offset} to {end}");
            return refuse("id.offset", id.offset, allowed);
        }
        Ok(id_end)
    }
}

fn refuse<T>(
    setting: &'static str,
    value: impl ToString,
    allowed: impl Into<String>,
) -> Result<T, InvalidSetting> {
    Err(InvalidSetting::new(setting, value.to_string(), allowed))
}
