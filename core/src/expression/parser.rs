//! From a text to the condition that it says, by recursive descent. It ends at the first fault.

use serde_json::{Map, Value};

use super::{
    error::Fault,
    lexer::{Kind, Lexer, Token},
    words::{NOT_IN_FRONT, Sign, is_reserved, meant, operator, takes_bare_text},
};
use crate::{
    condition::{AttributeCondition, Bucket, Condition, Operator},
    key::SegmentKey,
    limits::{CONDITION_DEPTH_MAX, JSON_DEPTH_MAX},
    text::is_invisible,
};

/// Reads one text.
pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    /// The token that is looked at: the first that has not been read.
    token: Token<'t>,
    /// How many groups and negations are open. Bounds the stack.
    open: usize,
}

/// A condition that was read, and how many levels it has.
struct Read {
    condition: Condition,
    depth: usize,
}

impl Read {
    fn leaf(condition: Condition) -> Self {
        Self { condition, depth: 1 }
    }
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next()?;
        Ok(Self { lexer, token, open: 0 })
    }

    /// The condition, which must be all there is.
    pub(super) fn whole(mut self) -> Result<Condition, Fault> {
        let read = self.condition()?;
        match self.token.kind {
            Kind::End => Ok(read.condition),
            Kind::Mark(')') => Err(self.fault("this ) closes nothing; remove it")),
            _ => Err(self.no_connection("the end")),
        }
    }

    // Groups.

    fn condition(&mut self) -> Result<Read, Fault> {
        self.chain("or", Self::conjunction, Condition::Any)
    }

    fn conjunction(&mut self) -> Result<Read, Fault> {
        self.chain("and", Self::negation, Condition::All)
    }

    /// Parts with a word between them. One part alone is itself, and no group.
    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Read, Fault>,
        group: fn(Vec<Condition>) -> Condition,
    ) -> Result<Read, Fault> {
        let offset = self.token.offset;
        let first = part(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.is_word(word) {
            self.advance()?;
            parts.push(part(self)?);
        }
        grouped(offset, group, parts)
    }

    fn negation(&mut self) -> Result<Read, Fault> {
        if !self.is_word("not") {
            return self.unit();
        }
        let offset = self.token.offset;
        self.within(|parser| {
            parser.advance()?;
            let inner = parser.negation()?;
            let depth = deeper(offset, inner.depth)?;
            Ok(Read { condition: Condition::Not(Box::new(inner.condition)), depth })
        })
    }

    /// What is in parentheses, a call, or a comparison.
    fn unit(&mut self) -> Result<Read, Fault> {
        match &self.token.kind {
            Kind::Mark('(') => self.within(|parser| {
                let open = parser.advance()?;
                let inner = parser.condition()?;
                parser.close_group(&open)?;
                Ok(inner)
            }),
            Kind::Word if is_reserved(self.token.source) => Err(self.no_condition()),
            Kind::Word if self.lexer.parenthesis_follows() => self.call(),
            Kind::Word | Kind::Name(_) => self.comparison().map(Condition::Attribute).map(Read::leaf),
            _ => Err(self.no_condition()),
        }
    }

    fn call(&mut self) -> Result<Read, Fault> {
        let offset = self.token.offset;
        match self.token.source {
            "all" => self.members(offset, Condition::All),
            "any" => self.members(offset, Condition::Any),
            "segment" => self.segment().map(Condition::Segment).map(Read::leaf),
            "bucket" => self.bucket().map(Condition::Bucket).map(Read::leaf),
            word => Err(self.fault(no_function(word))),
        }
    }

    fn members(&mut self, offset: usize, group: fn(Vec<Condition>) -> Condition) -> Result<Read, Fault> {
        self.within(|parser| {
            parser.advance()?;
            let members = parser.separated(')', Self::condition)?;
            grouped(offset, group, members)
        })
    }

    /// Goes one level deeper, no further than the stack allows.
    fn within(&mut self, read: impl FnOnce(&mut Self) -> Result<Read, Fault>) -> Result<Read, Fault> {
        if self.open >= OPEN_MAX {
            return Err(self.fault(format!(
                "more than {OPEN_MAX} parentheses and negations are open here; take out those that change nothing, or use a segment"
            )));
        }
        self.open = self.open.saturating_add(1);
        let read = read(self)?;
        self.open = self.open.saturating_sub(1);
        Ok(read)
    }

    // Leaves.

    /// The call's word and its parenthesis are known to stand here.
    fn segment(&mut self) -> Result<SegmentKey, Fault> {
        self.advance()?;
        let open = self.advance()?;
        let offset = self.token.offset;
        let key = self.text("a segment's key in double quotes")?;
        let key = SegmentKey::new(&key).map_err(|invalid| Fault::new(offset, invalid.message))?;
        self.close_call(&open, "one segment is named; write or between two of them")?;
        Ok(key)
    }

    /// Likewise.
    fn bucket(&mut self) -> Result<Bucket, Fault> {
        const FORM: &str = "a range of buckets is bucket(targetingKey, \"SEED\") in [0, 10) of 100";
        self.advance()?;
        self.advance()?;
        let by = self.attribute()?;
        self.expect(',', FORM)?;
        let seed = self.text("the seed in double quotes")?;
        self.expect(')', FORM)?;
        self.expect_word("in", FORM)?;
        self.expect('[', FORM)?;
        let from = self.whole_number()?;
        self.expect(',', FORM)?;
        let to = self.whole_number()?;
        self.expect(')', "the range ends before its last number: close it with )")?;
        self.expect_word("of", FORM)?;
        let of = self.whole_number()?;
        Ok(Bucket { by, seed, from, to, of })
    }

    fn comparison(&mut self) -> Result<AttributeCondition, Fault> {
        // The name may turn out to be an operator whose attribute is missing.
        let begins = (self.token.offset, self.token.source);
        let attribute = self.attribute()?;
        let (op, values) = match self.token.kind {
            Kind::Sign(sign) => self.after_sign(sign)?,
            Kind::Word => match operator(self.token.source) {
                Some(op) => self.after_operator(op)?,
                None => return Err(self.no_operator(begins)),
            },
            _ => return Err(self.no_operator(begins)),
        };
        let ignore_case = self.is_word("ignoring");
        if ignore_case {
            self.advance()?;
            self.expect_word("case", "the words are ignoring case")?;
        }
        Ok(AttributeCondition { attribute, op, values, ignore_case })
    }

    fn attribute(&mut self) -> Result<String, Fault> {
        let name = match &self.token.kind {
            Kind::Word if !is_reserved(self.token.source) => self.token.source.to_owned(),
            Kind::Name(name) => name.clone(),
            _ => return Err(self.expected("an attribute's name", "")),
        };
        self.advance()?;
        Ok(name)
    }

    /// One value after a sign, or a version.
    fn after_sign(&mut self, sign: Sign) -> Result<(Operator, Vec<Value>), Fault> {
        self.advance()?;
        if self.is_word("semver") {
            self.advance()?;
            let open = self.expect('(', "a version stands in semver(\"2.1.0\")")?;
            let version = self.text("one version in double quotes, such as \"2.1.0\",")?;
            let op = sign.of_versions();
            self.close_call(&open, &format!("one version is given; for several, write {op} [...]"))?;
            return Ok((op, vec![Value::String(version)]));
        }
        let sign_is = sign.as_str();
        let value = match &self.token.kind {
            Kind::Mark('[') if sign == Sign::Equal => {
                return Err(self.fault("== compares with one value; for several, write in [...]"));
            }
            Kind::Mark('[') => {
                let op = sign.plain();
                return Err(self.fault(format!(
                    "{sign_is} compares with one value; for several, any of which may match, write {op} [...]"
                )));
            }
            Kind::Text(_) if sign != Sign::Equal => {
                return Err(self.fault(format!(
                    "{sign_is} compares numbers; write one without quotes, a version as semver(\"2.1.0\"), or before or after and a time"
                )));
            }
            Kind::Word if self.token.source == "null" => {
                return Err(
                    self.fault("nothing compares with null; for what is missing, write not NAME exists")
                );
            }
            Kind::Text(text) => Value::String(text.clone()),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Word if sign == Sign::Equal => match self.token.source {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(self.no_value("a text, a number, true or false")),
            },
            _ if sign == Sign::Equal => return Err(self.no_value("a text, a number, true or false")),
            _ => return Err(self.no_value("a number")),
        };
        self.advance()?;
        Ok((sign.plain(), vec![value]))
    }

    /// The values of an operator by its name: a list, but for the spellings of those that need none.
    fn after_operator(&mut self, op: Operator) -> Result<(Operator, Vec<Value>), Fault> {
        self.advance()?;
        let values = match &self.token.kind {
            Kind::Mark('[') => self.list()?,
            _ if op == Operator::Exists => Vec::new(),
            Kind::Text(text) if takes_bare_text(op) => {
                let text = text.clone();
                self.advance()?;
                vec![Value::String(text)]
            }
            Kind::Word if op == Operator::In && self.token.source == "cidr" => {
                self.advance()?;
                self.expect_open("networks stand in cidr(\"10.0.0.0/8\")")?;
                let networks = self.separated(')', |parser| parser.text("a network in double quotes"))?;
                if networks.is_empty() {
                    return Err(self.fault("name a network before this, such as cidr(\"10.0.0.0/8\")"));
                }
                return Ok((Operator::Cidr, networks.into_iter().map(Value::String).collect()));
            }
            _ => return Err(self.no_values(op)),
        };
        Ok((op, values))
    }

    // Values.

    fn list(&mut self) -> Result<Vec<Value>, Fault> {
        self.separated(']', |parser| parser.value(JSON_DEPTH_MAX))
    }

    /// A JSON value of at most so many levels.
    fn value(&mut self, levels: usize) -> Result<Value, Fault> {
        let value = match &self.token.kind {
            Kind::Text(text) => Value::String(text.clone()),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Word if self.token.source == "true" => Value::Bool(true),
            Kind::Word if self.token.source == "false" => Value::Bool(false),
            Kind::Word if self.token.source == "null" => Value::Null,
            Kind::Mark(open @ ('[' | '{')) => {
                let open = *open;
                let Some(levels) = levels.checked_sub(1) else {
                    return Err(self.fault(format!(
                        "the value is nested more than {JSON_DEPTH_MAX} levels deep; flatten it"
                    )));
                };
                if open == '[' {
                    return self.separated(']', |parser| parser.value(levels)).map(Value::Array);
                }
                let fields = self.separated('}', |parser| parser.field(levels))?;
                return Ok(Value::Object(fields.into_iter().collect::<Map<_, _>>()));
            }
            _ => return Err(self.no_value("a value")),
        };
        self.advance()?;
        Ok(value)
    }

    fn field(&mut self, levels: usize) -> Result<(String, Value), Fault> {
        let name = self.text("a field's name in double quotes")?;
        self.expect(':', "a colon follows a field's name")?;
        Ok((name, self.value(levels)?))
    }

    fn text(&mut self, what: &str) -> Result<String, Fault> {
        let Kind::Text(text) = &self.token.kind else { return Err(self.no_value(what)) };
        let text = text.clone();
        self.advance()?;
        Ok(text)
    }

    fn whole_number(&mut self) -> Result<u32, Fault> {
        let number = match &self.token.kind {
            Kind::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let Some(number) = number else {
            return Err(self.expected(&format!("a whole number from 0 to {}", u32::MAX), ""));
        };
        self.advance()?;
        Ok(number)
    }

    // Tokens.

    /// Goes on to the next token and returns the one that was looked at.
    fn advance(&mut self) -> Result<Token<'t>, Fault> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn is_word(&self, word: &str) -> bool {
        self.token.kind == Kind::Word && self.token.source == word
    }

    fn expect(&mut self, mark: char, form: &str) -> Result<Token<'t>, Fault> {
        if self.token.kind == Kind::Mark(mark) {
            return self.advance();
        }
        Err(self.expected(&mark.to_string(), form))
    }

    /// The parenthesis that opens what [`Self::separated`] reads.
    fn expect_open(&self, form: &str) -> Result<(), Fault> {
        if self.token.kind == Kind::Mark('(') {
            return Ok(());
        }
        Err(self.expected("(", form))
    }

    fn expect_word(&mut self, word: &str, form: &str) -> Result<(), Fault> {
        if self.is_word(word) {
            return self.advance().map(|_| ());
        }
        Err(self.expected(word, form))
    }

    /// The parenthesis after a condition.
    fn close_group(&mut self, open: &Token<'_>) -> Result<(), Fault> {
        match self.token.kind {
            Kind::Mark(')') => self.advance().map(|_| ()),
            Kind::End => Err(self.never_closed(open, ')')),
            _ => Err(self.no_connection(")")),
        }
    }

    /// The parenthesis after the one thing that a call takes.
    fn close_call(&mut self, open: &Token<'_>, form: &str) -> Result<(), Fault> {
        if self.token.kind == Kind::End {
            return Err(self.never_closed(open, ')'));
        }
        self.expect(')', form).map(|_| ())
    }

    /// From the mark that opens to the mark that closes: items with commas between them.
    fn separated<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let open = self.advance()?;
        let mut items = Vec::new();
        if self.token.kind == Kind::Mark(close) {
            self.advance()?;
            return Ok(items);
        }
        loop {
            if self.token.kind == Kind::End {
                return Err(self.never_closed(&open, close));
            }
            items.push(item(self)?);
            match self.token.kind {
                Kind::Mark(mark) if mark == close => {
                    self.advance()?;
                    return Ok(items);
                }
                Kind::Mark(',') => {
                    let comma = self.advance()?;
                    if self.token.kind == Kind::Mark(close) {
                        return Err(Fault::new(comma.offset, "nothing follows this comma; remove it"));
                    }
                }
                Kind::End => return Err(self.never_closed(&open, close)),
                _ => return Err(self.expected(&format!("a comma or {close}"), "")),
            }
        }
    }

    // Faults.

    /// A fault at the token that is looked at.
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.token.offset, message)
    }

    /// That token, shortened, for a message.
    fn found(&self) -> String {
        if self.token.kind == Kind::End { "the end".to_owned() } else { shortened(self.token.source) }
    }

    /// What should stand here, and how the whole is written (or nothing).
    fn expected(&self, what: &str, form: &str) -> Fault {
        let separator = if form.is_empty() { "" } else { "; " };
        self.fault(format!("{what} was expected, not {}{separator}{form}", self.found()))
    }

    fn never_closed(&self, open: &Token<'_>, mark: char) -> Fault {
        let column = self.lexer.column(open.offset);
        self.fault(format!(
            "{mark} was expected, not the end; it closes the {} at column {column}",
            open.source
        ))
    }

    fn no_condition(&self) -> Fault {
        let word = self.token.source;
        match &self.token.kind {
            Kind::End if self.lexer.is_blank() => {
                self.fault("a condition was expected, such as country in [\"DE\", \"FR\"]; there is none")
            }
            Kind::Text(_) => self.expected(
                "an attribute's name",
                "it stands before what it is compared with, and in backticks where it is no plain word",
            ),
            Kind::Number(_) | Kind::Mark('[') => {
                self.expected("an attribute's name", "it stands before what it is compared with")
            }
            Kind::Word if matches!(word, "true" | "false" | "null") => self.expected(
                "an attribute's name",
                &format!("one that is this word stands in backticks: `{word}`"),
            ),
            Kind::Sign(_) => {
                self.expected("an attribute's name", "it stands before what it is compared with")
            }
            _ => self.expected("a condition", ""),
        }
    }

    /// After a condition comes neither `and` nor `or` nor what would end it.
    fn no_connection(&self, end: &str) -> Fault {
        match self.token.source {
            "," => self.fault("write and or or between conditions"),
            word if ["and", "or"].iter().any(|known| word.eq_ignore_ascii_case(known)) => {
                self.fault(format!("write {} in lower case", word.to_ascii_lowercase()))
            }
            _ => self.expected(&format!("and, or, or {end}"), ""),
        }
    }

    /// After `name`, which begins there, comes no operator.
    fn no_operator(&self, (offset, name): (usize, &str)) -> Fault {
        let word = self.token.source;
        if operator(name).is_some() {
            return Fault::new(offset, format!("write the attribute's name before {name}"));
        }
        if name.eq_ignore_ascii_case("not") {
            return Fault::new(offset, "write not in lower case");
        }
        match &self.token.kind {
            Kind::Mark('[') => self.expected(
                "an operator",
                "before a list it is in; a field of an attribute is named with a dot, such as user.plan",
            ),
            Kind::Word if word == "not" => self.fault(format!("write {NOT_IN_FRONT}")),
            Kind::Word => match meant(word) {
                Some(NOT_IN_FRONT) => self.fault(format!("write {NOT_IN_FRONT}")),
                Some(meant) => self.fault(format!("write {meant} instead of {}", self.found())),
                None => self.expected("an operator", OPERATORS),
            },
            Kind::End | Kind::Mark(')' | ',') => self.expected(
                "an operator",
                &format!(
                    "for what is true, write {0} == true; for what is there, {0} exists",
                    shortened(name)
                ),
            ),
            _ => self.expected("an operator", OPERATORS),
        }
    }

    /// Where a value is expected, there is none, or not this one.
    fn no_value(&self, what: &str) -> Fault {
        match &self.token.kind {
            Kind::Word if self.lexer.parenthesis_follows() => self.fault(no_function(self.token.source)),
            Kind::Word if is_reserved(self.token.source) => self.expected(what, ""),
            Kind::Word => {
                let form = format!("a text stands in double quotes: \"{}\"", self.found());
                self.expected(what, &form)
            }
            Kind::Name(_) => {
                self.expected(what, "an attribute is compared with values, not with another attribute")
            }
            _ => self.expected(what, ""),
        }
    }

    /// After an operator by its name come no values.
    fn no_values(&self, op: Operator) -> Fault {
        let remedy = match &self.token.kind {
            Kind::Mark('(') => "a list stands in square brackets, such as [\"a\", \"b\"]".to_owned(),
            Kind::Text(_) | Kind::Number(_) if !takes_bare_text(op) => {
                let list = format!("{op} takes a list: [{}]", self.found());
                match (Sign::of_plain(op), Sign::of_version(op)) {
                    (Some(sign), _) => format!("{list}; for one value, write {}", sign.as_str()),
                    (_, Some(sign)) => {
                        format!("{list}; for one version, write {} semver(...)", sign.as_str())
                    }
                    _ => list,
                }
            }
            _ if takes_bare_text(op) => {
                return self.no_value("a text in double quotes, or a list of texts,");
            }
            _ => return self.no_value("a list, such as [\"a\", \"b\"],"),
        };
        self.fault(remedy)
    }
}

