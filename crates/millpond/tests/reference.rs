//! The reference of every key that a file of routes may have, made of the types that read it: their
//! fields, their documentation, and their defaults as they are written. The page in the repository
//! must be what comes out.

#![cfg(all(unix, feature = "serde"))]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use millpond::{
    client::{ClientSettings, Pipelining},
    connectors::Ejection,
    pool::PoolSettings,
    proxy::RouteSettings,
    server::ServerSettings,
};
use serde::Serialize;
use syn::{Attribute, Fields, ImplItem, Item, Meta};

/// Where the types are, and the setters whose documentation theirs refers to.
const FILES: [&str; 12] = [
    "millpond-cli/src/commands/proxy/tables.rs",
    "millpond-pool/src/settings.rs",
    "millpond-pool/src/builder.rs",
    "millpond/src/server/settings.rs",
    "millpond/src/server/builder.rs",
    "millpond/src/client/settings.rs",
    "millpond/src/client/builder.rs",
    "millpond/src/client/pipelined/settings.rs",
    "millpond/src/framed/allowance.rs",
    "millpond/src/upstreams/settings.rs",
    "millpond/src/proxy/settings.rs",
    "millpond/src/proxy/builder.rs",
];

/// What a file of routes has other defaults for than the library.
const OTHERWISE: [(&str, &str); 2] = [
    ("pool.max_size", "8"),
    (
        "server.max_connections",
        "10000, or what the limit of open files leaves",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the source says.
#[derive(Default)]
struct Source {
    /// The keys of each struct, with their documentation.
    structs: BTreeMap<String, Vec<(String, String)>>,
    /// The documentation of `Type::setter`.
    setters: BTreeMap<String, String>,
}

impl Source {
    fn read() -> Source {
        let mut source = Source::default();
        for file in FILES {
            let path = root().join("crates").join(file);
            let text = fs::read_to_string(&path).expect(file);
            for item in syn::parse_file(&text).expect(file).items {
                source.item(item);
            }
        }
        source
    }

    fn item(&mut self, item: Item) {
        match item {
            Item::Struct(item) => {
                let Fields::Named(fields) = item.fields else {
                    return;
                };
                let keys = fields.named.iter().map(|field| {
                    let name = field.ident.as_ref().expect("a name").to_string();
                    let key = renamed(&field.attrs).unwrap_or(name);
                    (key, documentation(&field.attrs))
                });
                self.structs.insert(item.ident.to_string(), keys.collect());
            }
            Item::Impl(item) => {
                let syn::Type::Path(path) = &*item.self_ty else {
                    return;
                };
                let name = &path.path.segments.last().expect("a type").ident;
                for item in item.items {
                    if let ImplItem::Fn(setter) = item {
                        let setter_name = format!("{name}::{}", setter.sig.ident);
                        self.setters
                            .insert(setter_name, documentation(&setter.attrs));
                    }
                }
            }
            _ => {}
        }
    }

    /// What a key is for: its own documentation, or that of the setter to which it refers, or which
    /// has its name.
    fn meaning(&self, of: &str, key: &str, own: &str) -> String {
        let referred = own.strip_prefix("See [`").and_then(|rest| {
            let (setter, rest) = rest.split_once("`]")?;
            let rest = rest.split_once(')').map_or("", |(_, rest)| rest);
            let more = rest.trim_start_matches('.').trim();
            Some(format!("{} {more}", self.setters.get(setter)?))
        });
        let of_its_name = || self.setters.get(&format!("{of}::{key}")).cloned();
        let own = || (!own.is_empty()).then(|| own.to_owned());
        let meaning = referred.or_else(own).or_else(of_its_name);
        let meaning = meaning.unwrap_or_else(|| panic!("{of} doesn't say what {key} is"));
        plain(&meaning).trim().to_owned()
    }

    /// The rows of a table.
    fn rows(&self, page: &mut String, name: &str, of: &str, defaults: &toml::Table) {
        page.push_str("| key | default | what it is |\n|---|---|---|\n");
        let keys = &self.structs[of];
        for (key, own) in keys {
            let full = format!("{name}.{key}");
            let otherwise = OTHERWISE.iter().find(|(key, _)| *key == full);
            let default = match (otherwise, defaults.get(key)) {
                (Some((_, default)), _) => (*default).to_owned(),
                (None, Some(toml::Value::Table(_))) => String::from("a table, below"),
                (None, Some(default)) => format!("`{default}`"),
                (None, None) => String::new(),
            };
            let meaning = self.meaning(of, key, own);
            writeln!(page, "| `{key}` | {default} | {meaning} |").expect("written");
        }
        for key in defaults.keys() {
            assert!(
                keys.iter().any(|(known, _)| known == key),
                "{of} has no field for {key}"
            );
        }
    }
}

/// What serde calls a field.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return None;
        };
        let tokens = list.tokens.to_string();
        let (_, rest) = tokens.split_once("rename = \"")?;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

/// The first paragraph, on one line.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(meta) = &attribute.meta else {
            return None;
        };
        match &meta.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) if meta.path.is_ident("doc") => Some(text.value().trim().to_owned()),
            _ => None,
        }
    });
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Without links, which lead from the types and not from the page.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        plain.push_str(before);
        let (shown, behind) = behind.split_once(']').expect("a link's end");
        plain.push_str(shown);
        rest = match behind.strip_prefix('(') {
            Some(target) => target.split_once(')').expect("a link's target").1,
            None => behind,
        };
    }
    plain.push_str(rest);
    plain.replace('|', "\\|")
}

