//! Raw figures as JSON lines, in a file that was asked for or nowhere.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::Context;

/// Where the JSON lines go, if anywhere.
pub struct JsonLines(Option<BufWriter<File>>);

impl JsonLines {
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(JsonLines(None));
        };
        let file =
            File::create(path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(JsonLines(Some(BufWriter::new(file))))
    }

    pub fn write(&mut self, line: &serde_json::Value) -> anyhow::Result<()> {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{line}").context("can't write the JSON lines")?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(file) => file.flush().context("can't write the JSON lines"),
            None => Ok(()),
        }
    }
}
