//! A Node process that exchanges on command, by a client on generic-pool that is written with care
//! (`peers/node/client.js`). It stays alive from slice to slice, so that none of them pays for its
//! start.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::slices::{BODY, CALLERS, CONNECTIONS, Slice};

/// What is missing of node and npm, and how to install it.
pub(crate) fn missing() -> Option<String> {
    let absent = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
    let missing: Vec<&str> = ["node", "npm"].into_iter().filter(absent).collect();
    match missing.is_empty() {
        true => None,
        false => Some(format!(
            "{} can't be started: install Node.js 18 or later with npm (apt-get install nodejs npm)",
            missing.join(" and ")
        )),
    }
}

/// Ended when dropped.
pub(crate) struct Node {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What it says of a slice.
#[derive(Deserialize)]
struct Answer {
    seconds: f64,
    /// Processor time, all threads.
    cpu_seconds: f64,
    counts: Vec<u64>,
    wrong: u64,
}

impl Node {
    /// Installs what the client needs, from the lock file, and lets it warm up.
    pub(crate) fn start(peer: SocketAddr) -> anyhow::Result<Node> {
        if let Some(missing) = missing() {
            bail!("{missing}");
        }
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node"));
        let npm = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--prefer-offline"])
            .current_dir(&folder)
            .output()?;
        ensure!(
            npm.status.success(),
            "npm ci in {} failed (it needs npm's registry, or its cache): {}",
            folder.display(),
            String::from_utf8_lossy(&npm.stderr)
        );
        let mut process = Command::new("node")
            .arg(folder.join("slices.js"))
            .args([peer.port().to_string(), CALLERS.to_string()])
            .args([CONNECTIONS.to_string(), BODY.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(process.stdout.take().context("piped")?);
        let orders = process.stdin.take();
        let mut node = Node {
            process,
            orders,
            answers,
        };
        // Until the code that runs often is compiled.
        node.slice_of(Duration::from_secs(2))?;
        Ok(node)
    }

    /// Runs its callers for so long, after a warm-up of a fifth of it. Returns also the processor
    /// time that it took, in seconds. A wrong reply is an error.
    pub(crate) fn slice_of(&mut self, slice: Duration) -> anyhow::Result<(Slice, f64)> {
        writeln!(
            self.orders.as_mut().context("piped")?,
            "{}",
            slice.as_millis()
        )?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Answer = serde_json::from_str(&line)
            .with_context(|| format!("the Node client ended, or said something else: {line:?}"))?;
        ensure!(
            answer.wrong == 0,
            "the Node client got {} wrong replies",
            answer.wrong
        );
        ensure!(
            answer.counts.len() == CALLERS,
            "not as many callers as were asked for"
        );
        let elapsed = Duration::try_from_secs_f64(answer.seconds)?;
        Ok((Slice::of(&answer.counts, elapsed), answer.cpu_seconds))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}