fn defaults<T: Serialize>(settings: &T) -> toml::Table {
    toml::Table::try_from(settings).expect("a table")
}

fn page() -> String {
    let source = Source::read();
    let mut page = String::from(
        "# Every key of a file of routes\n\n\
         [The proxy](proxy.md#several-routes) reads one with `--config`. Each route is a table\n\
         `[route.NAME]`. Times are numbers of seconds; `\"never\"` and `\"unlimited\"` stand for no limit,\n\
         where there may be none. A default that isn't shown is none. Where a program is meant, and not a\n\
         file, the text names the library's own setters.\n\n\
         This page is made of the types that read the file, by\n\n    \
         MILLPOND_WRITE=1 cargo test --package millpond --all-features --test reference\n\n\
         ## `[route.NAME]`\n\n",
    );
    source.rows(&mut page, "", "Table", &toml::Table::new());
    page.push_str("\n## A user of `users`\n\n");
    source.rows(&mut page, "", "User", &toml::Table::new());
    page.push_str("\n## A step of `on_connect` and `probe`\n\n");
    source.rows(&mut page, "", "Step", &toml::Table::new());
    let pipelining = Pipelining::default();
    let mut client = ClientSettings::default();
    client.pipelining = Some(pipelining);
    let client = defaults(&client);
    let pool = defaults(&PoolSettings::default());
    let sub = |table: &toml::Table, key: &str| match &table[key] {
        toml::Value::Table(table) => table.clone(),
        other => panic!("{other}"),
    };
    let server = defaults(&ServerSettings::default());
    let limit = sub(&server, "heartbeat_limit");
    for (name, of, defaults) in [
        ("server", "ServerSettings", &server),
        ("server.heartbeat_limit", "HeartbeatLimit", &limit),
        ("client", "ClientSettings", &client),
        (
            "client.pipelining",
            "Pipelining",
            &sub(&client, "pipelining"),
        ),
        ("pool", "PoolSettings", &pool),
        ("pool.backoff", "Backoff", &sub(&pool, "backoff")),
        (
            "route",
            "RouteSettings",
            &defaults(&RouteSettings::default()),
        ),
        ("ejection", "Ejection", &defaults(&Ejection::default())),
    ] {
        write!(page, "\n## `{name}`\n\n").expect("written");
        source.rows(&mut page, name, of, defaults);
    }
    page.push_str("\n`client.heartbeat_limit` has the keys of `server.heartbeat_limit`.\n");
    page
}

#[test]
fn the_reference_is_what_the_types_say() {
    let path = root().join("docs/reference.md");
    let page = page();
    if env::var_os("MILLPOND_WRITE").is_some() {
        fs::write(&path, &page).expect("written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference.md isn't what the types say any more; MILLPOND_WRITE=1 writes it"
    );
}