/// How many parentheses and negations may be open at once. A canonical text has one for each level of conditions; a
/// person may add one to each.
const OPEN_MAX: usize = 2 * CONDITION_DEPTH_MAX;

/// What compares, in short.
const OPERATORS: &str =
    "use in, ==, <, <=, >, >=, starts_with, ends_with, contains, matches, before, after or exists";

/// A function that there is not, or one that other languages have.
fn no_function(word: &str) -> String {
    let method = word.rsplit_once('.').and_then(|(name, method)| Some((name, meant(method)?)));
    match method {
        Some((name, meant)) => format!("there are no functions; write {name} {meant} ..."),
        None if operator(word).is_some() => {
            format!("write the attribute's name before {word}, and a list in square brackets")
        }
        None => format!("there is no function {word}; there are all, any, segment, bucket, semver and cidr"),
    }
}

/// A piece of the text for a message.
fn shortened(source: &str) -> String {
    const SHOWN: usize = 40;
    let visible = source.chars().map(|c| if is_invisible(c) { ' ' } else { c });
    let mut shown: String = visible.take(SHOWN).collect();
    if source.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The group that begins at `offset`.
fn grouped(offset: usize, group: fn(Vec<Condition>) -> Condition, parts: Vec<Read>) -> Result<Read, Fault> {
    let deepest = parts.iter().map(|part| part.depth).max().unwrap_or_default();
    let depth = deeper(offset, deepest)?;
    Ok(Read { condition: group(parts.into_iter().map(|part| part.condition).collect()), depth })
}

/// One level more than what the condition that begins at `offset` holds.
fn deeper(offset: usize, depth: usize) -> Result<usize, Fault> {
    if depth >= CONDITION_DEPTH_MAX {
        return Err(too_deep(offset));
    }
    Ok(depth.saturating_add(1))
}

fn too_deep(offset: usize) -> Fault {
    Fault::new(
        offset,
        format!("conditions are nested more than {CONDITION_DEPTH_MAX} deep; flatten them, or use a segment"),
    )
}
