//! The rules of the house that the compiler doesn't keep, read from the source of every crate.
//!
//! Which crate may name which, the manifests say. Here is what lies within a crate: rooms that may
//! not name each other, files that may not import each other, and what pure code must not touch.
//!
//! The source is parsed, so a path counts wherever it stands: in a `use`, in a nested group, in an
//! expression.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{UseTree, Visibility, visit::Visit};

/// The rooms of the crate `millpond`, and what each may name of this crate and of the crates below
/// it. Every room needs a line here. (`memory` is for tests.)
const ROOMS: [(&str, &[&str]); 10] = [
    ("framing", &[]),
    ("codec", &["framing"]),
    ("seconds", &[]),
    ("memory", &["net"]),
    ("framed", &["framing", "net", "memory"]),
    ("upstreams", &["net", "pool"]),
    (
        "connectors",
        &["net", "pool", "kernel", "memory", "upstreams"],
    ),
    (
        "client",
        &[
            "framing",
            "codec",
            "framed",
            "connectors",
            "net",
            "pool",
            "seconds",
            "memory",
        ],
    ),
    (
        "server",
        &["framing", "codec", "framed", "net", "seconds", "memory"],
    ),
    (
        "proxy",
        &[
            "framing",
            "framed",
            "connectors",
            "client",
            "server",
            "net",
            "pool",
            "memory",
        ],
    ),
];

/// The crates below `millpond`, by the names under which it re-exports them.
const BELOW: [&str; 3] = ["net", "pool", "kernel"];

/// Pure code: no runtime, no clock, no randomness.
const PURE: [(&str, &str); 2] = [("millpond_pool", "state"), ("millpond", "framing")];

/// Pure as well, but told the time as tokio's `Instant`, as a value. To ask for the time is to name
/// more, and only tests may.
const TOLD_THE_TIME: [(&str, &str); 3] = [
    ("millpond", "upstreams::machine"),
    ("millpond", "client::pipelined::machine"),
    ("millpond_words", "storm"),
];

/// What pure code may not name: a segment anywhere in a path.
const IMPURE: [&str; 5] = ["tokio", "Instant", "fastrand", "rand", "tracing"];

/// What nobody may name. Only the monotonic clock is used, so a wall clock that jumps changes
/// nothing.
const FORBIDDEN: [&str; 2] = ["SystemTime", "chrono"];

/// Crates that the rules on clocks and opening paragraphs aren't for: tests, and the program, which
/// shows certificates' dates.
const NOT_THE_LIBRARY: [&str; 4] = ["benches", "fuzz", "millpond_cli", "millpond_rig"];

/// One source file, as a module.
struct Module {
    /// `millpond_pool`.
    krate: String,
    /// `state::list`; empty for `lib.rs`.
    path: Vec<String>,
    file: PathBuf,
    syntax: syn::File,
}

impl Module {
    fn new(krate: &str, path: Vec<String>, file: PathBuf, source: &str) -> Module {
        let syntax =
            syn::parse_file(source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Module {
            krate: krate.to_owned(),
            path,
            file,
            syntax,
        }
    }

    fn is_in(&self, krate: &str, room: &str) -> bool {
        let full = self.path.join("::");
        self.krate == krate && (full == room || full.starts_with(&format!("{room}::")))
    }

    fn is_of_tests(&self) -> bool {
        self.path
            .iter()
            .any(|part| part == "tests" || part == "fixture" || part == "interleavings")
    }

    fn name(&self) -> String {
        [std::slice::from_ref(&self.krate), &self.path[..]]
            .concat()
            .join("::")
    }
}

/// Every path that a module names, with `crate`, `self` and `super` resolved: its segments, `crate`
/// first if it is our own. What is re-exported (`pub use`) and what stands within `#[cfg(test)]` is
/// told apart.
#[derive(Default)]
struct Paths {
    module: Vec<String>,
    in_tests: bool,
    in_re_export: bool,
    named: Vec<Named>,
}

struct Named {
    path: Vec<String>,
    in_tests: bool,
    in_re_export: bool,
}

impl Paths {
    fn of(module: &Module) -> Vec<Named> {
        let mut paths = Paths {
            module: module.path.clone(),
            ..Paths::default()
        };
        paths.visit_file(&module.syntax);
        paths.named
    }

