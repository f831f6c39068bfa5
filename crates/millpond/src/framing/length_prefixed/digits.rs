//! Lengths in decimal digits, as text and as packed BCD. How many digits there are is the field's to
//! say; at most 19 come, so no number overflows.

/// A number of decimal digits; or which of them is none.
#[inline]
pub(super) fn from_ascii(field: &[u8]) -> Result<u64, usize> {
    let mut number = 0;
    for (at, byte) in field.iter().enumerate() {
        match byte.wrapping_sub(b'0') {
            digit @ 0..10 => number = 10 * number + u64::from(digit),
            _ => return Err(at),
        }
    }
    Ok(number)
}

/// A number of packed decimal digits; or in which byte one is none.
#[inline]
pub(super) fn from_bcd(field: &[u8]) -> Result<u64, usize> {
    let mut number = 0;
    for (at, byte) in field.iter().enumerate() {
        match (byte >> 4, byte & 0xF) {
            (tens @ 0..10, ones @ 0..10) => number = 100 * number + u64::from(10 * tens + ones),
            _ => return Err(at),
        }
    }
    Ok(number)
}

/// Writes a number, with zeros in front.
#[inline]
pub(super) fn to_ascii(number: u64, field: &mut [u8]) {
    let mut rest = number;
    for byte in field.iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Writes a number, with zeros in front.
#[inline]
pub(super) fn to_bcd(number: u64, field: &mut [u8]) {
    let mut rest = number;
    for byte in field.iter_mut().rev() {
        let two = (rest % 100) as u8;
        *byte = ((two / 10) << 4) | (two % 10);
        rest /= 100;
    }
}
