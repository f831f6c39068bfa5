//! How an input says in which pieces its bytes are to arrive.

/// Most cuts in an input of [`scripted`].
const MOST_CUTS: usize = 16;

/// An input of a target that talks over a socket.
#[derive(Clone, Debug)]
pub struct Scripted<'b> {
    /// What else the target may choose.
    pub choice: u8,
    /// What goes over the wire.
    pub wire: &'b [u8],
    /// The same, as it is written.
    pub pieces: Vec<&'b [u8]>,
}

/// Reads an input: a byte of choices, a byte whose lower half says how many cuts there are, as many
/// bytes with the pieces' lengths, and the wire. In seeds by hand `30` is a choice and no cuts.
pub fn scripted(input: &[u8]) -> Option<Scripted<'_>> {
    let (&[choice, cuts], rest) = input.split_first_chunk()?;
    let (lengths, wire) = rest.split_at_checked(usize::from(cuts) % MOST_CUTS)?;
    let (mut pieces, mut left) = (Vec::new(), wire);
    for &length in lengths {
        let (piece, behind) = left.split_at(left.len().min(usize::from(length)));
        pieces.push(piece);
        left = behind;
    }
    pieces.push(left);
    pieces.retain(|piece| !piece.is_empty());
    Some(Scripted {
        choice,
        wire,
        pieces,
    })
}

/// Cuts bytes in pieces whose lengths are the bytes' own to say: up to 97 each.
pub fn by_themselves(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut left) = (Vec::new(), bytes);
    while let Some(&length) = left.first() {
        let (piece, behind) = left.split_at(left.len().min(1 + usize::from(length) % 97));
        pieces.push(piece);
        left = behind;
    }
    pieces
}
