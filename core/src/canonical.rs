//! JSON in one form: compact, the fields of every object in the order of their names.
//!
//! These are the bytes of `serde_json::to_value(value)`, printed; a property test holds this to it. They are written
//! straight from the value: a tree of it, with a string for each name, costs ten times as much, and records, body hashes
//! and stored flags are made of them on every node.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::{Error, Value, value::RawValue};

use crate::parse::RESERVED_NAME;

/// A JSON text in canonical form.
#[derive(Clone, Debug)]
pub struct Canonical(Box<RawValue>);

impl Canonical {
    /// The canonical form of `value`.
    ///
    /// # Errors
    /// When the value has no JSON form: a map whose keys are no strings or integers, an integer beyond 64 bits.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        RawValue::from_string(to_string(value)?).map(Self)
    }

    /// `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl From<Value> for Canonical {
    fn from(value: Value) -> Self {
        // A tree has string keys and numbers that JSON has: it always has a form.
        Self::of(&value).unwrap_or_else(|_| Self::null())
    }
}

impl PartialEq for Canonical {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Canonical {}

impl Serialize for Canonical {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The canonical form of `value` as text.
///
/// # Errors
/// As [`Canonical::of`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut writer = Writer { out: Vec::with_capacity(USUAL_BYTES), ..Writer::default() };
    value.serialize(&mut writer)?;
    // Only whole strings and ASCII are ever written.
    String::from_utf8(writer.out).map_err(Error::custom)
}

/// What most texts have room in, a flag's among them.
const USUAL_BYTES: usize = 1_024;

/// The name under which serde_json hands out a [`RawValue`], as a struct of one field.
const RAW: &str = RESERVED_NAME;

/// Writes values one after the other.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    /// The fields of all objects that are open, those of the innermost last.
    fields: Vec<Field>,
    /// The names among them that are not the program's own.
    names: String,
    /// Where an object is put in order.
    sorted: Vec<u8>,
}

/// A field of an open object.
#[derive(Clone, Debug)]
struct Field {
    name: Name,
    /// Where its text is: name, colon and value.
    text: Range<usize>,
}

#[derive(Clone, Debug)]
enum Name {
    Static(&'static str),
    /// Where in [`Writer::names`] it is.
    Given(Range<usize>),
}

impl Name {
    fn text<'a>(&self, names: &'a str) -> &'a str {
        match self {
            Self::Static(name) => name,
            Self::Given(range) => names.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl Writer {
    /// Writes what serde_json writes alike in every context: a scalar.
    fn scalar<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.out, value)
    }

    fn array(&mut self) -> Array<'_> {
        self.out.push(b'[');
        Array { writer: self, empty: true, end: b"]" }
    }

    fn object(&mut self) -> Object<'_> {
        self.out.push(b'{');
        Object {
            first_field: self.fields.len(),
            first_name: self.names.len(),
            begin: self.out.len(),
            field_begin: 0,
            name: None,
            raw: false,
            end: b"}",
            writer: self,
        }
    }

    /// Begins `{"variant":`.
    fn variant(&mut self, variant: &'static str) -> Result<(), Error> {
        self.out.push(b'{');
        self.scalar(variant)?;
        self.out.push(b':');
        Ok(())
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Array<'a>;
    type SerializeTuple = Array<'a>;
    type SerializeTupleStruct = Array<'a>;
    type SerializeTupleVariant = Array<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        // As a tree would: what it can't hold is an error, not a rounded number.
        self.scalar(&serde_json::to_value(value)?)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.scalar(&serde_json::to_value(value)?)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.scalar(&value)
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.scalar(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.scalar(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.scalar(&())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Array<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple(self, _len: usize) -> Result<Array<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Array<'a>, Error> {
        Ok(self.array())
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Array<'a>, Error> {
        self.variant(variant)?;
        Ok(Array { end: b"]}", ..self.array() })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'a>, Error> {
        Ok(self.object())
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Object<'a>, Error> {
        let raw = name == RAW;
        Ok(Object { raw, ..self.object() })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'a>, Error> {
        self.variant(variant)?;
        Ok(Object { end: b"}}", ..self.object() })
    }
}

/// An array that is being written.
struct Array<'a> {
    writer: &'a mut Writer,
    empty: bool,
    end: &'static [u8],
}

