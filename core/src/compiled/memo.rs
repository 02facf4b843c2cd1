//! What one evaluation has worked out already.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// So many answers are remembered without an allocation.
const INLINE: usize = 16;

/// Answers about objects that are met again: flags that several depend on, segments that several rules name. Were each
/// worked out anew, a catalog of a few hundred objects that name each other crosswise could keep a node busy for hours.
pub(super) struct Memo<V> {
    first: SmallVec<[(usize, V); INLINE]>,
    more: BTreeMap<usize, V>,
}

impl<V: Copy> Memo<V> {
    pub fn new() -> Self {
        Self { first: SmallVec::new(), more: BTreeMap::new() }
    }

    /// What is remembered of an object. The tables do not change while an evaluation reads them: an object is where it is.
    pub fn get<T>(&self, object: &T) -> Option<V> {
        let address = address(object);
        let first = self.first.iter().find(|(known, _)| *known == address).map(|(_, answer)| *answer);
        first.or_else(|| self.more.get(&address).copied())
    }

    /// Remembers an answer, in place of an older one.
    pub fn put<T>(&mut self, object: &T, answer: V) {
        let address = address(object);
        if let Some((_, known)) = self.first.iter_mut().find(|(known, _)| *known == address) {
            *known = answer;
        } else if self.first.len() < INLINE {
            self.first.push((address, answer));
        } else {
            self.more.insert(address, answer);
        }
    }
}

fn address<T>(object: &T) -> usize {
    std::ptr::from_ref(object).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_remembered_as_few_are() {
        let objects: Vec<u64> = (0..100).collect();
        let mut memo = Memo::new();
        for object in &objects {
            assert_eq!(memo.get(object), None);
            memo.put(object, 0);
            memo.put(object, *object);
        }
        assert!(objects.iter().all(|object| memo.get(object) == Some(*object)));
    }
}
