//! Writes the smallest acknowledgment of a message.

use super::message::{AckCode, Header};

/// The acknowledgment of the message with this header: MSH and MSA.
pub(super) fn of(header: &Header<'_>, code: AckCode) -> Vec<u8> {
    let kind = kind(header);
    let id = header.control_id();
    let mut last = 12;
    // From MSH-2 on: those of the message, with the two ends exchanged.
    let mut fields = [&b""[..]; 17];
    for (field, number) in fields.iter_mut().zip([2, 5, 6, 3, 4, 7, 8, 9, 10, 11, 12]) {
        *field = header.field(number);
    }
    fields[6] = b"";
    fields[7] = &kind;
    let character_set = header.field(18);
    if !character_set.is_empty() {
        fields[16] = character_set;
        last = 18;
    }
    let mut out = b"MSH".to_vec();
    for field in &fields[..last - 1] {
        out.push(header.separator());
        out.extend_from_slice(field);
    }
    out.extend_from_slice(b"\rMSA");
    for field in [code.as_str().as_bytes(), id] {
        out.push(header.separator());
        out.extend_from_slice(field);
    }
    out.push(b'\r');
    out
}

/// MSH-9 of an acknowledgment: with the event that the message tells of, and with a structure if
/// the message names one, as messages do since version 2.3.1.
fn kind(header: &Header<'_>) -> Vec<u8> {
    let (event, structure) = (header.message_type(1), header.message_type(2));
    let mut kind = b"ACK".to_vec();
    if !event.is_empty() {
        kind.push(header.component_separator());
        kind.extend_from_slice(event);
        if !structure.is_empty() {
            kind.push(header.component_separator());
            kind.extend_from_slice(b"ACK");
        }
    }
    kind
}
