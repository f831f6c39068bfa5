//! The packets of netlink sock_diag: encodes requests, decodes answers. Pure; no bytes make it
//! panic.

use std::{fmt, io};

use netlink_packet_core::{
    DoneBuffer, ErrorBuffer, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator, Parseable,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, INET_DIAG_INFO, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use nix::errno::Errno;

use super::{TcpInfo, ends::Ends};

/// A socket as the kernel described it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// One of the `TCP_*` constants.
    pub(super) state: u8,
    pub(super) ends: Ends,
    /// 0 if no process has it open. The kernel goes on with a closed one until its last bytes are
    /// acknowledged.
    pub(super) inode: u32,
    pub(super) uid: u32,
    /// Bytes received and not yet read; of a listener the connections that wait to be accepted.
    pub(super) receive_queue: u32,
    /// Bytes written and not yet acknowledged; of a listener how many connections may wait.
    pub(super) send_queue: u32,
    /// If it was asked for, and the socket isn't a remnant in TIME_WAIT.
    pub(super) tcp_info: Option<TcpInfo>,
}

/// Which sockets a dump describes.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) states: StateFlags,
    /// 0 for any.
    pub(super) peer_port: u16,
    pub(super) extensions: ExtensionFlags,
}

/// The address family of the sockets that a dump describes. A v4 connection of a v6 socket is in
/// the dump of v6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A request's bytes.
pub(super) fn request(
    family: Family,
    filter: &Filter,
    socket_id: SocketId,
    flags: u16,
    sequence: u32,
) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family: family.number(),
        protocol: IPPROTO_TCP,
        extensions: filter.extensions.clone(),
        states: filter.states.clone(),
        socket_id,
    });
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What one message says.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Found(Found),
    Done,
    Failed(Errno),
    Nothing,
}

/// The messages of a datagram: the sequence number of the request, and the answer to it. Ends after
/// the first error.
pub(super) struct Messages<'b>(pub(super) &'b [u8]);

impl Iterator for Messages<'_> {
    type Item = io::Result<(u32, Answer)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let parsed = NetlinkBuffer::new_checked(self.0)
            .map_err(malformed)
            .and_then(|message| {
                let length = message.length() as usize;
                let answer = answer(message.message_type(), message.payload())?;
                Ok((length, (message.sequence_number(), answer)))
            });
        match parsed {
            Ok((length, answer)) => {
                // Messages begin at multiples of four.
                self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
                Some(Ok(answer))
            }
            Err(error) => {
                self.0 = &[];
                Some(Err(error))
            }
        }
    }
}

/// Reads only the header and one attribute. The crate's own parser reads all attributes: it
/// allocates for each, and fails if another kernel's attribute has a length that it doesn't know.
fn answer(message_type: u16, payload: &[u8]) -> io::Result<Answer> {
    let failed = |code: i32| match code {
        0 => Answer::Done,
        code => Answer::Failed(Errno::from_raw(code.saturating_abs())),
    };
    match message_type {
        SOCK_DIAG_BY_FAMILY => found(payload).map(Answer::Found),
        NLMSG_DONE if payload.is_empty() => Ok(Answer::Done),
        NLMSG_DONE => Ok(failed(
            DoneBuffer::new_checked(payload).map_err(malformed)?.code(),
        )),
        NLMSG_ERROR => {
            let error = ErrorBuffer::new_checked(payload).map_err(malformed)?;
            Ok(failed(error.code().map_or(0, i32::from)))
        }
        NLMSG_OVERRUN => Ok(Answer::Failed(Errno::ENOBUFS)),
        NLMSG_NOOP => Ok(Answer::Nothing),
        other => Err(malformed(format_args!("a message of type {other}"))),
    }
}

fn found(payload: &[u8]) -> io::Result<Found> {
    let header = InetResponseHeader::parse(payload).map_err(malformed)?;
    // The header was parsed, so there are this many bytes.
    let attributes = &payload[RESPONSE_HEADER..];
    let mut tcp_info = None;
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == INET_DIAG_INFO {
            tcp_info = TcpInfo::parse(attribute.value());
        }
    }
    Ok(Found {
        state: header.state,
        ends: Ends::of(&header.socket_id),
        inode: header.inode,
        uid: header.uid,
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
        tcp_info,
    })
}

/// `struct inet_diag_msg`.
const RESPONSE_HEADER: usize = 72;

