//! The framing that a command speaks. Owns the flag `--framing` and its help, and reads its value:
//! a preset's name, its settings as TOML, or a file with them. Knows no preset but one: which of
//! them carries JSON, whose bodies the commands look at. And the name of what isn't one: bytes
//! without frames.

use std::{num::NonZeroUsize, path::Path};

use millpond::framing::{Framing, LengthJson, Protocol, UnknownPreset};

use serde::Deserialize;

use crate::{
    complaint::Complaint,
    fault::{self, Source},
    text::parse_size,
};

/// The name of the flag that is read here.
const FLAG: &str = "--framing";

/// Bytes without frames, for the commands that know what to do with them.
pub(crate) const RAW: &str = "raw";

/// The name of the flag that limits bodies.
const LIMIT: &str = "--max-frame";

/// What the flag is, in a line.
pub(crate) const HELP: &str =
    "The protocol: a preset's name, its settings as TOML, or @FILE with them";

/// The flags of commands that speak any preset, within a limit of their own.
#[derive(clap::Args)]
pub(crate) struct FramingFlags {
    #[arg(
        long,
        value_name = "FRAMING",
        default_value = default_name(),
        env = "MILLPOND_FRAMING",
        help = HELP,
        long_help = help(""),
    )]
    framing: String,
    /// The longest body of a request or a reply [default: 1MiB for length-json, else the framing's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    max_frame: Option<NonZeroUsize>,
}

impl FramingFlags {
    /// The framing that they say; `None` if it is [`RAW`], for commands that take it.
    pub(crate) fn spoken_or_raw(&self) -> Result<Option<Spoken>, Complaint> {
        match self.framing.trim() {
            RAW => Ok(None),
            text => self.within(parse(text, &[RAW])?).map(Some),
        }
    }

    /// The framing that they say.
    pub(crate) fn spoken(&self) -> Result<Spoken, Complaint> {
        self.within(parse(&self.framing, &[])?)
    }

    fn within(&self, protocol: Protocol) -> Result<Spoken, Complaint> {
        let max_body = self.max_frame.map(NonZeroUsize::get);
        Ok(Spoken::within(protocol, max_body, &self.framing))
    }
}

/// A framing, as a command line has chosen it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    /// Its errors call the limit on bodies `--max-frame`.
    pub(crate) protocol: Protocol,
    /// What was written behind the flag.
    pub(crate) written: String,
    /// The longest body, in bytes; or the longest frame, if the framing doesn't tell.
    pub(crate) max_body: usize,
}

impl Spoken {
    fn within(protocol: Protocol, asked: Option<usize>, written: &str) -> Self {
        let limit = asked.or_else(|| max_body(&protocol));
        Spoken {
            max_body: limit.unwrap_or(protocol.max_frame()),
            protocol: match limit {
                Some(limit) => protocol.limited(limit, LIMIT),
                None => protocol,
            },
            written: written.to_owned(),
        }
    }

    /// Its name, as documents have it.
    pub(crate) fn name(&self) -> &'static str {
        self.protocol.preset().name
    }

    /// See [`carries_json`].
    pub(crate) fn carries_json(&self) -> bool {
        carries_json(&self.protocol)
    }

    /// The flag as it is written for a shell, with a space before it; nothing for the default.
    pub(crate) fn flag(&self) -> String {
        match self.written == default_name() {
            true => String::new(),
            false => format!(" {FLAG} {}", shell_words::quote(&self.written)),
        }
    }
}

/// Whether bodies are JSON, and a reply may be an error object. Of all others bodies are opaque.
pub(crate) fn carries_json(protocol: &Protocol) -> bool {
    protocol.preset().name == default_name()
}

/// The framing that commands speak unless told otherwise.
pub(crate) fn default_name() -> &'static str {
    Protocol::from(LengthJson::default()).preset().name
}

/// The whole help: what the value may be, and the presets. `also` are lines that a command adds.
pub(crate) fn help(also: &str) -> String {
    let presets: Vec<_> = Protocol::presets()
        .iter()
        .map(|preset| format!("- {}: {}", preset.name, preset.about))
        .collect();
    format!(
        "{HELP}\n\nThe presets:\n{}{also}\n\nSettings are TOML: '{} = {{ max_body = 65536 }}'. @FILE reads a TOML file that has \
         them as framing = {{ … }}, or a name alone.",
        presets.join("\n"),
        default_name(),
    )
}