    fn name(&mut self, segments: &[String]) {
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
        let path = match ours {
            true => [&[String::from("crate")], &here[..], rest].concat(),
            false => segments.to_vec(),
        };
        self.named.push(Named {
            path,
            in_tests: self.in_tests,
            in_re_export: self.in_re_export,
        });
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
            UseTree::Glob(_) => self.name(&[&prefix[..], &[String::from("*")]].concat()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg")
            && list
                .tokens
                .to_string()
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let before = (self.in_tests, self.in_re_export);
        self.in_tests |= is_for_tests(&item.attrs);
        self.in_re_export |= !matches!(item.vis, Visibility::Inherited);
        self.tree(&mut Vec::new(), &item.tree);
        (self.in_tests, self.in_re_export) = before;
    }

    /// `pub(in …)` says who may look, and looks at nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

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
            let before = self.in_tests;
            self.in_tests |= is_for_tests(&item.attrs);
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
            self.in_tests = before;
        }
    }
}

/// What is wrong with what this module names.
fn offences(module: &Module) -> Vec<String> {
    let is_library = !NOT_THE_LIBRARY.contains(&module.krate.as_str());
    let room = ROOMS
        .iter()
        .find(|(room, _)| module.is_in("millpond", room));
    let pure = PURE.iter().any(|(krate, room)| module.is_in(krate, room));
    let told_the_time = !module.is_of_tests()
        && TOLD_THE_TIME
            .iter()
            .any(|(krate, room)| module.is_in(krate, room));
    let mut offences = Vec::new();
    let mut offends = |path: &[String], why: &str| {
        offences.push(format!(
            "{} names {}: {why}",
            module.name(),
            path.join("::")
        ));
    };
    for Named { path, in_tests, .. } in Paths::of(module) {
        let of_crate = match path[0].as_str() {
            "crate" => path.get(1).map(String::as_str),
            _ => None,
        };
        if let Some((room, allowed)) = room.filter(|_| !in_tests && !module.is_of_tests()) {
            let named = of_crate.or_else(|| path[0].strip_prefix("millpond_"));
            let is_room =
                |name: &&str| BELOW.contains(name) || ROOMS.iter().any(|(other, _)| other == name);
            if let Some(named) = named.filter(is_room)
                && named != *room
                && !allowed.contains(&named)
            {
                offends(&path, &format!("{room} may not"));
            }
        }
        if pure && path.iter().any(|part| IMPURE.contains(&part.as_str())) {
            offends(&path, "it is pure");
        }
        if told_the_time && asks_or_acts(&path) {
            offends(&path, "it is told the time, and pure");
        }
        if is_library && path.iter().any(|part| FORBIDDEN.contains(&part.as_str())) {
            offends(&path, "nobody may");
        }
    }
    offences
}

/// Names what is impure, but for the instant as a value.
fn asks_or_acts(path: &[String]) -> bool {
    let allowed = [&["Instant"][..], &["tokio", "time", "Instant"]];
    path.iter().any(|part| IMPURE.contains(&part.as_str()))
        && !allowed.iter().any(|allowed| path == *allowed)
}

/// Which files of a crate import which. Tests, re-exports and `mod` lines don't count. A path that
/// leads to something that a module re-exports leads to the file that defines it.
fn imports(modules: &[&Module]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeSet<Vec<String>> = modules.iter().map(|module| module.path.clone()).collect();
    let named: BTreeMap<&[String], Vec<Named>> = modules
        .iter()
        .map(|module| (&module.path[..], Paths::of(module)))
        .map(|(path, mut named)| {
            // `use a::A` beside `mod a`: the path begins with a module of this one.
            for one in &mut named {
                let child = [path, &one.path[..1]].concat();
                if files.contains(&child) {
                    one.path = [&[String::from("crate")], path, &one.path[..]].concat();
                }
            }
            (path, named)
        })
        .collect();
    let text = |path: &[String]| format!("crate::{}", path.join("::"));
    let mut imports = BTreeMap::new();
    for module in modules.iter().filter(|module| !module.is_of_tests()) {
        let mut targets = BTreeSet::new();
        for one in &named[&module.path[..]] {
            if one.in_tests || one.in_re_export || one.path[0] != "crate" {
                continue;
            }
            let Some(target) = defining_file(&one.path[1..], &files, &named, 8) else {
                continue;
            };
            if target != module.path {
                targets.insert(text(&target));
            }
        }
        imports.insert(text(&module.path), targets);
    }
    imports
}

