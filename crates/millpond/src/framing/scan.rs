//! What is known of an item that hasn't arrived as a whole, kept from one look at it to the next.

use super::step::Extent;

/// What a [`Framing`](super::Framing) has found out of an item that hasn't arrived as a whole.
///
/// The receiver of bytes keeps one for each direction of a connection, hands it to each call of
/// [`next`](super::Framing::next), and [resets](Scan::reset) it whenever it takes an item away. A
/// framing writes into it what it needs in order to go on where it stopped.
///
/// # Contract
///
/// - It only saves work: with a fresh scan a framing answers the same for the same bytes.
/// - Positions count from the boundary, as the bytes do that `next` is shown.
/// - A framing that ignores it is correct, but looks at all bytes of an unfinished item again after
///   each read, which costs the square of the frame's length if the peer sends it in small pieces.
///
/// # Example
///
/// Lines, of which no byte is looked at twice:
///
/// ```
/// use millpond::framing::{Context, Extent, FrameError, Framing, Scan, Step};
///
/// struct Lines {
///     longest: usize,
/// }
///
/// impl Framing for Lines {
///     fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
///         let searched = scan.searched();
///         let end = bytes[searched..].iter().position(|&byte| byte == b'\n');
///         if let Some(at) = end {
///             let body = searched + at;
///             return Ok(Step::Frame(Extent { head: 0, body, tail: 1 }));
///         }
///         if bytes.len() > self.longest {
///             let (length, limit) = (bytes.len() as u64, self.longest as u64);
///             return Err(FrameError::TooLong { length, limit, setting: None });
///         }
///         scan.set_searched(bytes.len());
///         Ok(Step::More { missing: 1 })
///     }
/// #   fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
/// #       if let Some(position) = body.iter().position(|&byte| byte == b'\n') {
/// #           let (found, expected) = (b'\n', "a line".into());
/// #           return Err(FrameError::Unexpected { position, found, expected });
/// #       }
/// #       out.extend_from_slice(body);
/// #       out.push(b'\n');
/// #       Ok(())
/// #   }
/// }
///
/// let (lines, mut scan) = (Lines { longest: 80 }, Scan::default());
/// assert_eq!(lines.next(Context::REQUEST, b"PI", &mut scan)?, Step::More { missing: 1 });
/// assert_eq!(scan.searched(), 2);
/// let step = lines.next(Context::REQUEST, b"PING\nPO", &mut scan)?;
/// assert_eq!(step, Step::Frame(Extent { head: 0, body: 4, tail: 1 }));
/// scan.reset();
/// # Ok::<_, FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    extent: Option<Extent>,
    searched: usize,
    note: u64,
}

impl Scan {
    /// Says where the frame ends, before all of it is there: as soon as its head has told.
    ///
    /// The receiver then gives the frame the time that its length takes, and reads it with fewer
    /// copies. Once announced, the frame must be answered as soon as so many bytes are there,
    /// and [`Step::More`](super::Step::More) no longer.
    #[inline]
    pub fn announce(&mut self, extent: Extent) {
        self.extent = Some(extent);
    }

    /// What was announced of the item that is arriving.
    #[inline]
    pub fn announced(&self) -> Option<Extent> {
        self.extent
    }

    /// From where on the bytes have to be looked at: 0 at first, then what was
    /// [set](Scan::set_searched) last.
    #[inline]
    pub fn searched(&self) -> usize {
        self.searched
    }

    /// Remembers from where on the next look has to begin. At most as many as there are bytes; for
    /// a delimiter of several bytes fewer, since its first ones may be there already.
    #[inline]
    pub fn set_searched(&mut self, position: usize) {
        self.searched = position;
    }

    /// A word of the framing's own: 0 at first, then what was [set](Scan::set_note) last.
    #[inline]
    pub fn note(&self) -> u64 {
        self.note
    }

    /// Remembers a word of the framing's own, such as how many elements of a nested value are still
    /// to come.
    #[inline]
    pub fn set_note(&mut self, note: u64) {
        self.note = note;
    }

    /// Forgets everything: the next byte is the first behind a boundary.
    #[inline]
    pub fn reset(&mut self) {
        *self = Scan::default();
    }
}
