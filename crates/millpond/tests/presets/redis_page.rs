//! The section of the page on Redis that tells what is done with each command. It must be what the
//! code says. The rest of the page is written by people.

use std::{env, fmt::Write, fs, path::Path};

use millpond::framing::Redis;

const HEADING: &str = "## Every command\n";

/// A row for each decision, in the order of the table, with its commands.
fn section() -> String {
    let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, decision) in Redis::commands() {
        if decision.ends_with("needs a subcommand") {
            continue;
        }
        match rows.iter_mut().find(|(known, _)| *known == decision) {
            Some((_, names)) => names.push(name),
            None => rows.push((decision, vec![name])),
        }
    }
    let mut section = format!(
        "{HEADING}\n\
         What isn't here is refused. A command stands for all of its subcommands, unless these are \
         here too.\nThis section is made of the code, by\n\n    \
         MILLPOND_WRITE=1 cargo test --package millpond --test presets redis_page\n\n\
         | what is done | commands |\n|---|---|\n"
    );
    for (decision, mut names) in rows {
        names.sort();
        writeln!(section, "| {decision} | `{}` |", names.join("`, `")).expect("written");
    }
    section
}

#[test]
fn the_page_tells_what_is_done_with_each_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redis.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(HEADING).expect("the section");
    let after = rest.find("\n## ").map_or("", |next| &rest[next..]);
    let expected = format!("{before}{}{after}", section());
    if env::var_os("MILLPOND_WRITE").is_some() {
        fs::write(&path, &expected).expect("written");
    }
    let written = fs::read_to_string(&path).expect("the page");
    assert!(
        written == expected,
        "docs/redis.md isn't what the code says any more; MILLPOND_WRITE=1 writes it"
    );
}
