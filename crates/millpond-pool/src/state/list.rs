//! Doubly linked lists threaded through a vector by index.
//!
//! Every slot and every waiter is in exactly one list at a time, its *stage*. Moving from one to
//! another is O(1), allocates nothing and changes no index, so a key that somebody holds stays
//! true. Lengths live in the list and nowhere else. Crates with such a list own their nodes, and so
//! would change a node's key with each move.

/// Where a node stands in the list that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: u32,
    next: u32,
}

/// The index that is no node's.
const NOBODY: u32 = u32::MAX;

impl Links {
    pub(super) const ALONE: Links = Links {
        prev: NOBODY,
        next: NOBODY,
    };
}

/// A node that can be linked.
pub(super) trait Linked {
    fn links(&self) -> Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// The ends of one list, and how many nodes lie between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

fn some(index: u32) -> Option<u32> {
    (index != NOBODY).then_some(index)
}

impl List {
    pub(super) const EMPTY: List = List {
        head: NOBODY,
        tail: NOBODY,
        len: 0,
    };

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn front(&self) -> Option<u32> {
        some(self.head)
    }

    #[inline]
    pub(super) fn back(&self) -> Option<u32> {
        some(self.tail)
    }

    /// Links `at` in before `next`, or at the end when there is no `next`. `at` must be in no list.
    #[inline]
    pub(super) fn insert<N: Linked>(&mut self, nodes: &mut [N], at: u32, next: Option<u32>) {
        let (prev, next) = match next {
            Some(next) => (nodes[next as usize].links().prev, next),
            None => (self.tail, NOBODY),
        };
        *nodes[at as usize].links_mut() = Links { prev, next };
        match some(prev) {
            Some(prev) => nodes[prev as usize].links_mut().next = at,
            None => self.head = at,
        }
        match some(next) {
            Some(next) => nodes[next as usize].links_mut().prev = at,
            None => self.tail = at,
        }
        self.len += 1;
    }

    #[inline]
    pub(super) fn push_back<N: Linked>(&mut self, nodes: &mut [N], at: u32) {
        self.insert(nodes, at, None);
    }

    /// Takes `at` out. It must be in this list.
    #[inline]
    pub(super) fn remove<N: Linked>(&mut self, nodes: &mut [N], at: u32) {
        let Links { prev, next } = nodes[at as usize].links();
        match some(prev) {
            Some(prev) => nodes[prev as usize].links_mut().next = next,
            None => self.head = next,
        }
        match some(next) {
            Some(next) => nodes[next as usize].links_mut().prev = prev,
            None => self.tail = prev,
        }
        *nodes[at as usize].links_mut() = Links::ALONE;
        self.len -= 1;
    }

    /// The node after `at`, towards the back.
    pub(super) fn next<N: Linked>(nodes: &[N], at: u32) -> Option<u32> {
        some(nodes[at as usize].links().next)
    }

    /// The node before `at`, towards the front.
    pub(super) fn prev<N: Linked>(nodes: &[N], at: u32) -> Option<u32> {
        some(nodes[at as usize].links().prev)
    }

    /// From front to back.
    pub(super) fn iter<'n, N: Linked>(&self, nodes: &'n [N]) -> impl Iterator<Item = u32> + 'n {
        std::iter::successors(self.front(), move |&at| List::next(nodes, at))
    }
}
