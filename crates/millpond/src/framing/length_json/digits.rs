//! Eight decimal digits at a time, as the eight bytes of a word: a division for each digit, or a
//! branch, would cost more than the frame's copy. Pure arithmetic; how many digits there are and
//! what they count, the header knows.
//!
//! The first digit is the word's lowest byte, so that the word's little-endian bytes are the text.

/// One more than what eight digits can say.
pub(super) const LIMIT: u64 = 100_000_000;

/// The digit 0 in every byte.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// A number below [`LIMIT`] as eight digits: halves, then quarters, then digits, all of a level at
/// once. The multiplications divide, exactly for what can stand there: by 100 for numbers below
/// 10,000, by 10 for those below 100.
#[inline]
pub(super) fn write(number: u64) -> u64 {
    debug_assert!(number < LIMIT, "{number} has more than eight digits");
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    ZEROS | tens | ((twos - 10 * tens) << 8)
}

/// The number that eight digits say, if they are digits.
#[inline]
pub(super) fn read(digits: u64) -> Option<u64> {
    // '0' to '9' are all that have 3 as their high half, and still have it with 6 added. A byte
    // from which that carries has another.
    const HIGH_HALVES: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    let strays = (digits ^ ZEROS) | (digits.wrapping_add(0x0606_0606_0606_0606) ^ ZEROS);
    if strays & HIGH_HALVES != 0 {
        return None;
    }
    let ones = digits ^ ZEROS;
    // In every second byte, then pair of bytes, then half: ten, a hundred, ten thousand times the
    // first and the second.
    let twos = (10 * ones + (ones >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (100 * twos + (twos >> 16)) & 0x0000_FFFF_0000_FFFF;
    Some((10_000 * fours + (fours >> 32)) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_number_of_four_digits_is_written_and_read_in_either_half() {
        for number in (0..10_000).flat_map(|four| [four, 10_000 * four]) {
            let text = format!("{number:08}");
            assert_eq!(write(number).to_le_bytes(), text.as_bytes());
            assert_eq!(
                read(u64::from_le_bytes(text.as_bytes().try_into().unwrap())),
                Some(number)
            );
        }
    }

    #[test]
    fn every_byte_that_is_no_digit_is_refused_at_every_place_beside_any_neighbour() {
        for (place, byte, neighbour) in (0..8).flat_map(|place| {
            (0..=255).flat_map(move |byte| [0, 9].map(|other| (place, byte, other)))
        }) {
            let mut text = [b'0' + neighbour; 8];
            text[place] = byte;
            let number = std::str::from_utf8(&text)
                .ok()
                .filter(|_| byte.is_ascii_digit());
            let number = number.map(|digits| digits.parse().unwrap());
            assert_eq!(read(u64::from_le_bytes(text)), number, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(number in 0..LIMIT) {
            let text = format!("{number:08}");
            prop_assert_eq!(&write(number).to_le_bytes(), text.as_bytes());
            prop_assert_eq!(read(write(number)), Some(number));
        }

        #[test]
        fn only_digits_are_read(bytes in any::<[u8; 8]>()) {
            prop_assert_eq!(read(u64::from_le_bytes(bytes)).is_some(), bytes.iter().all(u8::is_ascii_digit));
        }
    }
}
