//! Writes lines to a stream without ever waiting for its reader. A thread does the writing. Lines
//! that the stream doesn't take are held up to a limit, then dropped and counted; once the stream
//! takes lines again, one of them says how many are missing.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How many bytes are held while the stream takes nothing.
const HELD: usize = 256 << 10;

/// The most that is written at once: a pipe takes this much as a whole or not at all.
const WRITTEN_AT_ONCE: usize = 4 << 10;

/// How long the end of the program waits for a stream that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the line that says how many lines are missing.
pub(crate) type Missing = fn(u64) -> String;

/// Takes lines for a stream. Clones share them.
#[derive(Clone)]
pub(crate) struct Lossy(Arc<Shared>);

struct Shared {
    held: Mutex<Held>,
    changed: Condvar,
}

/// What the stream has not taken yet.
#[derive(Default)]
struct Held {
    text: Vec<u8>,
    /// Lines that were dropped after `text`. While there are any, no line is accepted: it would
    /// seem to follow `text` directly.
    dropped: u64,
    /// The thread is writing what it took from `text`.
    is_writing: bool,
    /// How many writes have ended.
    writes: u64,
}

impl Lossy {
    /// Starts the thread that writes to this stream. It ends with the program.
    pub(crate) fn to(stream: impl Write + Send + 'static, missing: Missing) -> io::Result<Lossy> {
        let shared = Arc::new(Shared {
            held: Mutex::default(),
            changed: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        thread::Builder::new()
            .name(String::from("lines"))
            .spawn(move || writing.write_all_to(stream, missing))?;
        Ok(Lossy(shared))
    }

    /// Takes one or more lines, each with its line end.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut held = self.0.lock();
        match held.dropped == 0 && held.text.len() + lines.len() <= HELD {
            true => held.text.extend_from_slice(lines),
            false => held.dropped += line_ends(lines),
        }
        self.0.changed.notify_all();
    }

    /// Waits until the stream has taken everything, or has taken nothing for a second.
    pub(crate) fn finish(&self) {
        let mut held = self.0.lock();
        let (mut writes, mut since) = (held.writes, Instant::now());
        while held.is_writing || !held.is_empty() {
            if held.writes != writes {
                (writes, since) = (held.writes, Instant::now());
            }
            let Some(rest) = PATIENCE.checked_sub(since.elapsed()) else {
                return;
            };
            let waited = self.0.changed.wait_timeout(held, rest);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Write for &Lossy {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_all_to(&self, mut stream: impl Write, missing: Missing) {
        let mut lost = 0;
        loop {
            let mut held = self.lock();
            held.is_writing = false;
            self.changed.notify_all();
            while held.is_empty() {
                held = self
                    .changed
                    .wait(held)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let (mut text, dropped) = (
                mem::take(&mut held.text),
                mem::take(&mut held.dropped) + lost,
            );
            held.is_writing = true;
            drop(held);
            if dropped > 0 {
                text.extend_from_slice(missing(dropped).as_bytes());
                text.push(b'\n');
            }
            lost = 0;
            for part in parts(&text) {
                // Lines that the stream refuses are missing as well: it may be closed, or
                // non-blocking and full.
                if stream
                    .write_all(part)
                    .and_then(|()| stream.flush())
                    .is_err()
                {
                    lost += line_ends(part);
                }
                self.lock().writes += 1;
                self.changed.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.dropped == 0
    }
}

fn line_ends(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Splits text into parts of whole lines, each as long as may be written at once; a longer line is
/// a part of its own.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        let within = &rest[..rest.len().min(WRITTEN_AT_ONCE)];
        let end = within
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(first, |end| end + 1);
        let (part, after) = rest.split_at(end);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn missing(lines: u64) -> String {
        format!("{lines} missing")
    }

    /// Hands on what is written, once that is asked for.
    struct Gate(mpsc::SyncSender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let handed_on = self.0.send(bytes.to_owned());
            handed_on.map(|()| bytes.len()).map_err(io::Error::other)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_is_missing() {
        let (gate, written) = mpsc::sync_channel(0);
        let lossy = Lossy::to(Gate(gate), missing).expect("a thread");
        let mut sent = 0;
        let mut push = || {
            lossy.push(format!("{sent:0>99}\n").as_bytes());
            sent += 1;
        };
        push();
        // From here on the thread waits for the stream, which takes nothing yet.
        while !lossy.0.lock().is_writing {
            thread::yield_now();
        }
        // The pushes don't wait.
        while lossy.0.lock().dropped < 100 {
            push();
        }
        let mut seen = Vec::new();
        while !seen.ends_with(b" missing\n") {
            seen.extend(written.recv().expect("it writes"));
        }
        let text = String::from_utf8(seen).expect("text");
        let (kept, told) = text.trim_end().rsplit_once('\n').expect("lines");
        for (number, line) in kept.lines().enumerate() {
            assert_eq!(line, format!("{number:0>99}"));
        }
        assert_eq!(kept.lines().count() + 100, sent);
        assert_eq!(told, "100 missing");
        lossy.push(b"more\n");
        assert_eq!(written.recv().expect("it goes on"), b"more\n");
        lossy.finish();
    }

    #[test]
    fn the_end_waits_for_a_slow_reader_and_not_for_one_that_has_stopped() {
        let (gate, written) = mpsc::sync_channel(0);
        let lossy = Lossy::to(Gate(gate), missing).expect("a thread");
        lossy.push(&b"a line\n".repeat(2_000));
        let reading = thread::spawn(move || {
            let first: Vec<_> = written.iter().take(2).collect();
            (first, written)
        });
        lossy.finish();
        let (first, written) = reading.join().expect("read");
        assert_eq!(first.len(), 2);
        assert!(
            lossy.0.lock().is_writing,
            "the third part waits for its reader"
        );
        drop(written);
        lossy.finish();
        assert!(
            !lossy.0.lock().is_writing,
            "nobody reads any more: it is over at once"
        );
    }

    #[test]
    fn parts_end_where_lines_end() {
        let long = [vec![b'x'; WRITTEN_AT_ONCE], b"\n".to_vec()].concat();
        let text = [b"a\nb\n".to_vec(), long.clone(), b"c\nd".to_vec()].concat();
        let cut: Vec<_> = parts(&text).collect();
        assert_eq!(cut, [&b"a\nb\n"[..], &long, b"c\n", b"d"]);
    }
}