/// Reads the value of the flag. `others` are names that a command has beside the presets, for the
/// error.
pub(crate) fn parse(text: &str, others: &[&str]) -> Result<Protocol, Complaint> {
    if let Some(path) = text.strip_prefix('@') {
        return of_file(Path::new(path));
    }
    let text = text.trim();
    if text.contains(['=', '{', '"', '\'']) {
        let (before, behind) = match text.starts_with(['{', '"', '\'']) {
            true => ("framing = ", ""),
            false => ("framing = { ", " }"),
        };
        let source = Source {
            file: None,
            before,
            text,
            behind,
        };
        return read(&source);
    }
    Protocol::named(text).map_err(|error| complaint(unknown(text, &error, others)))
}

fn of_file(path: &Path) -> Result<Protocol, Complaint> {
    let text = fault::read_file(path).map_err(complaint)?;
    read(&Source::of_file(path, &text))
}

/// What a text with settings must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    framing: Protocol,
}

fn read(source: &Source<'_>) -> Result<Protocol, Complaint> {
    let document: Document = source.read().map_err(complaint)?;
    Ok(document.framing)
}

/// What is said of a name that no preset has.
fn unknown(name: &str, error: &UnknownPreset, others: &[&str]) -> String {
    let others: String = others.iter().map(|other| format!(", {other}")).collect();
    let listed = format!("{error}{others}");
    let hint = match Path::new(name).is_file() {
        true => format!("\nto read the file, write {FLAG} @{name}"),
        false => fault::did_you_mean(name, &listed),
    };
    listed + &hint
}

fn complaint(text: String) -> Complaint {
    Complaint::usage(format!("{FLAG}: {text}"))
}

/// The limit on bodies that a framing has by its settings. All that have one call it `max_body`.
pub(crate) fn max_body(protocol: &Protocol) -> Option<usize> {
    let document = serde_json::to_value(protocol).ok()?;
    let limit = document.get(protocol.preset().name)?.get("max_body")?;
    limit.as_u64().and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Protocol {
        parse(text, &[]).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn a_framing_is_chosen_by_its_name_or_by_toml_with_and_without_braces() {
        for text in [
            "mllp",
            " mllp ",
            "\"mllp\"",
            "'mllp'",
            "{ mllp = {} }",
            "mllp = {}",
            "{ mllp = {\n  max_body = 7,\n} }",
            "mllp.max_body = 7",
            "mllp = { max_body = 7 } # a remark\n",
        ] {
            assert_eq!(parsed(text).preset().name, "mllp", "{text}");
        }
        assert_eq!(max_body(&parsed("mllp = { max_body = 7 }")), Some(7));
    }

    #[test]
    fn each_preset_can_be_named_and_tells_the_limit_that_the_flag_replaces() {
        for preset in Protocol::presets() {
            let Ok(protocol) = Protocol::named(preset.name) else {
                continue;
            };
            let own = max_body(&protocol).expect("max_body");
            let spoken = Spoken::within(protocol.clone(), None, preset.name);
            assert_eq!(spoken.max_body, own, "{preset}");
            let spoken = Spoken::within(protocol, Some(5_000), preset.name);
            assert_eq!(max_body(&spoken.protocol), Some(5_000), "{preset}");
        }
    }

    #[test]
    fn the_default_alone_carries_json_and_needs_no_flag() {
        let carrying: Vec<_> = Protocol::presets()
            .iter()
            .filter(|preset| {
                Protocol::named(preset.name).is_ok_and(|protocol| carries_json(&protocol))
            })
            .map(|preset| preset.name)
            .collect();
        assert_eq!(carrying, ["length-json"]);
        let flag = |text| Spoken::within(parsed(text), None, text).flag();
        assert_eq!(flag("length-json"), "");
        assert_eq!(flag("mllp = {}"), " --framing 'mllp = {}'");
    }

    #[test]
    fn nothing_can_stand_beside_the_framing() {
        for text in [
            "{ mllp = {} }\nlisten = 7",
            "mllp = {} }\nlisten = { a = 1",
            "mllp = {}, length-json = {}",
        ] {
            assert!(parse(text, &[]).is_err(), "{text}");
        }
    }
}
