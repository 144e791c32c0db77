//! All documents of a kind, a page after the other.

use bytes::Bytes;

use crate::{Doc, Reader, Space, StoreError};

/// The documents of a space whose keys begin so, in the order of their bytes, a page at a time. The reader is lent to each page
/// alone: other documents may be read in between. What is written meanwhile comes if it lies behind the last page.
#[derive(Debug)]
pub struct Pages<'a> {
    space: Space,
    prefix: &'a [u8],
    size: usize,
    after: Option<Bytes>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    /// Those whose keys begin with `prefix`, at most `size` of them in a page, which is at least one.
    pub const fn new(space: Space, prefix: &'a [u8], size: usize) -> Self {
        Self { space, prefix, size, after: None, is_over: false }
    }

    /// The next page; none behind the last one. A page may be empty.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn next(
        &mut self,
        reader: &mut dyn Reader,
    ) -> Result<Option<Vec<(Bytes, Doc)>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let page = reader.scan(self.space, self.prefix, self.after.as_deref(), self.size)?;
        self.is_over = page.len() < self.size;
        self.after = page.last().map(|(key, _)| key.clone());
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expect, MemoryStore, Put, Store as _, Write};

    use super::*;

    #[test]
    fn every_document_comes_once_whether_the_last_page_is_full_or_not() {
        let store = MemoryStore::new();
        let put = |key: &str| Put {
            space: Space::Thing,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(Bytes::new()),
            expect: Expect::Any,
            announce: false,
        };
        let puts: Vec<_> = ["a", "b1", "b2", "b3", "b4", "c"].map(put).into();
        let write = Write { puts: puts.into(), ..Write::default() };
        store.writer().unwrap().commit(&[write]).unwrap();
        let mut reader = store.reader().unwrap();
        for size in 1..6 {
            let (mut pages, mut found) = (Pages::new(Space::Thing, b"b", size), Vec::new());
            while let Some(page) = pages.next(&mut *reader).unwrap() {
                assert!(page.len() <= size);
                found.extend(page.into_iter().map(|(key, _)| key));
            }
            assert_eq!(found, ["b1", "b2", "b3", "b4"], "{size}");
            assert!(pages.next(&mut *reader).unwrap().is_none());
        }
    }
}
