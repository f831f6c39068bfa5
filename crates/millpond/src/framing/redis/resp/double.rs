//! The spelling of RESP3's doubles, byte by byte: `[+-]digits[.digits][e[+-]digits]`, `inf` and `nan`.
//! redis-server up to 7.0 sends `-nan` as well, as its C library prints it.

/// What has been read of a double. Its number fits into four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Double {
    Nothing,
    Sign,
    Integral,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    I,
    In,
    Inf,
    N,
    Na,
    Nan,
}

/// In the order of their numbers.
const ALL: [Double; 14] = [
    Double::Nothing,
    Double::Sign,
    Double::Integral,
    Double::Point,
    Double::Fraction,
    Double::Exponent,
    Double::ExponentSign,
    Double::ExponentDigits,
    Double::I,
    Double::In,
    Double::Inf,
    Double::N,
    Double::Na,
    Double::Nan,
];

impl Double {
    /// Bits that a [number](Double::number) has.
    pub(super) const BITS: u32 = 4;

    pub(super) fn number(self) -> usize {
        self as usize
    }

    pub(super) fn of(number: usize) -> Self {
        ALL.get(number).copied().unwrap_or(Double::Nothing)
    }

    /// With this byte more, if that may stand there.
    pub(super) fn with(self, byte: u8) -> Option<Self> {
        use Double::{
            Exponent, ExponentDigits, ExponentSign, Fraction, I, In, Inf, Integral, N, Na, Nan,
            Nothing, Point, Sign,
        };
        Some(match (self, byte) {
            (Nothing, b'+' | b'-') => Sign,
            (Nothing | Sign | Integral, b'0'..=b'9') => Integral,
            (Integral, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Integral | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
            (Nothing | Sign, b'i') => I,
            (I, b'n') => In,
            (In, b'f') => Inf,
            (Nothing | Sign, b'n') => N,
            (N, b'a') => Na,
            (Na, b'n') => Nan,
            _ => return None,
        })
    }

    /// Whether it may end here.
    pub(super) fn is_complete(self) -> bool {
        use Double::{ExponentDigits, Fraction, Inf, Integral, Nan};
        matches!(self, Integral | Fraction | ExponentDigits | Inf | Nan)
    }
}
