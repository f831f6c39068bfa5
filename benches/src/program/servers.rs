//! Servers that others have written, and ours as the program runs it: each on a free port of
//! 127.0.0.1, ended when dropped.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that listens.
struct Listening {
    process: Child,
    endpoint: String,
}

impl Listening {
    /// Starts it, and waits until it listens.
    fn start(mut command: Command, port: u16, package: &str) -> anyhow::Result<Listening> {
        let name = command.get_program().to_string_lossy().into_owned();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let process = process.with_context(|| {
            format!("{name} can't be started: install it (apt-get install {package})")
        })?;
        let mut listening = Listening {
            process,
            endpoint: format!("tcp://127.0.0.1:{port}"),
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = listening.process.try_wait()? {
                bail!("{name} has ended at once: {status}");
            }
            ensure!(began.elapsed() < PATIENCE, "{name} doesn't listen");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// redis-server, which keeps nothing.
pub(super) struct Redis {
    listening: Listening,
    port: u16,
}

/// What redis-benchmark says.
#[derive(Deserialize)]
pub(super) struct Benchmarked {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
}

impl Redis {
    /// A ping as redis-benchmark sends it, and its reply.
    pub(super) const PING: [&str; 6] = [
        "--framing",
        "raw",
        "--body",
        r"*1\r\n$4\r\nPING\r\n",
        "--expect",
        r"+PONG\r\n",
    ];

    pub(super) fn start() -> anyhow::Result<Redis> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let listening = Listening::start(command, port, "redis-server")?;
        Ok(Redis { listening, port })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.listening.endpoint
    }

    /// redis-benchmark: no pipelining, a closed loop.
    pub(super) fn benchmark(&self, clients: &str, requests: &str) -> anyhow::Result<Benchmarked> {
        let output = Command::new("redis-benchmark")
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                clients,
                "-n",
                requests,
                "--csv",
                "ping",
            ])
            .output()
            .context(
                "redis-benchmark can't be started: install it (apt-get install redis-tools)",
            )?;
        let text = String::from_utf8_lossy(&output.stdout);
        benchmarked(&text).with_context(|| format!("redis-benchmark said something else: {text}"))
    }
}

/// The line that it prints at last: `"ping","119474.31","0.353","0.088","0.335",…`: name, rate,
/// mean, shortest and median in ms.
fn benchmarked(text: &str) -> Option<Benchmarked> {
    let columns: Vec<_> = text
        .lines()
        .last()?
        .split(',')
        .map(|column| column.trim_matches('"'))
        .collect();
    Some(Benchmarked {
        per_second: columns.get(1)?.parse().ok()?,
        p50_us: columns.get(4)?.parse::<f64>().ok()? * 1e3,
    })
}

/// nginx, with one worker and one page.
pub(super) struct Nginx {
    listening: Listening,
    folder: PathBuf,
}

impl Nginx {
    pub(super) const GET: [&str; 6] = [
        "--framing",
        "raw",
        "--body",
        r"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "--expect-end",
        r"\r\n\r\na pond\n",
    ];

    pub(super) fn start() -> anyhow::Result<Nginx> {
        let port = free_port()?;
        let folder = env::temp_dir().join(format!("millpond-nginx-{}-{port}", process::id()));
        fs::create_dir(&folder)?;
        let configuration = format!(
            "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; events {{ worker_connections 4096; }}
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path body; proxy_temp_path proxy;
                     fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                     server {{ listen 127.0.0.1:{port}; location / {{ return 200 'a pond\\n'; }} }} }}"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        let mut command = Command::new(nginx());
        command.arg("-p").arg(&folder).arg("-c").arg(&file);
        let listening = Listening::start(command, port, "nginx-light")?;
        Ok(Nginx { listening, folder })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.listening.endpoint
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Told to end, it ends its worker as well, which being killed would leave behind.
        let told = Command::new("kill")
            .args(["-QUIT", &self.listening.process.id().to_string()])
            .status();
        if told.is_ok_and(|status| status.success()) {
            let _ = self.listening.process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Not everybody's PATH has where it is.
fn nginx() -> &'static str {
    match Path::new("/usr/sbin/nginx").exists() {
        true => "/usr/sbin/nginx",
        false => "nginx",
    }
}

/// `millpond serve` that repeats what it gets.
pub(super) struct Ours {
    process: Child,
    endpoint: String,
}

impl Ours {
    pub(super) fn start(program: &Path) -> anyhow::Result<Ours> {
        #[derive(Deserialize)]
        struct Event {
            endpoint: String,
        }
        let mut process = Command::new(program)
            .args([
                "serve",
                "--listen",
                "tcp://127.0.0.1:0",
                "--handler",
                "echo",
                "--json",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let event: Event =
            serde_json::from_str(&line).with_context(|| format!("millpond serve said {line:?}"))?;
        Ok(Ours {
            process,
            endpoint: event.endpoint,
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
