//! The rules of the house, read from the source: which module may name which, and what the pure ones must not touch.
//!
//! The source is parsed, so a path counts wherever it stands: in a `use`, in a nested group, in an expression.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{UseTree, visit::Visit};

/// The top-level modules of the library, and which of the others each may name.
const MAY_NAME: [(&str, &[&str]); 13] = [
    ("span", &[]),
    ("chain", &[]),
    ("storm", &[]),
    ("storms", &["storm"]),
    ("thousands", &[]),
    ("pool", &["span", "chain", "thousands"]),
    ("transport", &["span", "chain", "storm", "thousands"]),
    ("framing", &["thousands"]),
    ("framed", &["transport", "framing", "span"]),
    ("connectors", &["pool", "transport", "span"]),
    (
        "client",
        &[
            "pool",
            "transport",
            "framing",
            "framed",
            "connectors",
            "span",
            "chain",
            "storm",
            "storms",
        ],
    ),
    (
        "server",
        &[
            "transport",
            "framing",
            "framed",
            "span",
            "chain",
            "storm",
            "storms",
        ],
    ),
    ("proxy", &["client", "server", "framing", "transport", "span"]),
];

/// Pure modules: no runtime, no clock, no randomness.
const PURE: [&str; 2] = ["pool::state", "framing"];

/// Pure as well, but told the time as tokio's `Instant`, as a value: whoever asks for it names more, and that only tests may.
const TOLD_THE_TIME: [&str; 2] = ["client::pipelined::state", "storm"];

/// What a pure module may not name: a segment anywhere in a path.
const IMPURE: [&str; 5] = ["tokio", "Instant", "fastrand", "rand", "tracing"];

/// What nobody may name: only the monotonic clock is used, so that a wall clock that jumps changes nothing.
const FORBIDDEN: [&str; 2] = ["SystemTime", "chrono"];

/// One source file, as a module.
struct Module {
    /// `pool::state::list`; empty for `lib.rs`.
    path: Vec<String>,
    file: PathBuf,
    syntax: syn::File,
}

/// Every path that a module names, with `crate`, `self` and `super` resolved: its segments, `crate` first if it is our own.
struct Paths {
    module: Vec<String>,
    named: Vec<Vec<String>>,
}

impl Paths {
    fn of(path: &[String], syntax: &syn::File) -> Vec<Vec<String>> {
        let mut paths = Paths {
            module: path.to_vec(),
            named: Vec::new(),
        };
        paths.visit_file(syntax);
        paths.named
    }

