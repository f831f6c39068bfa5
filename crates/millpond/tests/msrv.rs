//! The stated minimum Rust version holds for what users build: no dependency asks for a newer one.
//!
//! What the library's own code uses is checked by clippy's `incompatible_msrv`, and by a compiler
//! of that version where CI has one.

use std::{collections::HashMap, process::Command};

use serde_json::Value;

/// Every package that the library needs when it is built as a dependency, all features on, and the
/// Rust that it asks for.
fn needed() -> Vec<(String, Option<String>)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--all-features",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let nodes: HashMap<&str, &Value> = array(&metadata["resolve"]["nodes"])
        .map(|node| (text(&node["id"]), node))
        .collect();
    let packages: HashMap<&str, &Value> = array(&metadata["packages"])
        .map(|package| (text(&package["id"]), package))
        .collect();

    let own = packages
        .iter()
        .find(|(_, package)| package["name"] == "millpond")
        .expect("the library itself");
    let mut seen = vec![*own.0];
    let mut next = 0;
    while let Some(id) = seen.get(next).copied() {
        next += 1;
        for dependency in array(&nodes[id]["deps"]) {
            let is_for_users = array(&dependency["dep_kinds"]).any(|kind| {
                kind["kind"] != "dev" && !text_or_empty(&kind["target"]).contains("loom")
            });
            let id = text(&dependency["pkg"]);
            if is_for_users && !seen.contains(&id) {
                seen.push(id);
            }
        }
    }
    seen.into_iter()
        .map(|id| {
            let package = packages[id];
            let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
            (name, package["rust_version"].as_str().map(str::to_owned))
        })
        .collect()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn text_or_empty(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .map(|part| part.parse().expect("a number"))
        .collect()
}

#[test]
fn no_dependency_asks_for_a_newer_rust_than_we_state() {
    let stated = version(env!("CARGO_PKG_RUST_VERSION"));
    let needed = needed();
    assert!(needed.len() > 10, "the dependencies were found: {needed:?}");
    assert!(needed.iter().any(|(name, _)| name.starts_with("tokio ")));
    assert!(!needed.iter().any(|(name, _)| name.starts_with("proptest ")));
    let newer: Vec<_> = needed
        .iter()
        .filter(|(_, rust)| rust.as_deref().is_some_and(|rust| version(rust) > stated))
        .collect();
    assert!(
        newer.is_empty(),
        "ask for a newer Rust than {stated:?}: {newer:?}"
    );
}
