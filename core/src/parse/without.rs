//! Reading an object some of whose fields belong to somebody else.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, MapAccess, Visitor,
        value::{BorrowedStrDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

/// Takes fields out of an object before its own type sees them.
pub(crate) trait TakeFields<'de> {
    /// Whether the field of this name is taken.
    fn takes(&self, name: &str) -> bool;

    /// Takes the value of that field.
    fn take<D: Deserializer<'de>>(&mut self, name: &str, value: D) -> Result<(), D::Error>;
}

/// Deserializes an object without the fields that `taker` takes.
pub(crate) struct Without<'t, D, T> {
    pub inner: D,
    pub taker: &'t mut T,
}

impl<'de, D: Deserializer<'de>, T: TakeFields<'de>> Deserializer<'de> for Without<'_, D, T> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(TakingVisitor { visitor, taker: self.taker })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct TakingVisitor<'t, V, T> {
    visitor: V,
    taker: &'t mut T,
}

impl<'de, V: Visitor<'de>, T: TakeFields<'de>> Visitor<'de> for TakingVisitor<'_, V, T> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<V::Value, M::Error> {
        self.visitor.visit_map(TakingMap { map, taker: self.taker })
    }
}

struct TakingMap<'t, M, T> {
    map: M,
    taker: &'t mut T,
}

impl<'de, M: MapAccess<'de>, T: TakeFields<'de>> MapAccess<'de> for TakingMap<'_, M, T> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        let mut seed = Some(seed);
        loop {
            match self.map.next_key_seed(KeyOrTaken { taker: self.taker, seed: &mut seed })? {
                None => return Ok(None),
                Some(Key::Own(key)) => return Ok(Some(key)),
                Some(Key::Taken(name)) => {
                    self.map.next_value_seed(Taking { name: &name, taker: self.taker })?;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        self.map.next_value_seed(seed)
    }
}

struct Taking<'t, T> {
    name: &'t str,
    taker: &'t mut T,
}

impl<'de, T: TakeFields<'de>> DeserializeSeed<'de> for Taking<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.taker.take(self.name, deserializer)
    }
}

/// The name of a field, as its own type reads it, or as it is where it is taken. Read in one step: whoever follows the
/// path to a fault must see an unknown name fail as a name.
enum Key<K> {
    Own(K),
    Taken(String),
}

struct KeyOrTaken<'s, T, K> {
    taker: &'s T,
    seed: &'s mut Option<K>,
}

impl<'de, T: TakeFields<'de>, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeyOrTaken<'_, T, K> {
    type Value = Key<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, T: TakeFields<'de>, K: DeserializeSeed<'de>> KeyOrTaken<'_, T, K> {
    fn own<D: Deserializer<'de>>(self, name: D) -> Result<Key<K::Value>, D::Error> {
        match self.seed.take() {
            Some(seed) => seed.deserialize(name).map(Key::Own),
            // After its name an object asks for nothing before the value.
            None => Err(D::Error::custom("a name was read twice")),
        }
    }
}

impl<'de, T: TakeFields<'de>, K: DeserializeSeed<'de>> Visitor<'de> for KeyOrTaken<'_, T, K> {
    type Value = Key<K::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        if self.taker.takes(name) {
            return Ok(Key::Taken(name.to_owned()));
        }
        self.own(BorrowedStrDeserializer::new(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if self.taker.takes(name) {
            return Ok(Key::Taken(name.to_owned()));
        }
        self.own(StrDeserializer::new(name))
    }
}
