//! Conditions: who a rule or a segment is for.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{
    invalid::Invalid,
    key::SegmentKey,
    limits::{
        ATTRIBUTE_BYTES_MAX, CONDITION_DEPTH_MAX, CONDITION_VALUES_MAX, CONDITIONS_MAX,
        MATCH_VALUE_BYTES_MAX, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX, REGEXES_MAX, WEIGHT_TOTAL_MAX,
    },
    operand::{
        network::parse_network,
        pattern::{self, PatternFault},
        time,
        version::Version,
    },
    text::check_attribute,
};

/// A condition on an evaluation context.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCondition")]
pub enum Condition {
    /// Every one of them holds. Holds when there are none.
    All(Vec<Condition>),
    /// At least one of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The context is in the segment.
    Segment(SegmentKey),
    /// The context falls into a range of buckets.
    Bucket(Bucket),
    /// An attribute compares with one of the values.
    Attribute(AttributeCondition),
}

/// A range of buckets: gates, holdouts, and experiments that exclude each other by sharing a seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// The attribute that is hashed.
    #[serde(default = "crate::flag::targeting_key")]
    pub by: String,
    /// What is hashed with it, so that different uses divide the users differently.
    pub seed: String,
    /// The first bucket of the range.
    pub from: u32,
    /// The bucket after the last one.
    pub to: u32,
    /// How many buckets there are.
    pub of: u32,
}

/// A comparison of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttributeCondition {
    /// The attribute's name, or the path to it (`user.plan`).
    pub attribute: String,
    /// How it is compared.
    pub op: Operator,
    /// What it is compared with: one match is enough.
    pub values: Vec<Value>,
    /// Whether upper and lower case are the same. Only for operators on text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// How an attribute is compared. A missing attribute, or one of another type, does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equals one of the values; strict by type, and 1 equals 1.0.
    In,
    /// The same as `in`.
    Eq,
    /// Text begins with.
    StartsWith,
    /// Text ends with.
    EndsWith,
    /// Text contains.
    Contains,
    /// Text matches a linear-time regular expression.
    Matches,
    /// Number less than.
    Lt,
    /// Number at most.
    Lte,
    /// Number greater than.
    Gt,
    /// Number at least.
    Gte,
    /// Time before.
    Before,
    /// Time after.
    After,
    /// Semantic version equal.
    SemverEq,
    /// Semantic version less than.
    SemverLt,
    /// Semantic version at most.
    SemverLte,
    /// Semantic version greater than.
    SemverGt,
    /// Semantic version at least.
    SemverGte,
    /// IP address in a network.
    Cidr,
    /// The attribute is there and not `null`.
    Exists,
}

/// What an operator compares with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Scalar,
    Text,
    Pattern,
    Number,
    Time,
    Version,
    Network,
    Nothing,
}

impl Operand {
    /// What to give as a value.
    fn example(self) -> &'static str {
        match self {
            Self::Scalar => "compare with a string, a number or a boolean",
            Self::Text => "this operator compares text; give a string",
            Self::Pattern => "give a regular expression, a string such as \"^[a-z]+$\"",
            Self::Number => "this operator compares numbers; give a number",
            Self::Time => "give an RFC 3339 time, a string such as \"2027-03-01T00:00:00Z\"",
            Self::Version => "give a semantic version, a string such as \"2.1.0\" or \"2.1.0-rc.1\"",
            Self::Network => {
                "give a network or an address, a string such as \"10.0.0.0/8\" or \"2001:db8::1\""
            }
            Self::Nothing => "exists compares with nothing; leave the values out",
        }
    }

    /// Whether a value is one to compare with.
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Scalar, Value::String(_) | Value::Number(_) | Value::Bool(_))
            | (Self::Text | Self::Pattern, Value::String(_))
            | (Self::Number, Value::Number(_)) => true,
            (Self::Time, Value::String(text)) => time::parse(text).is_some(),
            (Self::Version, Value::String(text)) => Version::parse(text).is_some(),
            (Self::Network, Value::String(text)) => parse_network(text).is_some(),
            _ => false,
        }
    }
}

impl Operator {
    fn operand(self) -> Operand {
        match self {
            Self::In | Self::Eq => Operand::Scalar,
            Self::StartsWith | Self::EndsWith | Self::Contains => Operand::Text,
            Self::Matches => Operand::Pattern,
            Self::Lt | Self::Lte | Self::Gt | Self::Gte => Operand::Number,
            Self::Before | Self::After => Operand::Time,
            Self::SemverEq | Self::SemverLt | Self::SemverLte | Self::SemverGt | Self::SemverGte => {
                Operand::Version
            }
            Self::Cidr => Operand::Network,
            Self::Exists => Operand::Nothing,
        }
    }
}

