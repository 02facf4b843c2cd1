//! flagd's `sem_ver`: comparisons of versions.

use serde_json::{Value, json};

use super::{
    Translated, Translator,
    cases::{Cases, Leaf, combinations},
    condition::Condition,
    refuse,
};

/// The first of all versions: whatever is a version is at least this.
const FIRST: &str = "0.0.0-0";

impl Translator<'_> {
    /// `sem_ver`: null unless both are versions and the operator is one.
    pub(super) fn sem_ver(&mut self, arguments: &Value) -> Translated<Cases> {
        let operands = self.operands(arguments)?;
        if operands.len() != 3 {
            self.notes.insert(
                "`sem_ver` without three operands gives nothing in flagd, and so does it here".to_owned(),
            );
            return Ok(Cases::constant(Value::Null));
        }
        let mut cases = Cases::default();
        for (when, leaves) in combinations(&operands)? {
            let compared = match leaves.as_slice() {
                [Leaf::Attribute(name), Leaf::Constant(operator), Leaf::Constant(version)] => {
                    self.version_compares(name, operator, version)
                }
                [Leaf::Constant(version), _, _] if Numbers::of_constant(version).is_none() => {
                    Cases::constant(Value::Null)
                }
                [Leaf::Constant(_), Leaf::Constant(_), Leaf::Constant(_)] => {
                    return refuse("`sem_ver` of two constants; write what it gives");
                }
                _ => return refuse("`sem_ver` without an attribute and a constant version"),
            };
            cases.extend(&when, compared);
        }
        Ok(cases)
    }

    fn version_compares(&mut self, name: &str, operator: &Value, version: &Value) -> Cases {
        let (Some(numbers), Some(text)) = (Numbers::of_constant(version), version.as_str()) else {
            self.notes.insert(format!("{version} is no version to flagd, so no version compares with it"));
            return Cases::constant(Value::Null);
        };
        let compares = |op: &str, with: &str| Condition::attribute(name, op, vec![json!(with)]);
        let between = |from: String, to: String| {
            Condition::all([compares("semver_gte", &from), compares("semver_lt", &to)])
        };
        let is_version = compares("semver_gte", FIRST);
        let Numbers { major, minor } = &numbers;
        let holds = match operator.as_str().unwrap_or_default() {
            "=" => compares("semver_eq", text),
            "!=" => Condition::all([is_version.clone(), compares("semver_eq", text).not()]),
            "<" => compares("semver_lt", text),
            "<=" => compares("semver_lte", text),
            ">" => compares("semver_gt", text),
            ">=" => compares("semver_gte", text),
            // The same major, or major and minor, pre-releases included: from the first pre-release of that to the first
            // one of the next.
            "^" => between(format!("{major}.0.0-0"), format!("{}.0.0-0", next(major))),
            "~" => between(format!("{major}.{minor}.0-0"), format!("{major}.{}.0-0", next(minor))),
            other => {
                self.notes
                    .insert(format!("`sem_ver` has no operator {other:?}, so flagd takes it for nothing"));
                return Cases::constant(Value::Null);
            }
        };
        self.except.insert(format!(
            "\"{name}\": exact unless it is a version with a capital V or a shortened one with a pre-release or build \
             (`2.1-beta`), which are versions here and not in flagd"
        ));
        let mut cases = Cases::default();
        cases.push(holds, Leaf::Constant(Value::Bool(true)));
        cases.push(is_version, Leaf::Constant(Value::Bool(false)));
        cases.push(Condition::Always, Leaf::Constant(Value::Null));
        cases
    }
}

/// The numbers of a version that decide of `^` and `~`, in decimal.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    major: String,
    minor: String,
}

impl Numbers {
    fn of_constant(version: &Value) -> Option<Self> {
        version.as_str().and_then(Self::of)
    }

    /// Reads a version as flagd does: `v` may go before it, and minor and patch may be left out, but then also all that
    /// follows them. `None` for what is no version to it.
    fn of(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = split(text, '+');
        let (core, pre_release) = split(text, '-');
        let mut numbers = core.split('.');
        let major = numbers.next().filter(|number| is_number(number))?;
        let minor = numbers.next();
        let patch = numbers.next();
        let is_whole = patch.is_some();
        let are_numbers = minor.into_iter().chain(patch).all(is_number) && numbers.next().is_none();
        let is_identifier = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let has_leading_zero =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && !is_number(part);
        let is_pre_release =
            |text: &str| text.split('.').all(|part| is_identifier(part) && !has_leading_zero(part));
        let is_valid = are_numbers
            && (is_whole || pre_release.is_none() && build.is_none())
            && pre_release.is_none_or(is_pre_release)
            && build.is_none_or(|build| build.split('.').all(is_identifier));
        is_valid.then(|| Self { major: major.to_owned(), minor: minor.unwrap_or("0").to_owned() })
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn is_number(text: &str) -> bool {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_decimal && (text == "0" || !text.starts_with('0'))
}

/// The number after one in decimal, of any length.
fn next(number: &str) -> String {
    let kept = number.trim_end_matches('9');
    let nines = number.len() - kept.len();
    let raised = match kept.split_at_checked(kept.len().saturating_sub(1)) {
        Some((before, last)) if !last.is_empty() => {
            let last = last.parse::<u8>().unwrap_or_default() + 1;
            format!("{before}{last}")
        }
        _ => "1".to_owned(),
    };
    raised + &"0".repeat(nines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What golang.org/x/mod/semver, which flagd reads versions with, takes for valid once `v` is put before it.
    #[test]
    fn versions_are_read_as_flagd_does() {
        for valid in [
            "1",
            "v1",
            "1.2",
            "v1.2.3",
            "0.0.0",
            "1.2.3-0",
            "1.2.3-alpha.1",
            "1.2.3-a-b+c.01",
            "1.2.3+001",
            "1.2.3-0a",
            "123456789012345678901234567890.0.0",
        ] {
            assert!(Numbers::of(valid).is_some(), "{valid}");
        }
        for invalid in [
            "",
            "v",
            "V1",
            "vv1",
            "1.",
            "01",
            "1.02.3",
            "1.2.3.4",
            "1-beta",
            "1.2-beta",
            "1.2+b",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.x",
            "latest",
            " 1",
            "-1",
        ] {
            assert!(Numbers::of(invalid).is_none(), "{invalid}");
        }
        assert_eq!(
            Numbers::of("v3.10.2-rc.1"),
            Some(Numbers { major: "3".to_owned(), minor: "10".to_owned() })
        );
        assert_eq!(Numbers::of("3"), Some(Numbers { major: "3".to_owned(), minor: "0".to_owned() }));
    }

    #[test]
    fn the_next_number() {
        for (number, after) in [
            ("0", "1"),
            ("8", "9"),
            ("9", "10"),
            ("19", "20"),
            ("199", "200"),
            ("999", "1000"),
            ("109", "110"),
        ] {
            assert_eq!(next(number), after);
        }
    }
}