    fn name(&mut self, segments: &[String]) {
        let mut resolved = vec![String::from("crate")];
        let mut here = self.module.clone();
        let mut rest = segments;
        let mut ours = true;
        match segments.first().map(String::as_str) {
            Some("crate") => {
                here.clear();
                rest = &segments[1..];
            }
            Some("self" | "super") => {
                while let Some(first) = rest.first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => drop(here.pop()),
                        _ => break,
                    }
                    rest = &rest[1..];
                }
            }
            _ => ours = false,
        }
        if ours {
            resolved.extend(here);
            resolved.extend_from_slice(rest);
            self.named.push(resolved);
        } else {
            self.named.push(segments.to_vec());
        }
    }

    fn tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Name(name) => self.name(&[&prefix[..], &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.name(&[&prefix[..], &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.name(prefix),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.name(&segments);
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

/// What is wrong with what this module names.
fn offences(module: &[String], syntax: &syn::File) -> Vec<String> {
    let own = module.first().map(String::as_str);
    let full = module.join("::");
    let is_below = |top: &str| full == top || full.starts_with(&format!("{top}::"));
    let pure = PURE.iter().any(|top| is_below(top));
    let tests = module.iter().any(|part| part == "tests");
    let told_the_time = !tests && TOLD_THE_TIME.iter().any(|top| is_below(top));
    let mut offences = Vec::new();
    for path in Paths::of(module, syntax) {
        let text = path.join("::");
        if let (Some(own), "crate", Some(other)) = (own, path[0].as_str(), path.get(1)) {
            let allowed = MAY_NAME.iter().find(|(name, _)| *name == own);
            let known = MAY_NAME.iter().any(|(name, _)| *name == other.as_str());
            if let Some((_, allowed)) = allowed
                && known
                && other != own
                && !allowed.contains(&other.as_str())
            {
                offences.push(format!("{full} names {text}: {own} may not import {other}"));
            }
        }
        if pure && path.iter().any(|part| IMPURE.contains(&part.as_str())) {
            offences.push(format!("{full} names {text}: it is pure"));
        }
        if told_the_time && asks_or_acts(&path) {
            offences.push(format!("{full} names {text}: it is told the time, and pure"));
        }
        if path.iter().any(|part| FORBIDDEN.contains(&part.as_str())) {
            offences.push(format!("{full} names {text}: nobody may"));
        }
    }
    offences
}

/// Names what is impure, but for the instant as a value.
fn asks_or_acts(path: &[String]) -> bool {
    let allowed = [&["Instant"][..], &["tokio", "time", "Instant"]];
    path.iter().any(|part| IMPURE.contains(&part.as_str())) && !allowed.iter().any(|allowed| path == *allowed)
}

/// Every `.rs` file below `folder`, as the module it is.
fn modules(folder: &Path, path: &[String], found: &mut Vec<Module>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    entries.sort();
    for entry in entries {
        let stem = entry
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("UTF-8")
            .to_owned();
        let below = [path, std::slice::from_ref(&stem)].concat();
        if entry.is_dir() {
            modules(&entry, &below, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("a readable source");
            found.push(Module {
                path: match stem.as_str() {
                    "lib" | "mod" => path.to_vec(),
                    _ => below,
                },
                syntax: syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", entry.display())),
                file: entry,
            });
        }
    }
}

fn library() -> Vec<Module> {
    let mut found = Vec::new();
    modules(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &[],
        &mut found,
    );
    found
}

#[test]
fn every_module_names_only_what_the_house_allows() {
    let modules = library();
    assert!(modules.len() > 15, "the source was found");
    let offences: Vec<_> = modules
        .iter()
        .flat_map(|module| offences(&module.path, &module.syntax))
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_file_says_first_what_it_owns() {
    for module in library() {
        let first = module.syntax.attrs.first();
        assert!(
            first.is_some_and(|attribute| attribute.path().is_ident("doc")),
            "{} doesn't open with a paragraph",
            module.file.display()
        );
    }
}

#[test]
fn every_top_level_module_has_a_place_in_the_house() {
    for module in library() {
        if let Some(top) = module.path.first() {
            assert!(
                MAY_NAME.iter().any(|(name, _)| name == top),
                "{top} is in no rule: say in MAY_NAME what it may name"
            );
        }
    }
}

/// The rules can be broken: each of these is found, and what is allowed isn't.
#[test]
fn a_broken_rule_is_found_however_it_is_written() {
    let check = |module: &str, source: &str| {
        let path: Vec<_> = module.split("::").map(str::to_owned).collect();
        offences(&path, &syn::parse_file(source).expect("valid source")).len()
    };
    assert_eq!(check("pool", "use crate::transport::Endpoint;"), 1);
    assert_eq!(check("pool::dial", "use crate::{pool::Pool, framing::Frame};"), 1);
    assert_eq!(check("pool::dial", "use super::super::client::Client;"), 1);
    assert_eq!(check("pool::dial", "fn f() { crate::server::serve() }"), 1);
    assert_eq!(check("server", "type T = Vec<crate::pool::Snapshot>;"), 1);
    assert_eq!(check("pool::state", "use tokio::time;"), 1);
    assert_eq!(
        check("pool::state::list", "fn f() { std::time::Instant::now(); }"),
        1
    );
    assert_eq!(check("framing::resp", "use fastrand::u64;"), 1);
    assert_eq!(check("client", "mod tests { use std::time::SystemTime; }"), 1);

    assert_eq!(check("client::pipelined::state", "fn f() { Instant::now(); }"), 1);
    assert_eq!(
        check("client::pipelined::state", "use tokio::time::{Instant, sleep};"),
        1
    );
    assert_eq!(
        check("client::pipelined::state::writing", "use fastrand::u64;"),
        1
    );

    assert_eq!(check("client::pipelined::state", "use tokio::time::Instant;"), 0);
    assert_eq!(
        check("client::pipelined::state::tests", "fn f() { Instant::now(); }"),
        0
    );
    assert_eq!(check("pool::dial", "use super::{config, state::State};"), 0);
    assert_eq!(check("client", "use crate::{pool::Pool, framing::Framing};"), 0);
    assert_eq!(check("pool::upkeep", "use tokio::time::Instant;"), 0);
    assert_eq!(check("pool::statement", "use tokio::time::Instant;"), 0);
}