/// The file in which what a path names is defined.
fn defining_file(
    path: &[String],
    files: &BTreeSet<Vec<String>>,
    named: &BTreeMap<&[String], Vec<Named>>,
    depth: usize,
) -> Option<Vec<String>> {
    let at = (0..=path.len())
        .rev()
        .find(|&length| files.contains(&path[..length]))?;
    let (file, rest) = path.split_at(at);
    // The module itself is named: `use crate::state;` leads to nothing that it defines.
    let Some(item) = rest.first() else {
        return Some(file.to_vec());
    };
    let re_exported =
        named.get(file).into_iter().flatten().find(|one| {
            one.in_re_export && one.path[0] == "crate" && one.path.last() == Some(item)
        });
    match re_exported {
        Some(one) if depth > 0 => defining_file(&one.path[1..], files, named, depth - 1),
        _ => Some(file.to_vec()),
    }
}

/// The files that import each other, in one direction or around several corners: each circle once.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reach = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = imports.get(from).into_iter().flatten().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file.clone()) {
                next.extend(imports.get(file).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (file, reach(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(*file) {
            let circle: Vec<_> = others
                .iter()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)))
                .map(String::as_str)
                .collect();
            circles.insert(circle.join(" <-> "));
        }
    }
    circles.into_iter().collect()
}

/// Every `.rs` file below `folder`, as the module it is.
fn modules(krate: &str, folder: &Path, path: &[String], found: &mut Vec<Module>) {
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
            modules(krate, &entry, &below, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let path = match stem.as_str() {
                "lib" | "main" if path.is_empty() => Vec::new(),
                "mod" => path.to_vec(),
                _ => below,
            };
            let text = fs::read_to_string(&entry).expect("a readable source");
            found.push(Module::new(krate, path, entry, &text));
        }
    }
}

fn house() -> Vec<Module> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the folder of crates");
    let beside = ["../benches", "../fuzz"].map(|folder| crates.join(folder));
    let folders = fs::read_dir(crates)
        .expect("the folder of crates")
        .map(|entry| entry.expect("a folder's entry").path());
    let mut found = Vec::new();
    for folder in folders.chain(beside) {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("UTF-8");
        if folder.join("src").is_dir() {
            modules(
                &name.replace('-', "_"),
                &folder.join("src"),
                &[],
                &mut found,
            );
        }
    }
    assert!(found.len() > 150, "the source was found: {}", found.len());
    found
}