impl Array<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.empty = false;
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.out.extend_from_slice(self.end);
    }
}

/// All that serde tells apart and JSON writes as an array.
macro_rules! arrays {
    ($($serialize:ident :: $element:ident,)*) => {$(
        impl $serialize for Array<'_> {
            type Ok = ();
            type Error = Error;

            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

arrays! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// An object that is being written: its fields in the order they come, and put in order at its end.
struct Object<'a> {
    writer: &'a mut Writer,
    /// Its first field in [`Writer::fields`].
    first_field: usize,
    /// Where its names begin in [`Writer::names`].
    first_name: usize,
    /// Where its fields begin in [`Writer::out`].
    begin: usize,
    /// Where the field that is being written begins.
    field_begin: usize,
    /// The name of a map's entry whose value has not come yet.
    name: Option<Name>,
    /// Whether it is no object but a text that is taken as it is. The only ones there are are canonical already.
    raw: bool,
    end: &'static [u8],
}

impl Object<'_> {
    fn begin_field(&mut self, name: &Name) -> Result<(), Error> {
        let Writer { out, names, .. } = &mut *self.writer;
        if out.len() > self.begin {
            out.push(b',');
        }
        self.field_begin = out.len();
        serde_json::to_writer(&mut *out, name.text(names))?;
        out.push(b':');
        Ok(())
    }

    fn end_field(&mut self, name: Name) {
        let text = self.field_begin..self.writer.out.len();
        self.writer.fields.push(Field { name, text });
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if self.raw {
            // In place of the brace.
            self.writer.out.pop();
            let Writer { out, names, .. } = &mut *self.writer;
            write_text(names, value)?;
            out.extend_from_slice(names.get(self.first_name..).unwrap_or_default().as_bytes());
            names.truncate(self.first_name);
            return Ok(());
        }
        let name = Name::Static(name);
        self.begin_field(&name)?;
        value.serialize(&mut *self.writer)?;
        self.end_field(name);
        Ok(())
    }

    fn close(self) {
        let Self { writer, first_field, first_name, begin, raw, end, .. } = self;
        if raw {
            return;
        }
        let Writer { out, fields, names, sorted } = &mut *writer;
        let own = fields.get_mut(first_field..).unwrap_or_default();
        if !own.is_sorted_by(|a, b| a.name.text(names) < b.name.text(names)) {
            // Stable, so that of a name that is given twice the last one is the last, and counts.
            own.sort_by(|a, b| a.name.text(names).cmp(b.name.text(names)));
            sorted.clear();
            for (index, field) in own.iter().enumerate() {
                let next = own.get(index.saturating_add(1));
                if next.is_some_and(|next| next.name.text(names) == field.name.text(names)) {
                    continue;
                }
                if !sorted.is_empty() {
                    sorted.push(b',');
                }
                sorted.extend_from_slice(out.get(field.text.clone()).unwrap_or_default());
            }
            out.truncate(begin);
            out.extend_from_slice(sorted);
        }
        fields.truncate(first_field);
        names.truncate(first_name);
        out.extend_from_slice(end);
    }
}

/// ... and as an object whose names are the program's own.
macro_rules! objects {
    ($($serialize:ident,)*) => {$(
        impl $serialize for Object<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

objects! {
    SerializeStruct,
    SerializeStructVariant,
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let names = &mut self.writer.names;
        let from = names.len();
        write_text(names, key)?;
        let name = Name::Given(from..names.len());
        self.begin_field(&name)?;
        self.name = Some(name);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let name = self.name.take().ok_or_else(|| Error::custom("a value without a name"))?;
        value.serialize(&mut *self.writer)?;
        self.end_field(name);
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

/// Writes a string, or a number or a word in its place, without quotes.
fn write_text<T: Serialize + ?Sized>(to: &mut String, text: &T) -> Result<(), Error> {
    struct AsText<'a, T: ?Sized>(&'a T);

    impl<T: Serialize + ?Sized> fmt::Display for AsText<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }

    write!(to, "{}", AsText(text)).map_err(|_| Error::custom("the name of a field is a string"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What the canonical form is, by definition.
    fn by_a_tree<T: Serialize>(value: &T) -> String {
        serde_json::to_value(value).expect("has a JSON form").to_string()
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = "[a-c\"\\\\\u{0}\u{1f}é\u{1f600}]{0,3}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Fields out of order, at the top and below, of every shape that serde has.
    #[derive(Serialize)]
    struct Shapes {
        z: Option<Value>,
        m: BTreeMap<u64, Shape>,
        a: (i8, char, f32),
        #[serde(flatten)]
        inner: Inner,
        raw: Canonical,
        list: Vec<Shape>,
        bytes: Bytes,
    }

    #[derive(Clone, Serialize)]
    struct Inner {
        y: u64,
        #[serde(rename = "b\"")]
        b: (),
        x: Value,
    }

    #[derive(Clone, Serialize)]
    enum Shape {
        Unit,
        Newtype(Inner),
        Tuple(u8, bool),
        Struct { z: u8, a: Inner },
    }

    #[derive(Serialize)]
    #[serde(tag = "op")]
    enum Tagged {
        Zero(Inner),
        One { z: Shape, a: Value },
    }

    struct Bytes;

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[1, 255])
        }
    }

    /// A map that gives a name twice, with another between.
    struct Twice(Value, Value);

    impl Serialize for Twice {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("b", &self.0)?;
            map.serialize_entry("a", &self.1)?;
            map.serialize_entry("b", &self.1)?;
            map.end()
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_tree_prints(one in value(), other in value(), y in any::<u64>()) {
            prop_assert_eq!(to_string(&one).expect("JSON"), by_a_tree(&one));
            let inner = Inner { y, b: (), x: one.clone() };
            let shapes = vec![
                Shape::Unit,
                Shape::Newtype(inner.clone()),
                Shape::Tuple(1, false),
                Shape::Struct { z: 0, a: inner.clone() },
            ];
            let all = Shapes {
                z: Some(other.clone()),
                m: shapes.iter().cloned().zip(8..).map(|(shape, n)| (n, shape)).collect(),
                a: (-1, '"', 0.1),
                inner: inner.clone(),
                raw: Canonical::of(&inner).expect("JSON"),
                list: shapes,
                bytes: Bytes,
            };
            prop_assert_eq!(to_string(&all).expect("JSON"), by_a_tree(&all));
            for tagged in [Tagged::Zero(inner), Tagged::One { z: Shape::Unit, a: other.clone() }] {
                prop_assert_eq!(to_string(&tagged).expect("JSON"), by_a_tree(&tagged));
            }
            let twice = Twice(one, other);
            prop_assert_eq!(to_string(&twice).expect("JSON"), by_a_tree(&twice));
        }
    }

    #[test]
    fn what_a_tree_refuses_is_refused() {
        for wrong in [
            to_string(&BTreeMap::from([(vec![1], 1)])),
            to_string(&BTreeMap::from([(None::<u8>, 1)])),
            to_string(&u128::MAX),
            to_string(&i128::MIN),
        ] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
        assert_eq!(to_string(&[f64::NAN, f64::INFINITY]).expect("as a tree"), "[null,null]");
        assert_eq!(to_string(&(u128::from(u64::MAX), true)).expect("fits"), "[18446744073709551615,true]");
    }

    #[test]
    fn a_text_is_read_into_its_canonical_form() {
        let read: Canonical = serde_json::from_str(r#"{ "b": [1.50], "a": null }"#).expect("JSON");
        assert_eq!(read.as_str(), r#"{"a":null,"b":[1.5]}"#);
        assert_eq!(serde_json::to_value(&read).expect("JSON"), json!({"a": null, "b": [1.5]}));
        assert_eq!(Canonical::null().as_str(), "null");
    }
}
