//! A field of fixed width that holds the id of an exchange.

/// A field of each frame that holds a request's id, and that its reply repeats. Numbers are of the
/// connection's own there: a client that shares connections [writes](IdField::write) one of its own
/// into the request, compares the reply's with it, and puts the request's own back into the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdField {
    offset: usize,
    width: usize,
    order: ByteOrder,
}

/// In which order the bytes of a number come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ByteOrder {
    /// The most significant byte first: the network's order.
    #[default]
    Big,
    /// The least significant byte first.
    Little,
}

impl IdField {
    /// A number of so many bytes, `offset` bytes behind the frame's first.
    ///
    /// # Panics
    ///
    /// If `width` isn't 1 to 8.
    pub const fn new(offset: usize, width: usize, order: ByteOrder) -> Self {
        assert!(width >= 1 && width <= 8, "an id has 1 to 8 bytes");
        IdField {
            offset,
            width,
            order,
        }
    }

    /// How many bytes lie before it.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes it has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// In which order.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The frame's id; `None` if the frame is too short to have one.
    #[inline]
    pub fn read(&self, frame: &[u8]) -> Option<u64> {
        let field = frame.get(self.offset..self.offset.checked_add(self.width)?)?;
        // The usual widths are read at once.
        let big_endian = match *field {
            [a] => a.into(),
            [a, b] => u16::from_be_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => {
                let join = |id: u64, byte: &u8| id << 8 | u64::from(*byte);
                field.iter().fold(0, join)
            }
        };
        Some(match self.order {
            ByteOrder::Big => big_endian,
            ByteOrder::Little => big_endian.swap_bytes() >> (64 - 8 * self.width),
        })
    }

    /// Writes an id, or as much of it as the field holds: the lowest bytes. Whether the frame is
    /// long enough to have one.
    #[inline]
    pub fn write(&self, frame: &mut [u8], id: u64) -> bool {
        let Some(end) = self.offset.checked_add(self.width) else {
            return false;
        };
        let Some(field) = frame.get_mut(self.offset..end) else {
            return false;
        };
        // The first bytes of these are the field's, in either order.
        let bytes = match self.order {
            ByteOrder::Big => (id << (64 - 8 * self.width)).to_be_bytes(),
            ByteOrder::Little => id.to_le_bytes(),
        };
        match field {
            [a, b] => [*a, *b] = [bytes[0], bytes[1]],
            [a, b, c, d] => [*a, *b, *c, *d] = [bytes[0], bytes[1], bytes[2], bytes[3]],
            _ => field.copy_from_slice(&bytes[..self.width]),
        }
        true
    }

    /// The part of a number that the field holds.
    pub fn held(&self, number: u64) -> u64 {
        number & (u64::MAX >> (64 - 8 * self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_touches_nothing_else() {
        for width in 1..=8 {
            for order in [ByteOrder::Big, ByteOrder::Little] {
                let field = IdField::new(2, width, order);
                let id = 0x0102_0304_0506_0708;
                let mut frame = [0xff; 12];
                assert!(field.write(&mut frame, id));
                assert_eq!(
                    field.read(&frame),
                    Some(field.held(id)),
                    "{width} {order:?}"
                );
                assert!(
                    frame[..2]
                        .iter()
                        .chain(&frame[2 + width..])
                        .all(|&byte| byte == 0xff)
                );
                assert_eq!(field.read(&frame[..1 + width]), None);
                assert!(!field.write(&mut frame[..1 + width], id));
            }
        }
        let field = IdField::new(0, 2, ByteOrder::Big);
        assert_eq!(field.read(&[1, 2]), Some(0x102));
        let field = IdField::new(0, 2, ByteOrder::Little);
        assert_eq!(field.read(&[1, 2]), Some(0x201));
        let beyond = IdField::new(usize::MAX, 2, ByteOrder::Big);
        assert_eq!(beyond.read(&[0; 4]), None);
        assert!(!beyond.write(&mut [0; 4], 1));
    }
}
