//! What a protocol of delimited frames is made of, as people set it; and where that is validated.

use std::ops::RangeInclusive;

use millpond_words::InvalidSetting;

use crate::framing::{LengthJson, Octets};

/// Most delimiters: so many bytes are looked for at once.
const MOST_DELIMITERS: usize = 3;

/// The longest delimiter, in bytes. Wherever its last byte stands, so many are compared with it.
const LONGEST_DELIMITER: usize = 16;

/// The longest prompt or last line, in bytes.
const LONGEST_MARK: usize = 64;

/// The largest limit, 1 TiB: positions within a reply and the number of its lines fit into one word.
const LARGEST_BODY: u64 = 1 << 40;

/// Most lines of a reply.
const MOST_LINES: u32 = 1 << 20;

/// What [`Delimited`](super::Delimited) is made of. The default is one line for one line, each ended
/// by a newline.
///
/// With the feature `serde` it is read from any serde format and written to it. What isn't named
/// keeps its default, and an unknown name is an error.
///
/// Fields may be added in a minor release: end a literal with `..DelimitedSettings::default()`.
///
/// ```
/// use millpond::framing::{Delimited, DelimitedSettings, EndOfReply};
///
/// let protocol = Delimited::new(DelimitedSettings {
///     delimiters: vec!["\r\n".into(), "\n".into()],
///     reply: EndOfReply::UntilLine("END".into()),
///     failure: Some("ERROR {message}".into()),
///     ..DelimitedSettings::default()
/// })?;
/// # #[cfg(feature = "serde")] {
/// let same: DelimitedSettings = serde_json::from_str(
///     r#"{
///         "delimiters": ["\r\n", "\n"],
///         "reply": { "until_line": "END" },
///         "failure": "ERROR {message}"
///     }"#,
/// )?;
/// assert_eq!(Delimited::new(same)?, protocol);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(default, deny_unknown_fields, rename_all = "snake_case")
)]
pub struct DelimitedSettings {
    /// The bytes that end a frame or a line: 1 to 3 delimiters of 1 to 16 bytes. All are
    /// understood; the first is written. One may be within another only at its end, as `"\n"` is in
    /// `"\r\n"`: else nobody could tell whether the longer one is still to come. Default: `"\n"`.
    pub delimiters: Vec<Octets>,
    /// Where a reply ends. Default: as a request does.
    pub reply: EndOfReply,
    /// The line that tells a client that its request has failed, `"ERROR {message}"` for instance.
    /// The message stands where `{message}` does, on one line: control characters and delimiters in
    /// it become blanks. Default: none, and the connection is closed instead, for a client that
    /// doesn't know the line would take it for a reply.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub failure: Option<String>,
    /// The longest body, in bytes, when it comes and when it is to be sent; of a reply of several
    /// lines, all of them. At most 1 TiB counts. Default: 1 MiB, far more than a message and far
    /// less than a machine's memory.
    pub max_body: usize,
}

/// Where a reply ends. Requests always end with a delimiter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EndOfReply {
    /// With a delimiter. In settings files `"line"`.
    #[default]
    Line,
    /// With a line that equals this, of up to 64 bytes, without any delimiter; it may be empty. In
    /// settings files `{ until_line = "END" }`.
    UntilLine(Octets),
    /// With these bytes at the beginning of a line: 1 to 64 bytes, without any delimiter. In
    /// settings files `{ until_prompt = "> " }`.
    UntilPrompt(Octets),
    /// With so many delimiters, 1 to 1,048,576. In settings files `{ lines = 3 }`.
    Lines(u32),
}

impl Default for DelimitedSettings {
    fn default() -> Self {
        DelimitedSettings {
            delimiters: vec!["\n".into()],
            reply: EndOfReply::Line,
            failure: None,
            max_body: LengthJson::DEFAULT_MAX_BODY,
        }
    }
}

impl DelimitedSettings {
    /// # Errors
    ///
    /// A setting is out of its range, or contradicts another.
    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        let delimiters = &self.delimiters;
        if !(1..=MOST_DELIMITERS).contains(&delimiters.len()) {
            let count = format!("a list of {}", delimiters.len());
            return refuse("delimiters", count, format!("1 to {MOST_DELIMITERS}"));
        }
        for one in delimiters {
            is_mark("delimiters", one, 1..=LONGEST_DELIMITER)?;
        }
        for (at, one) in delimiters.iter().enumerate() {
            for (other_at, other) in delimiters.iter().enumerate() {
                // At its end it may be.
                let within = &other[..other.len() - 1];
                let differs = one != other && memchr::memmem::find(within, one).is_none();
                if at != other_at && !differs {
                    let allowed = "such that none is in another, but at its end";
                    return refuse("delimiters", format!("{delimiters:?}"), allowed);
                }
            }
        }
        match &self.reply {
            EndOfReply::Line => Ok(()),
            EndOfReply::UntilLine(last) => self.is_plain("reply.until_line", last, 0),
            EndOfReply::UntilPrompt(prompt) => self.is_plain("reply.until_prompt", prompt, 1),
            EndOfReply::Lines(count) if (1..=MOST_LINES).contains(count) => Ok(()),
            EndOfReply::Lines(count) => refuse("reply.lines", count, format!("1 to {MOST_LINES}")),
        }
    }

    fn is_plain(
        &self,
        setting: &'static str,
        mark: &Octets,
        shortest: usize,
    ) -> Result<(), InvalidSetting> {
        is_mark(setting, mark, shortest..=LONGEST_MARK)?;
        let mut delimiters = self.delimiters.iter();
        match delimiters.any(|end| memchr::memmem::find(mark, end).is_some()) {
            true => refuse(setting, format!("{mark:?}"), "free of delimiters"),
            false => Ok(()),
        }
    }

    /// The limit that counts.
    pub(super) fn max_body(&self) -> usize {
        let largest = usize::try_from(LARGEST_BODY).unwrap_or(usize::MAX / 2);
        self.max_body.min(largest - 4 * LONGEST_MARK)
    }
}

fn is_mark(
    setting: &'static str,
    mark: &Octets,
    lengths: RangeInclusive<usize>,
) -> Result<(), InvalidSetting> {
    match lengths.contains(&mark.len()) {
        true => Ok(()),
        false => refuse(
            setting,
            format!("{} bytes long", mark.len()),
            format!("{} to {}", lengths.start(), lengths.end()),
        ),
    }
}

fn refuse<T>(
    setting: &'static str,
    value: impl ToString,
    allowed: impl Into<String>,
) -> Result<T, InvalidSetting> {
    Err(InvalidSetting::new(setting, value.to_string(), allowed))
}