#[test]
fn every_module_names_only_what_the_house_allows() {
    let offences: Vec<_> = house().iter().flat_map(offences).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn no_two_files_import_each_other() {
    let house = house();
    let crates: BTreeSet<_> = house.iter().map(|module| module.krate.as_str()).collect();
    let circles: Vec<_> = crates
        .iter()
        .flat_map(|krate| {
            let modules: Vec<_> = house
                .iter()
                .filter(|module| module.krate == *krate)
                .collect();
            circles(&imports(&modules))
                .into_iter()
                .map(move |circle| format!("{krate}: {circle}"))
        })
        .collect();
    assert!(
        circles.is_empty(),
        "files import each other:\n{}",
        circles.join("\n")
    );
}

#[test]
fn every_file_says_first_what_it_owns() {
    for module in house() {
        let first = module.syntax.attrs.first();
        assert!(
            first.is_some_and(|attribute| attribute.path().is_ident("doc")),
            "{} doesn't open with a paragraph",
            module.file.display()
        );
    }
}

fn module(name: &str, source: &str) -> Module {
    let mut path: Vec<_> = name.split("::").map(str::to_owned).collect();
    let krate = path.remove(0);
    Module::new(&krate, path, PathBuf::from(name), source)
}

#[test]
fn every_room_of_the_library_has_its_rule() {
    for module in house() {
        if let ("millpond", Some(top)) = (module.krate.as_str(), module.path.first()) {
            assert!(
                ROOMS.iter().any(|(room, _)| room == top),
                "{top} is in no rule: say in ROOMS what it may name"
            );
        }
    }
}

/// The rules can be broken: each of these is found, and what is allowed isn't.
#[test]
fn a_broken_rule_is_found_however_it_is_written() {
    let check = |name: &str, source: &str| offences(&module(name, source)).len();
    assert_eq!(check("millpond::framing", "use crate::net::Endpoint;"), 1);
    assert_eq!(
        check(
            "millpond::framed::batch",
            "use crate::{pool::Pool, framing::Frame};"
        ),
        1
    );
    assert_eq!(
        check(
            "millpond::server::limits",
            "use super::super::client::Client;"
        ),
        1
    );
    assert_eq!(
        check("millpond::client", "fn f() { crate::server::serve() }"),
        1
    );
    assert_eq!(
        check(
            "millpond::server",
            "type T = Vec<millpond_pool::PoolSnapshot>;"
        ),
        1
    );
    assert_eq!(check("millpond_pool::state", "use tokio::time;"), 1);
    assert_eq!(
        check(
            "millpond_pool::state::list",
            "fn f() { std::time::Instant::now(); }"
        ),
        1
    );
    assert_eq!(check("millpond::framing::resp", "use fastrand::u64;"), 1);
    assert_eq!(
        check(
            "millpond::client",
            "mod tests { use std::time::SystemTime; }"
        ),
        1
    );
    assert_eq!(
        check(
            "millpond::client::pipelined::machine",
            "fn f() { Instant::now(); }"
        ),
        1
    );
    assert_eq!(
        check(
            "millpond::client::pipelined::machine",
            "use tokio::time::{Instant, sleep};"
        ),
        1
    );
    assert_eq!(
        check(
            "millpond::client::pipelined::machine::writing",
            "use fastrand::u64;"
        ),
        1
    );

    assert_eq!(
        check(
            "millpond::client::pipelined::machine",
            "use tokio::time::Instant;"
        ),
        0
    );
    assert_eq!(
        check(
            "millpond::client::pipelined::machine::tests",
            "fn f() { Instant::now(); }"
        ),
        0
    );
    assert_eq!(
        check("millpond_pool::dial", "use super::{config, state::State};"),
        0
    );
    assert_eq!(
        check(
            "millpond::client",
            "use crate::{pool::Pool, framing::Framing};"
        ),
        0
    );
    assert_eq!(
        check("millpond_pool::upkeep", "use tokio::time::Instant;"),
        0
    );
    assert_eq!(
        check("millpond_pool::statement", "use tokio::time::Instant;"),
        0
    );
}

/// Circles are found through nested modules, expressions and re-exports; and only those.
#[test]
fn a_circle_is_found_around_corners_and_a_straight_line_is_none() {
    let circles_of = |files: &[(&str, &str)]| {
        let modules: Vec<_> = files
            .iter()
            .map(|(name, source)| module(name, source))
            .collect();
        circles(&imports(&modules.iter().collect::<Vec<_>>()))
    };
    let two = [
        ("k::a", "use crate::b::B; pub struct A;"),
        ("k::b", "fn f() -> super::a::A {}"),
    ];
    assert_eq!(circles_of(&two), ["crate::a <-> crate::b"]);
    let three = [
        ("k", "mod a; mod b; mod c; pub use a::A;"),
        ("k::a", "use crate::b::B;"),
        ("k::b", "use super::c::{self, C};"),
        ("k::c", "fn f() { crate::A::new() }"),
    ];
    assert_eq!(circles_of(&three), ["crate::a <-> crate::b <-> crate::c"]);

    let by_module = [
        ("k::a", "use super::b; fn f() { b::g() }"),
        ("k::b", "use super::a::A; pub(crate) fn g() {}"),
    ];
    assert_eq!(circles_of(&by_module), ["crate::a <-> crate::b"]);

    let straight = [
        ("k", "mod a; mod b; pub use self::{a::A, b::B};"),
        (
            "k::a",
            "use super::B; #[cfg(test)] mod tests { use super::*; }",
        ),
        ("k::b", "use std::fmt; #[cfg(test)] use crate::a::A;"),
    ];
    assert_eq!(circles_of(&straight), [""; 0]);
}
