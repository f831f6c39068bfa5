//! A list that is empty, nearly always, or holds one; seldom more.

/// The first lies in place; a vector for the others is made only when there are any.
#[derive(Debug)]
pub(crate) struct Few<T> {
    first: Option<T>,
    /// Empty while there is no first.
    others: Vec<T>,
}

impl<T> Few<T> {
    #[inline]
    pub(crate) fn none() -> Self {
        Few {
            first: None,
            others: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(crate) fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.others.push(item);
        }
    }

    /// Leaves none.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Few::none())
    }

    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.first.iter().chain(&self.others).cloned().collect()
    }
}

impl<T> Extend<T> for Few<T> {
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.push(item);
        }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}
