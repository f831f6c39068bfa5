//! Reads the tables `tcp` and `tcp6` in `/proc/net`, for where netlink is refused: a line for each
//! socket. No line makes it panic.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::{IpAddr, SocketAddr},
};

use super::{SocketQueue, TcpSocket, TcpState};

/// The kernel's lines have some 150 to 180 bytes.
const LONGEST_LINE: u64 = 1024;

/// The buffer for reading: the kernel fills it with whole lines.
const READ_AT_ONCE: usize = 64 * 1024;

/// Calls `each` with every socket in the tables of this folder.
pub(super) fn read(folder: &str, mut each: impl FnMut(TcpSocket)) -> io::Result<()> {
    for (name, may_be_missing) in [("tcp", false), ("tcp6", true)] {
        let path = format!("{folder}/{name}");
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("reading {path} failed: {error}"))
        };
        match File::open(&path) {
            Ok(file) => {
                parse(BufReader::with_capacity(READ_AT_ONCE, file), &mut each).map_err(told)?
            }
            // A kernel without IPv6.
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(told(error)),
        }
    }
    Ok(())
}

/// A table: a line of headings, and one for each socket. A line that makes no sense is an error:
/// what a table in another form says of the others can't be trusted either.
fn parse(mut table: impl BufRead, each: &mut impl FnMut(TcpSocket)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut headings = true;
    loop {
        line.clear();
        if (&mut table)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        if std::mem::take(&mut headings) || line.trim_ascii().is_empty() {
            continue;
        }
        let socket = str::from_utf8(&line).ok().and_then(socket).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(&line)
                .trim()
                .chars()
                .take(80)
                .collect();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line makes no sense: {shown:?}"),
            )
        })?;
        each(socket);
    }
}

/// `0: 0100007F:1F90 0200007F:9C40 01 00000000:00000000 00:00000000 00000000  1000  0 4711 …`: both
/// addresses, the state, what is unacknowledged and received, timers, the user, a timer, the inode.
fn socket(line: &str) -> Option<TcpSocket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, peer) = (address(words.next()?)?, address(words.next()?)?);
    let state = TcpState::of(u8::from_str_radix(words.next()?, 16).ok()?);
    let (unacknowledged, received) = words.next()?.split_once(':')?;
    let queued = |text| u32::from_str_radix(text, 16).ok();
    let mut words = words.skip(2);
    let uid = words.next()?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(TcpSocket {
        state,
        local,
        peer,
        inode: Some(inode).filter(|inode| *inode != 0),
        uid,
        queue: SocketQueue::of(state, queued(received)?, queued(unacknowledged)?, None),
        tcp_info: None,
    })
}

/// `0100007F:1F90`: the address in words of 32 bits, each written as the number that its bytes are
/// to this machine; and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(
        ip.to_canonical(),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADINGS: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn all(lines: &str) -> io::Result<Vec<TcpSocket>> {
        let mut found = Vec::new();
        parse(format!("{HEADINGS}{lines}").as_bytes(), &mut |socket| {
            found.push(socket)
        })?;
        Ok(found)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    // The tables write addresses as this machine's numbers: these are of one whose numbers begin
    // with the lowest byte.
    #[cfg(target_endian = "little")]
    #[test]
    fn every_column_is_read_from_its_place() {
        let lines = "\
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 35 1 0000000058d9b580 100 0 0 10 0
   1: 020200C0:8F0C 507100CB:0050 06 00000000:00000000 03:00000348 00000000     0        0 0 3 000000008a195db8
12345: 0100007F:9C40 0100007F:1F90 08 0000000A:00000FFF 02:000A3A4C 00000002  1000        7 4294967295 2 000000006e773f6c 20 4 30 10 -1
";
        let [listener, remnant, stuck] = all(lines).expect("sound")[..] else {
            panic!("three")
        };
        assert_eq!(
            (
                listener.state,
                listener.local,
                listener.peer,
                listener.inode
            ),
            (
                TcpState::Listen,
                at("0.0.0.0:2024"),
                at("0.0.0.0:0"),
                Some(35)
            )
        );
        assert_eq!(
            listener.queue,
            SocketQueue::Connections {
                waiting: 3,
                limit: None
            }
        );
        assert_eq!(
            (remnant.state, remnant.local, remnant.peer, remnant.inode),
            (
                TcpState::TimeWait,
                at("192.0.2.2:36620"),
                at("203.0.113.80:80"),
                None
            )
        );
        assert_eq!(
            (stuck.state, stuck.local, stuck.peer, stuck.inode, stuck.uid),
            (
                TcpState::CloseWait,
                at("127.0.0.1:40000"),
                at("127.0.0.1:8080"),
                Some(u32::MAX.into()),
                1_000
            )
        );
        assert_eq!(
            stuck.queue,
            SocketQueue::Bytes {
                received: 4_095,
                unacknowledged: 10
            }
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn v6_addresses_are_four_numbers_and_mapped_ones_are_v4() {
        for (text, expected) in [
            ("00000000000000000000000001000000:0050", "[::1]:80"),
            (
                "B80D0120000000000000000001000000:FFFF",
                "[2001:db8::1]:65535",
            ),
            ("0000000000000000FFFF00000100007F:1F90", "127.0.0.1:8080"),
            ("00000000000000000000000000000000:0000", "[::]:0"),
        ] {
            assert_eq!(address(text), Some(at(expected)), "{text}");
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error() {
        let sound = "0: 0100007F:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 35";
        assert_eq!(all(sound).expect("sound").len(), 1);
        assert_eq!(all("\n   \n").expect("empty lines").len(), 0);
        for bad in [
            "x",
            "0: 0100007F:1F90",
            "0: 0100007G:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 35",
            "0: 0100007F:11F90 0100007F:9C40 01 0:0 0:0 0 0 0 35",
            "0: 0100007F1:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 35",
            "0: 0100007F:1F90 0100007F:9C40 1FF 0:0 0:0 0 0 0 35",
            "0: 0100007F:1F90 0100007F:9C40 01 00 0:0 0 0 0 35",
            "0: 0100007F:1F90 0100007F:9C40 01 0:0 0:0 0 -1 0 35",
            "0: 0100007F:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 x",
            "0: 0100007F:1F90 0100007F:9C40 01 0:0 0:0 0 0 0",
            "0: üüüü:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 35",
        ] {
            let error = all(bad).expect_err(bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut endless = io::repeat(b'0').take(1 << 20);
        let table = BufReader::with_capacity(16, &mut endless);
        let error = parse(table, &mut |_| {})
            .expect_err("no end of it")
            .to_string();
        assert!(error.len() < 200, "{error}");
        assert!(endless.limit() > 1 << 19, "it has read nearly all of it");
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), words in "[0-9A-F: ]{0,160}") {
            let _ = parse(&bytes[..], &mut |_| {});
            let _ = all(&words);
        }
    }
}