impl Condition {
    /// Checks a whole `when`. Errors point at the condition at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        let count = self.count();
        if count > CONDITIONS_MAX {
            return Err(Invalid::here(format!(
                "there are {count} conditions; at most {CONDITIONS_MAX} are kept; use a segment"
            )));
        }
        check_regexes(self.regexes())?;
        self.validate_at(1)
    }

    /// How many conditions there are, groups included.
    pub fn count(&self) -> usize {
        let inner: usize = match self {
            Self::All(inner) | Self::Any(inner) => {
                inner.iter().map(Self::count).fold(0, usize::saturating_add)
            }
            Self::Not(inner) => inner.count(),
            Self::Segment(_) | Self::Bucket(_) | Self::Attribute(_) => 0,
        };
        inner.saturating_add(1)
    }

    /// How many regular expressions there are.
    pub fn regexes(&self) -> usize {
        match self {
            Self::All(inner) | Self::Any(inner) => {
                inner.iter().map(Self::regexes).fold(0, usize::saturating_add)
            }
            Self::Not(inner) => inner.regexes(),
            Self::Attribute(attribute) => attribute.patterns().len(),
            Self::Segment(_) | Self::Bucket(_) => 0,
        }
    }

    /// The segments that are named, in the order they stand.
    pub fn segments(&self) -> Vec<&SegmentKey> {
        match self {
            Self::All(inner) | Self::Any(inner) => inner.iter().flat_map(Self::segments).collect(),
            Self::Not(inner) => inner.segments(),
            Self::Segment(segment) => vec![segment],
            Self::Bucket(_) | Self::Attribute(_) => Vec::new(),
        }
    }

    fn validate_at(&self, depth: usize) -> Result<(), Invalid> {
        if depth > CONDITION_DEPTH_MAX {
            return Err(Invalid::here(format!(
                "conditions are nested more than {CONDITION_DEPTH_MAX} deep; flatten them, or use a segment"
            )));
        }
        let deeper = depth.saturating_add(1);
        let each = |name: &str, inner: &[Self]| {
            let mut indexed = inner.iter().enumerate();
            indexed.try_for_each(|(index, condition)| {
                condition.validate_at(deeper).map_err(|invalid| invalid.under(index).under(name))
            })
        };
        match self {
            Self::All(inner) => each("all", inner),
            Self::Any(inner) => each("any", inner),
            Self::Not(inner) => inner.validate_at(deeper).map_err(|invalid| invalid.under("not")),
            Self::Segment(_) => Ok(()),
            Self::Bucket(bucket) => bucket.validate().map_err(|invalid| invalid.under("bucket")),
            Self::Attribute(attribute) => attribute.validate(),
        }
    }
}

/// Refuses more regular expressions than one flag and environment, or one segment, may have.
pub(crate) fn check_regexes(count: usize) -> Result<(), Invalid> {
    if count > REGEXES_MAX {
        return Err(Invalid::here(format!(
            "there are {count} regular expressions; at most {REGEXES_MAX} are kept; use starts_with, ends_with, contains or in"
        )));
    }
    Ok(())
}

impl Bucket {
    fn validate(&self) -> Result<(), Invalid> {
        check_attribute("the attribute", &self.by, ATTRIBUTE_BYTES_MAX)
            .map_err(|invalid| invalid.under("by"))?;
        check_attribute("the seed", &self.seed, ATTRIBUTE_BYTES_MAX)
            .map_err(|invalid| invalid.under("seed"))?;
        if self.of == 0 || self.of > WEIGHT_TOTAL_MAX {
            return Err(Invalid::new(
                "/of",
                format!("give a number of buckets from 1 to {WEIGHT_TOTAL_MAX}"),
            ));
        }
        if self.from > self.to || self.to > self.of {
            return Err(Invalid::new("/to", "a range is from <= to <= of"));
        }
        Ok(())
    }
}