pub(super) fn malformed(what: impl fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's answer makes no sense: {what}"),
    )
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of this type with this payload, as answer to request 7.
    fn message(message_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(message_type.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// 127.0.0.1:40000 to 127.0.0.1:80, of user 1000, held, with these attributes behind.
    fn socket(attributes: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; RESPONSE_HEADER];
        payload[0] = AF_INET;
        payload[1] = 1;
        payload[4..6].copy_from_slice(&40_000u16.to_be_bytes());
        payload[6..8].copy_from_slice(&80u16.to_be_bytes());
        payload[8..12].copy_from_slice(&[127, 0, 0, 1]);
        payload[24..28].copy_from_slice(&[127, 0, 0, 1]);
        payload[56..60].copy_from_slice(&5u32.to_ne_bytes());
        payload[60..64].copy_from_slice(&7u32.to_ne_bytes());
        payload[64..68].copy_from_slice(&1_000u32.to_ne_bytes());
        payload[68..72].copy_from_slice(&99u32.to_ne_bytes());
        payload.extend(attributes);
        payload
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn all(datagram: &[u8]) -> io::Result<Vec<(u32, Answer)>> {
        Messages(datagram).collect()
    }

    #[test]
    fn a_datagram_of_several_messages_is_read_to_its_end() {
        let attributes = [
            attribute(200, b"of a kernel to come"),
            attribute(INET_DIAG_INFO, &[0; 104]),
            attribute(8, &[]),
        ];
        let datagram = [
            message(SOCK_DIAG_BY_FAMILY, &socket(&attributes.concat())),
            // Of an odd length: the next begins at a multiple of four.
            message(NLMSG_NOOP, &[0; 5]),
            message(NLMSG_DONE, &0i32.to_ne_bytes()),
        ];
        let answers = all(&datagram.concat()).expect("sound");
        let found = Found {
            state: 1,
            ends: Ends::new(([127, 0, 0, 1], 40_000).into(), ([127, 0, 0, 1], 80).into()),
            inode: 99,
            uid: 1_000,
            receive_queue: 5,
            send_queue: 7,
            tcp_info: TcpInfo::parse(&[0; 104]),
        };
        assert!(found.tcp_info.is_some());
        assert_eq!(
            answers,
            [
                (7, Answer::Found(found)),
                (7, Answer::Nothing),
                (7, Answer::Done)
            ]
        );
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error_of_its_own() {
        for (message_type, payload, answer) in [
            (
                NLMSG_ERROR,
                (-2i32).to_ne_bytes().to_vec(),
                Answer::Failed(Errno::ENOENT),
            ),
            (
                NLMSG_ERROR,
                i32::MIN.to_ne_bytes().to_vec(),
                Answer::Failed(Errno::UnknownErrno),
            ),
            (NLMSG_ERROR, vec![0; 20], Answer::Done),
            (
                NLMSG_DONE,
                (-13i32).to_ne_bytes().to_vec(),
                Answer::Failed(Errno::EACCES),
            ),
            (NLMSG_DONE, vec![], Answer::Done),
            (NLMSG_OVERRUN, vec![], Answer::Failed(Errno::ENOBUFS)),
        ] {
            assert_eq!(
                all(&message(message_type, &payload)).expect("sound"),
                [(7, answer)]
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_ends_the_datagram() {
        let sound = message(
            SOCK_DIAG_BY_FAMILY,
            &socket(&attribute(INET_DIAG_INFO, &[0; 104])),
        );
        for length in 1..sound.len() {
            assert!(all(&sound[..length]).is_err(), "{length} bytes");
        }
        let mut empty = sound.clone();
        empty[..4].fill(0);
        let mut overlong = sound.clone();
        overlong[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut other_family = sound.clone();
        other_family[16] = 99;
        let overlong_attribute = message(SOCK_DIAG_BY_FAMILY, &socket(&[0xff, 0xff, 2, 0]));
        let no_length = message(SOCK_DIAG_BY_FAMILY, &socket(&[0, 0, 2, 0]));
        let short_error = message(NLMSG_ERROR, &[1]);
        let other_type = message(4_711, &[]);
        for bad in [
            empty,
            overlong,
            other_family,
            overlong_attribute,
            no_length,
            short_error,
            other_type,
        ] {
            let answers: Vec<_> = Messages(&[bad, sound.clone()].concat()).collect();
            assert_eq!(answers.len(), 1);
            let error = answers[0].as_ref().expect_err("nonsense");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic_or_go_on_for_ever(
            mut datagram in proptest::collection::vec(any::<u8>(), 0..300),
            message_type in prop_oneof![Just(SOCK_DIAG_BY_FAMILY), Just(NLMSG_ERROR), Just(NLMSG_DONE), any::<u16>()],
            length in 0u32..320,
            family in prop_oneof![Just(AF_INET), Just(AF_INET6), any::<u8>()],
        ) {
            prop_assert!(Messages(&datagram).count() <= datagram.len() / 16 + 1);
            // Most random bytes fail at the first header: these get past it.
            if datagram.len() > 16 {
                datagram[..4].copy_from_slice(&length.to_ne_bytes());
                datagram[4..6].copy_from_slice(&message_type.to_ne_bytes());
                datagram[16] = family;
            }
            prop_assert!(Messages(&datagram).count() <= datagram.len() / 16 + 1);
        }
    }
}
