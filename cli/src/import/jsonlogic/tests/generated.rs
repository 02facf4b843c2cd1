//! Targetings that a seeded generator makes: each is refused or exact.

use serde_json::{Map, Value, json};

use super::{compare, translated, variants};

/// What `a` and `b` are.
fn values() -> Vec<Value> {
    let values = json!([
        null,
        "DE",
        "FR",
        "deX",
        "on",
        "",
        "17",
        "1.2.3",
        "v1.2",
        "2.0.0-rc.1",
        0,
        1,
        5,
        17,
        2.5,
        true,
        false
    ]);
    values.as_array().expect("a list").clone()
}

/// What `l` is: a list, for the operators on lists.
fn lists() -> Vec<Value> {
    let lists = json!([[], ["DE"], ["x", "FR"], [5, 17], [true, "on"], [0, ""]]);
    lists.as_array().expect("a list").clone()
}

/// Whether a translation names a context as one for which it may differ. Where the reference and the translation are on one
/// side, and only engines differ, nothing is left out.
fn is_excepted(except: &str, context: &Map<String, Value>) -> bool {
    let Some((name, unless)) = except.strip_prefix('"').and_then(|rest| rest.split_once("\": ")) else {
        // Of all contexts: where engines differ and the reference is followed.
        let judged_alike = [
            "`or` gives",
            "`and` gives",
            "a `fractional` ",
            "`starts_with` inside",
            "`ends_with` inside",
            "`sem_ver` inside",
        ];
        assert!(judged_alike.iter().any(|known| except.starts_with(known)), "{except}");
        return false;
    };
    let value = context.get(name).unwrap_or(&Value::Null);
    let is_group = value.is_array() || value.is_object();
    let spells_a_number = value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok());
    let has_fraction = value.as_f64().is_some_and(|number| number.fract() != 0.0);
    match unless {
        _ if unless.starts_with("exact unless it is a text that spells a number") => spells_a_number,
        _ if unless.starts_with("exact unless it is missing: in flagd's Go engine") => false,
        _ if unless.starts_with("exact unless it is null") => context.get(name) == Some(&Value::Null),
        _ if unless.starts_with("exact unless it is a list, of which") => value.is_array(),
        _ if unless.starts_with("exact unless it is something else than the name of a variant") => {
            !value.is_null() && value.as_str().is_none_or(|name| !variants().contains_key(name))
        }
        _ if unless.starts_with("exact unless it is a list or an object, or a text that begins") => is_group,
        _ if unless.starts_with("exact unless it is a number or a boolean, of which") => {
            value.is_number() || value.is_boolean()
        }
        _ if unless.starts_with("exact unless it is a number or a boolean, by which") => {
            value.is_number() || value.is_boolean() || is_group
        }
        _ if unless.starts_with("exact unless it is a boolean, a number with a fraction") => {
            value.is_boolean() || has_fraction || is_group
        }
        _ if unless.starts_with("exact unless it is an empty text") => value == "",
        _ if unless.starts_with("exact if it is a list") => !value.is_array() && !value.is_null(),
        // No value here is one of these.
        _ if unless.starts_with("exact unless it is a version with a capital V") => false,
        other => panic!("an exception that this does not know: {other}"),
    }
}

struct Generator(fastrand::Rng);

