//! What the pages promise: links lead somewhere, lines can be read, and the first pages stay short.
//!
//! That the commands on them work, `.ci/pages` checks; that the README's examples do, its doc tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.expect("a folder's entry").path();
        if path.is_dir() {
            pages_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Those of the repository: its root's and those of `docs`.
fn pages() -> Vec<PathBuf> {
    let first = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    let mut found: Vec<_> = first.iter().map(|name| root().join(name)).collect();
    pages_below(&root().join("docs"), &mut found);
    assert!(found.len() > 30, "the pages were found: {}", found.len());
    found
}

/// Those that a registry shows beside a crate.
fn crate_pages() -> Vec<PathBuf> {
    let folder = root().join("crates");
    let entries = fs::read_dir(folder).expect("the folder of crates");
    entries
        .map(|entry| entry.expect("a folder's entry").path().join("README.md"))
        .filter(|page| page.exists())
        .collect()
}

fn text(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The targets of a page's links, but for those to other sites.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
}

/// A heading's name in a link, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|&letter| letter.is_alphanumeric() || "-_".contains(letter))
        .collect()
}

/// What is wrong with a link on this page.
fn dead(page: &Path, link: &str) -> Option<String> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent().expect("a folder").join(file),
    };
    if !target.exists() {
        return Some(format!("{}: {link}: there is no such file", page.display()));
    }
    if heading.is_empty() {
        return None;
    }
    let text = text(&target);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
    let found = anchors.any(|name| name == heading);
    (!found).then(|| format!("{}: {link}: there is no such heading", page.display()))
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for link in links(&text(&page)) {
            seen += 1;
            wrong.extend(dead(&page, link));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "{seen} links");
}

/// A registry shows them where the repository's files aren't.
#[test]
fn the_pages_of_crates_have_no_links_into_the_repository() {
    for page in crate_pages() {
        let text = text(&page);
        let inward: Vec<_> = links(&text).filter(|link| !link.starts_with('#')).collect();
        assert!(inward.is_empty(), "{}: {inward:?}", page.display());
    }
}

/// What the tables for those who come from other pools call ours.
fn names_of_ours(page: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut ours = None;
    for line in page.lines() {
        if !line.starts_with('|') {
            ours = None;
            continue;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let Some(ours) = ours else {
            ours = cells.iter().position(|&cell| cell == "here");
            continue;
        };
        for code in cells[ours].split('`').skip(1).step_by(2) {
            let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            names.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    names
}

#[test]
fn what_the_page_for_those_who_come_from_other_pools_names_is_there() {
    let mut source = String::new();
    let mut folders = vec![root().join("crates/millpond-pool/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &text(&path);
            }
        }
    }
    let is_defined = |name: &String| {
        let kinds = ["fn", "pub", "struct", "enum", "trait"];
        let defined = kinds.map(|kind| format!("{kind} {name}"));
        let is_variant = format!("    {name}");
        let ends =
            |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        let outside = ["millpond", "pool", "tracing", "metrics"];
        outside.contains(&name.as_str())
            || defined
                .iter()
                .chain([&is_variant])
                .any(|what| source.split(what.as_str()).skip(1).any(ends))
    };
    let names = names_of_ours(&text(&root().join("docs/migration.md")));
    let gone: Vec<_> = names.iter().filter(|name| !is_defined(name)).collect();
    assert!(gone.is_empty(), "no longer there: {gone:?}");
    assert!(names.len() > 100, "{} names", names.len());
}

#[test]
fn every_page_of_the_docs_is_in_their_index() {
    let index = root().join("docs/README.md");
    let linked: Vec<PathBuf> = links(&text(&index))
        .filter_map(|link| root().join("docs").join(link).canonicalize().ok())
        .collect();
    let mut pages = Vec::new();
    pages_below(&root().join("docs"), &mut pages);
    for page in pages
        .iter()
        .filter(|page| !page.ends_with("docs/README.md"))
    {
        let page = page.canonicalize().expect("a page");
        assert!(linked.contains(&page), "not in docs/README.md: {page:?}");
    }
}

/// Two screens of an hour's reading, not four.
#[test]
fn the_first_pages_are_short() {
    for name in ["README.md", "ARCHITECTURE.md"] {
        let lines = text(&root().join(name)).lines().count();
        assert!(lines <= 150, "{name} has {lines} lines");
    }
}

/// Prose, that is: tables can't be broken, and code is as long as it is.
#[test]
fn lines_end_at_100_columns() {
    let mut long = Vec::new();
    for page in pages().into_iter().chain(crate_pages()) {
        let mut in_code = false;
        for (number, line) in text(&page).lines().enumerate() {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            let is_prose =
                !in_code && !fence && !line.starts_with('|') && !line.starts_with("    ");
            if is_prose && line.chars().count() > 100 {
                long.push(format!("{}:{}", page.display(), number + 1));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
