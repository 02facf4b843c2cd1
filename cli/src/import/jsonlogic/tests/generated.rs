//! Targetings that a seeded generator makes: each is refused or exact.

use serde_json::{Value, json};

use super::{compare, contexts, translated};

/// What attributes are here. What translations name as exceptions is left out, except for what the reference judges alike.
fn values() -> Vec<Value> {
    ["DE", "FR", "deX", "on"].map(Value::from).into_iter().chain([json!(5), json!(17)]).collect()
}

struct Generator(fastrand::Rng);

impl Generator {
    fn pick<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.0.usize(..names.len())]
    }

    fn attribute(&mut self) -> Value {
        json!({"var": self.pick(&["a", "b"])})
    }

    fn constant(&mut self) -> Value {
        match self.0.u8(..8) {
            0 => json!(5),
            1 => json!(17),
            2 => json!(null),
            3 => json!(true),
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
        match self.0.u8(..if leaf { 8 } else { 14 }) {
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
            8 => json!({"!": [self.condition(inner)]}),
            9 => json!({"and": [self.condition(inner), self.condition(inner)]}),
            10 => json!({"or": [self.condition(inner), self.condition(inner), self.condition(inner)]}),
            11 => json!({"if": [self.condition(inner), self.condition(inner), self.condition(inner)]}),
            12 => json!({"!!": [self.operand(inner)]}),
            _ => json!({"missing_some": [self.0.u8(..3), ["a", "b"]]}),
        }
    }

    /// Something that names a variant.
    fn result(&mut self, depth: u8) -> Value {
        let inner = depth.saturating_sub(1);
        match self.0.u8(..if depth == 0 { 4 } else { 9 }) {
            0 => json!(null),
            1..=3 => json!(self.pick(&["on", "off", "other"])),
            4..=6 => json!({"if": [self.condition(inner), self.result(inner), self.result(inner)]}),
            7 => self.condition(inner),
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
    let contexts = contexts(&values());
    let mut generator = Generator(fastrand::Rng::with_seed(20_261_126));
    let (mut exact, mut rules) = (0, 0);
    for _ in 0..2_000 {
        let targeting = generator.result(4);
        if let Ok(translation) = translated(&targeting) {
            // Some outgrow what one flag may hold, which the flag's own check names.
            if translation.rules.len() > 100 || json!(translation.rules).to_string().len() > 30_000 {
                continue;
            }
            rules += translation.rules.len();
            compare(&targeting, &contexts);
            exact += 1;
        }
    }
    assert!(exact > 1_000 && rules > 2_000, "{exact} targetings, {rules} rules");
}