impl AttributeCondition {
    fn validate(&self) -> Result<(), Invalid> {
        check_attribute("the attribute", &self.attribute, ATTRIBUTE_BYTES_MAX)
            .map_err(|invalid| invalid.under("attribute"))?;
        let operand = self.op.operand();
        if self.ignore_case && !matches!(operand, Operand::Text | Operand::Scalar | Operand::Pattern) {
            return Err(Invalid::new("/ignore_case", "only operators on text can ignore case; leave it out"));
        }
        if operand == Operand::Nothing {
            return match self.values.is_empty() {
                true => Ok(()),
                false => Err(Invalid::new("/values", operand.example())),
            };
        }
        if self.values.is_empty() || self.values.len() > CONDITION_VALUES_MAX {
            return Err(Invalid::new(
                "/values",
                format!("give 1 to {CONDITION_VALUES_MAX} values; for more, use a segment's members"),
            ));
        }
        for (index, value) in self.values.iter().enumerate() {
            let at = |message: String| Err(Invalid::new(format!("/values/{index}"), message));
            if value.as_str().is_some_and(|text| text.len() > MATCH_VALUE_BYTES_MAX) {
                return at(format!("a value has at most {MATCH_VALUE_BYTES_MAX} bytes"));
            }
            if !operand.takes(value) {
                return at(operand.example().to_owned());
            }
        }
        if operand == Operand::Pattern { self.validate_patterns() } else { Ok(()) }
    }

    /// The regular expressions that it compares with.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        let values = self.values.iter().filter(|_| self.op == Operator::Matches);
        values.filter_map(Value::as_str).collect()
    }

    fn validate_patterns(&self) -> Result<(), Invalid> {
        let fault = match pattern::compile(&self.patterns(), self.ignore_case) {
            Ok(_) => return Ok(()),
            Err(fault) => fault,
        };
        Err(match fault {
            PatternFault::TooLong(place) => Invalid::new(
                format!("/values/{place}"),
                format!("a regular expression has at most {REGEX_BYTES_MAX} bytes"),
            ),
            PatternFault::Malformed(place) => Invalid::new(
                format!("/values/{place}"),
                "this is not a regular expression, or too large a one; give a linear-time one such as ^[a-z]+$, without look-around and back-references, and with small counts",
            ),
            PatternFault::TooLarge => Invalid::new(
                "/values",
                format!(
                    "together these regular expressions take more than {REGEX_COMPILED_BYTES_MAX} bytes once compiled; give fewer or simpler ones"
                ),
            ),
        })
    }
}

/// Every field that a condition may have. One struct for all kinds, because that keeps the path to a fault deep
/// inside, and its own message; an untagged enum loses both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    all: Option<Vec<Condition>>,
    any: Option<Vec<Condition>>,
    not: Option<Box<Condition>>,
    segment: Option<SegmentKey>,
    bucket: Option<Bucket>,
    attribute: Option<String>,
    op: Option<Operator>,
    values: Option<Vec<Value>>,
    ignore_case: Option<bool>,
}

impl TryFrom<RawCondition> for Condition {
    type Error = &'static str;

    fn try_from(raw: RawCondition) -> Result<Self, Self::Error> {
        const ONE_OF: &str = "a condition has exactly one of all, any, not, segment, bucket, or an attribute with op and values";
        let RawCondition { all, any, not, segment, bucket, attribute, op, values, ignore_case } = raw;
        let compares = op.is_some() || values.is_some() || ignore_case.is_some();
        let kinds = [
            all.map(Self::All),
            any.map(Self::Any),
            not.map(Self::Not),
            segment.map(Self::Segment),
            bucket.map(Self::Bucket),
        ];
        let mut kinds = kinds.into_iter().flatten();
        match (kinds.next(), kinds.next(), attribute) {
            (Some(condition), None, None) if !compares => Ok(condition),
            (None, None, Some(attribute)) => Ok(Self::Attribute(AttributeCondition {
                attribute,
                op: op.ok_or("say how the attribute is compared: give op")?,
                values: values.unwrap_or_default(),
                ignore_case: ignore_case.unwrap_or_default(),
            })),
            (None, None, None) if compares => Err("say what is compared: give attribute"),
            _ => Err(ONE_OF),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = match self {
            Self::Attribute(attribute) => return attribute.serialize(serializer),
            _ => serializer.serialize_map(Some(1))?,
        };
        match self {
            Self::All(inner) => map.serialize_entry("all", inner)?,
            Self::Any(inner) => map.serialize_entry("any", inner)?,
            Self::Not(inner) => map.serialize_entry("not", inner)?,
            Self::Segment(segment) => map.serialize_entry("segment", segment)?,
            Self::Bucket(bucket) => map.serialize_entry("bucket", bucket)?,
            Self::Attribute(_) => {}
        }
        map.end()
    }
}
