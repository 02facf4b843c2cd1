//! Objects by name: found by a hash, replaced one by one without a copy of the rest.

use std::sync::Arc;

use hashbrown::HashTable;

use super::hash::name_hash;

/// How many parts a table has. A change copies one of them, and the list of them.
const SHARDS: usize = 256;

/// A name with its hash: what a compiled reference to another object is.
#[derive(Clone, Debug)]
pub(super) struct Reference<K> {
    pub name: K,
    hash: u64,
}

impl<K: AsRef<str>> Reference<K> {
    pub fn new(name: K) -> Self {
        let hash = name_hash(name.as_ref());
        Self { name, hash }
    }
}

/// Objects by name. A clone shares them.
#[derive(Debug)]
pub(super) struct Table<K, T> {
    shards: Box<[Arc<Shard<K, T>>]>,
    len: usize,
}

/// A part of a table: names beside their objects, so that a look-up reads nothing of an object but the one it finds.
type Shard<K, T> = HashTable<(K, Arc<T>)>;

impl<K, T> Clone for Table<K, T> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), len: self.len }
    }
}

impl<K: AsRef<str> + Clone, T> Table<K, T> {
    pub fn new() -> Self {
        // They share one empty part until something is put there.
        let empty = Arc::new(HashTable::new());
        Self { shards: std::iter::repeat_n(empty, SHARDS).collect(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name, name_hash(name))
    }

    /// The object that a compiled reference leads to.
    #[inline]
    pub fn follow(&self, reference: &Reference<K>) -> Option<&T> {
        self.find(reference.name.as_ref(), reference.hash)
    }

    #[inline]
    fn find(&self, name: &str, hash: u64) -> Option<&T> {
        let found = self.shards.get(shard(hash))?.find(hash, |(known, _)| known.as_ref() == name);
        found.map(|(_, object)| &**object)
    }

    /// Puts an object in the place of the one of its name.
    pub fn put(&mut self, name: &K, object: T) {
        let hash = name_hash(name.as_ref());
        let Some(shard) = self.shards.get_mut(shard(hash)) else { return };
        let shard = Arc::make_mut(shard);
        let object = Arc::new(object);
        match shard.find_mut(hash, |(known, _)| known.as_ref() == name.as_ref()) {
            Some((_, old)) => *old = object,
            None => {
                shard.insert_unique(hash, (name.clone(), object), |(name, _)| name_hash(name.as_ref()));
                self.len = self.len.saturating_add(1);
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        let hash = name_hash(name);
        let Some(shard) = self.shards.get_mut(shard(hash)) else { return };
        // Looked for first, so that nothing is copied where nothing goes.
        if shard.find(hash, |(known, _)| known.as_ref() == name).is_none() {
            return;
        }
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, |(known, _)| known.as_ref() == name) {
            entry.remove();
            self.len = self.len.saturating_sub(1);
        }
    }
}

/// Where a name belongs. Not by the lowest bits and not by the highest, by which the parts themselves are ordered.
fn shard(hash: u64) -> usize {
    usize::from(u8::try_from((hash >> 32) & 0xff).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_and_a_clone_is_not_touched(
            steps in prop::collection::vec(("[ab]{1,4}", prop::option::of(any::<u32>())), 0..200)
        ) {
            let mut table: Table<String, u32> = Table::new();
            let mut map = BTreeMap::new();
            for (name, value) in steps {
                let before = table.clone();
                let was = map.get(&name).copied();
                match value {
                    Some(value) => {
                        table.put(&name, value);
                        map.insert(name.clone(), value);
                    }
                    None => {
                        table.remove(&name);
                        map.remove(&name);
                    }
                }
                prop_assert_eq!(table.get(&name).copied(), map.get(&name).copied());
                prop_assert_eq!(before.get(&name).copied(), was);
                prop_assert_eq!(table.len(), map.len());
            }
            for (name, value) in &map {
                prop_assert_eq!(table.follow(&Reference::new(name.clone())).copied(), Some(*value));
            }
        }
    }
}
