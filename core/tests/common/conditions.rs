//! Any condition that can be written down, and plain ones that mean something: for property tests. A test file takes it in
//! with `#[path]`, for not every one uses it.

use flagraft_core::{
    condition::{AttributeCondition, Bucket, Condition, Operator},
    key::SegmentKey,
    limits::CONDITION_DEPTH_MAX,
};
use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};
use serde_json::{Map, Number, Value};

/// Every operator.
pub const OPERATORS: [Operator; 19] = [
    Operator::In,
    Operator::Eq,
    Operator::StartsWith,
    Operator::EndsWith,
    Operator::Contains,
    Operator::Matches,
    Operator::Lt,
    Operator::Lte,
    Operator::Gt,
    Operator::Gte,
    Operator::Before,
    Operator::After,
    Operator::SemverEq,
    Operator::SemverLt,
    Operator::SemverLte,
    Operator::SemverGt,
    Operator::SemverGte,
    Operator::Cidr,
    Operator::Exists,
];

/// Text of all sorts: plain, of a language's words, of what has to be escaped, arbitrary.
pub fn text() -> impl Strategy<Value = String> {
    let word = select(
        &[
            "and",
            "or",
            "not",
            "true",
            "false",
            "null",
            "in",
            "exists",
            "matches",
            "all",
            "any",
            "segment",
            "bucket",
            "semver",
            "cidr",
            "ignoring",
            "case",
            "of",
            "AND",
            "user.plan",
            "targetingKey",
            "a-b",
            "-a",
            "a.",
            ".a",
            "7",
            "_",
            "",
            " ",
            "größe",
            "日本",
            "👩\u{200d}💻",
        ][..],
    );
    let awkward = vec(
        select(
            &[
                '"',
                '`',
                '\'',
                '\\',
                '/',
                '\n',
                '\r',
                '\t',
                '\0',
                '\u{7f}',
                '\u{85}',
                '\u{2028}',
                '\u{202e}',
                '\u{feff}',
                '\u{a0}',
                'é',
                '\u{301}',
                '😀',
                '\u{e0041}',
                'a',
                'u',
                '0',
                ' ',
                '.',
                '-',
                '(',
                ')',
                '[',
                ']',
                ',',
                '{',
                '}',
                '$',
            ][..],
        ),
        0..8,
    );
    prop_oneof![
        3 => "[a-zA-Z_][a-zA-Z0-9_.-]{0,8}",
        2 => word.prop_map(str::to_owned),
        2 => awkward.prop_map(|characters| characters.into_iter().collect()),
        1 => any::<String>(),
    ]
}

/// Every number that JSON keeps.
pub fn number() -> impl Strategy<Value = Number> {
    let double = prop::num::f64::ANY.prop_filter_map("finite", Number::from_f64);
    let special = select(&[0.0, -0.0, 1.0, 1e300, -1e-300, f64::MIN_POSITIVE, f64::MAX, 5e-324, 0.1][..]);
    prop_oneof![
        (-100..100_i64).prop_map(Number::from),
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        special.prop_filter_map("finite", Number::from_f64),
        double,
    ]
}

/// Any JSON value, most of them scalars.
pub fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        4 => text().prop_map(Value::String),
        4 => number().prop_map(Value::Number),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
    ];
    scalar.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((text(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A segment's key, which is text with rules of its own.
pub fn segment() -> impl Strategy<Value = SegmentKey> {
    text().prop_filter_map("a segment's key", |text| SegmentKey::new(&text).ok())
}

/// A comparison of any attribute by any operator with any values, allowed or not.
pub fn comparison() -> impl Strategy<Value = AttributeCondition> {
    // Values of one type, as many spellings take, and then mixed ones.
    let texts = vec(text().prop_map(Value::String), 0..4);
    let numbers = vec(number().prop_map(Value::Number), 0..3);
    let values = prop_oneof![3 => texts, 2 => numbers, 2 => vec(value(), 0..4)];
    (text(), select(&OPERATORS[..]), values, any::<bool>()).prop_map(
        |(attribute, op, values, ignore_case)| AttributeCondition { attribute, op, values, ignore_case },
    )
}

/// A range of buckets, allowed or not.
pub fn bucket() -> impl Strategy<Value = Bucket> {
    (text(), text(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(by, seed, from, to, of)| Bucket {
        by,
        seed,
        from,
        to,
        of,
    })
}

/// Any condition, as deep as a stored one may be. What it says may be refused; its form is right.
pub fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        6 => comparison().prop_map(Condition::Attribute),
        1 => segment().prop_map(Condition::Segment),
        1 => bucket().prop_map(Condition::Bucket),
    ];
    nested(leaf.boxed(), CONDITION_DEPTH_MAX - 1)
}

/// Conditions within up to so many levels. `prop_recursive` makes deep ones too seldom to reach the limit.
fn nested(leaf: BoxedStrategy<Condition>, levels: usize) -> impl Strategy<Value = Condition> {
    let wrapping = || (0..3_u8, option::weighted(0.3, leaf.clone()), any::<bool>());
    let broad = leaf.clone().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            vec(inner.clone(), 0..4).prop_map(Condition::All),
            vec(inner, 0..4).prop_map(Condition::Any),
        ]
    });
    let deep = (leaf.clone(), vec(wrapping(), 0..=levels)).prop_map(|(leaf, wrappings)| {
        wrappings.into_iter().fold(leaf, |inner, (kind, neighbour, first)| {
            let mut group = vec![inner];
            group.extend(neighbour);
            if first {
                group.reverse();
            }
            match kind {
                0 => Condition::All(group),
                1 => Condition::Any(group),
                _ => Condition::Not(Box::new(group.swap_remove(0))),
            }
        })
    });
    Union::new([broad.boxed(), deep.boxed()])
}