impl Generator {
    fn pick<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.0.usize(..names.len())]
    }

    fn context(&mut self) -> Map<String, Value> {
        let mut context = Map::new();
        let keys = json!(["jon@company.com", "user1", "", 7, ["user1"]]);
        for (name, values) in [
            ("a", values()),
            ("b", values()),
            ("l", lists()),
            ("targetingKey", keys.as_array().expect("a list").clone()),
        ] {
            let at = self.0.usize(..values.len() + 1);
            context.extend(values.get(at).map(|value| (name.to_owned(), value.clone())));
        }
        context
    }

    fn attribute(&mut self) -> Value {
        json!({"var": self.pick(&["a", "b"])})
    }

    fn constant(&mut self) -> Value {
        match self.0.u8(..12) {
            0 => json!(5),
            1 => json!(17),
            2 => json!(null),
            3 => json!(true),
            4 => json!(false),
            5 => json!(0),
            6 => json!(""),
            _ => json!(self.pick(&["DE", "FR", "on", "deX"])),
        }
    }

    /// Something to compare.
    fn operand(&mut self, depth: u8) -> Value {
        match self.0.u8(..10) {
            0..=4 => self.attribute(),
            5 | 6 => self.constant(),
            7 if depth > 0 => {
                json!({"if": [self.condition(depth - 1), self.operand(depth - 1), self.operand(depth - 1)]})
            }
            8 if depth > 0 => json!({"var": [self.pick(&["a", "b"]), self.constant()]}),
            9 => json!({"cat": ["x", self.attribute()]}),
            _ => self.constant(),
        }
    }

    fn condition(&mut self, depth: u8) -> Value {
        let inner = depth.saturating_sub(1);
        let leaf = depth == 0;
        match self.0.u8(..if leaf { 14 } else { 21 }) {
            0 | 1 => {
                json!({self.pick(&["==", "!=", "===", "!=="]): [self.operand(inner), self.operand(inner)]})
            }
            2 => json!({self.pick(&["<", "<=", ">", ">="]): [self.operand(inner), self.0.i32(-3..20)]}),
            3 => json!({"<": [1, self.attribute(), 17]}),
            4 => json!({"in": [self.operand(inner), [self.constant(), self.constant(), "xDE"]]}),
            5 => {
                json!({self.pick(&["starts_with", "ends_with"]): [self.attribute(), self.pick(&["D", "X", "de", ""])]})
            }
            6 => json!({"in": [self.pick(&["DE", "e"]), {"var": "targetingKey"}]}),
            7 => json!({"missing": [self.pick(&["a", "b"])]}),
            8 => json!({"sem_ver": [
                self.attribute(),
                self.pick(&["=", "!=", "<", "<=", ">", ">=", "^", "~"]),
                self.pick(&["1.2.3", "v1.2", "1", "2.0.0-rc.1", "latest"]),
            ]}),
            9 => {
                let test = json!({self.pick(&["==", "==="]): [{"var": ""}, self.constant()]});
                json!({self.pick(&["some", "none"]): [{"var": "l"}, test]})
            }
            10 => {
                let test = json!({self.pick(&["<", ">="]): [{"var": ""}, self.0.u8(..20)]});
                json!({self.pick(&["some", "none", "all"]): [[1, 5, 17], test]})
            }
            11 => json!({"in": [self.pick(&["DE", "on"]), {"substr": [self.pick(&["DEon", "xx"]), 0, 2]}]}),
            12 => {
                let part = [json!([self.attribute(), 0, 2]), json!([self.attribute(), -1])];
                let [first, last] = part.map(|part| json!({ "substr": part }));
                match self.0.bool() {
                    true => json!({"==": [first, self.pick(&["DE", "on", "D"])]}),
                    false => json!({"in": [last, ["E", "X", "de"]]}),
                }
            }
            13 => json!({"$ref": self.pick(&["german", "staff"])}),
            14 => {
                json!({"if": [{"fractional": [[true, 1], [true, self.0.u8(..3)]]}, self.condition(inner), false]})
            }
            15 => json!({"!": [self.condition(inner)]}),
            16 => json!({"and": [self.condition(inner), self.condition(inner)]}),
            17 => json!({"or": [self.condition(inner), self.condition(inner), self.condition(inner)]}),
            18 => json!({"if": [self.condition(inner), self.condition(inner), self.condition(inner)]}),
            19 => json!({"!!": [self.operand(inner)]}),
            _ => json!({"missing_some": [self.0.u8(..3), ["a", "b"]]}),
        }
    }

    /// Something that names a variant.
    fn result(&mut self, depth: u8) -> Value {
        let inner = depth.saturating_sub(1);
        match self.0.u8(..if depth == 0 { 4 } else { 12 }) {
            0 => json!(null),
            1..=3 => json!(self.pick(&["on", "off", "other"])),
            4..=6 => json!({"if": [self.condition(inner), self.result(inner), self.result(inner)]}),
            7 => self.condition(inner),
            8 => json!({"$ref": "shares"}),
            9 => {
                let test = json!({"fractional": [[true, self.0.u8(..4)], [false, self.0.u8(..4)]]});
                json!({"if": [test, self.result(0), self.result(0)]})
            }
            10 => {
                let by = json!({"var": self.pick(&["a", "b", "l", "targetingKey"])});
                let split = json!({"fractional": [by, ["on", self.0.u8(..4)], ["off", 2]]});
                // As a condition too: it counts as true for whom it gives something.
                match self.0.bool() {
                    true => split,
                    false => json!({"if": [{"!!": [split]}, "on", "off"]}),
                }
            }
            _ => {
                let shares = [self.result(0), self.result(inner)].map(|share| json!([share, self.0.u8(..4)]));
                let seeded = json!({"cat": [self.pick(&["x", "y"]), self.attribute()]});
                match self.0.bool() {
                    true => json!({"fractional": [seeded, shares[0], shares[1]]}),
                    false => json!({"fractional": shares}),
                }
            }
        }
    }
}

#[test]
fn what_is_not_refused_is_exact() {
    let mut generator = Generator(fastrand::Rng::with_seed(20_261_126));
    let (mut exact, mut rules, mut compared) = (0, 0, 0);
    for _ in 0..2_000 {
        let targeting = generator.result(4);
        if let Ok(translation) = translated(&targeting) {
            // Some outgrow what one flag may hold, which the flag's own check names.
            if translation.rules.len() > 100 || json!(translation.rules).to_string().len() > 30_000 {
                continue;
            }
            rules += translation.rules.len();
            let is_exact = |context: &Map<String, Value>| {
                translation.except.iter().all(|except| !is_excepted(except, context))
            };
            let contexts: Vec<_> = (0..100).map(|_| generator.context()).filter(is_exact).collect();
            compared += compare(&targeting, &contexts);
            exact += 1;
        }
    }
    assert!(
        exact > 1_000 && rules > 2_000 && compared > 50_000,
        "{exact} targetings, {rules} rules, {compared} contexts"
    );
}
