//! Conditions as text: what is written how, what is refused where, and that nothing is lost on the way.

#[path = "common/conditions.rs"]
mod conditions;

use flagraft_core::{
    condition::Condition,
    expression::{ExpressionError, parse, text},
    limits::{CONDITION_DEPTH_MAX, EXPRESSION_BYTES_MAX, JSON_DEPTH_MAX},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

fn condition(json: &Value) -> Condition {
    serde_json::from_value(json.clone()).unwrap_or_else(|e| panic!("{e}: {json}"))
}

fn read(text: &str) -> Condition {
    parse(text).unwrap_or_else(|e| panic!("{e}\n{}", e.pointed_at(text)))
}

fn fault(text: &str) -> ExpressionError {
    match parse(text) {
        Ok(condition) => panic!("{text} was read as {condition}"),
        Err(fault) => fault,
    }
}

fn attribute(name: &str, op: &str, values: &Value) -> Value {
    json!({"attribute": name, "op": op, "values": values})
}

/// Canonical texts and what they say, both ways.
#[test]
fn a_text_and_its_condition() {
    let a = || attribute("a", "exists", &json!([]));
    let b = || attribute("b", "exists", &json!([]));
    let c = || attribute("c", "exists", &json!([]));
    let ignoring = |name: &str, op: &str, values: Value| json!({"attribute": name, "op": op, "values": values, "ignore_case": true});
    let rows = [
        (
            r#"country in ["DE", "FR"] and user.plan == "pro" and app.version >= semver("2.1.0")"#,
            json!({"all": [
                attribute("country", "in", &json!(["DE", "FR"])),
                attribute("user.plan", "eq", &json!(["pro"])),
                attribute("app.version", "semver_gte", &json!(["2.1.0"])),
            ]}),
        ),
        // Each operator, as one writes it.
        (r#"x in ["DE", 7, true]"#, attribute("x", "in", &json!(["DE", 7, true]))),
        (r#"x in ["DE"]"#, attribute("x", "in", &json!(["DE"]))),
        (r#"x == "DE""#, attribute("x", "eq", &json!(["DE"]))),
        ("x == 7", attribute("x", "eq", &json!([7]))),
        ("x == 7.0", attribute("x", "eq", &json!([7.0]))),
        ("x == true", attribute("x", "eq", &json!([true]))),
        (r#"x eq ["DE", "FR"]"#, attribute("x", "eq", &json!(["DE", "FR"]))),
        (r#"x starts_with "a""#, attribute("x", "starts_with", &json!(["a"]))),
        (r#"x starts_with ["a", "b"]"#, attribute("x", "starts_with", &json!(["a", "b"]))),
        (r#"x ends_with "a""#, attribute("x", "ends_with", &json!(["a"]))),
        (r#"x contains "a""#, attribute("x", "contains", &json!(["a"]))),
        (r#"x matches "^\\d+$""#, attribute("x", "matches", &json!([r"^\d+$"]))),
        ("x < 18", attribute("x", "lt", &json!([18]))),
        ("x <= 18.5", attribute("x", "lte", &json!([18.5]))),
        ("x > -18", attribute("x", "gt", &json!([-18]))),
        ("x >= 18446744073709551615", attribute("x", "gte", &json!([u64::MAX]))),
        ("x lt [1, 2]", attribute("x", "lt", &json!([1, 2]))),
        (r#"x before "2027-03-01T00:00:00Z""#, attribute("x", "before", &json!(["2027-03-01T00:00:00Z"]))),
        (r#"x after ["a", "b"]"#, attribute("x", "after", &json!(["a", "b"]))),
        (r#"x == semver("2.1")"#, attribute("x", "semver_eq", &json!(["2.1"]))),
        (r#"x < semver("2.1")"#, attribute("x", "semver_lt", &json!(["2.1"]))),
        (r#"x <= semver("2.1")"#, attribute("x", "semver_lte", &json!(["2.1"]))),
        (r#"x > semver("2.1")"#, attribute("x", "semver_gt", &json!(["2.1"]))),
        (r#"x >= semver("2.1")"#, attribute("x", "semver_gte", &json!(["2.1"]))),
        (r#"x semver_eq ["1.0", "2.0"]"#, attribute("x", "semver_eq", &json!(["1.0", "2.0"]))),
        (r#"x in cidr("10.0.0.0/8")"#, attribute("x", "cidr", &json!(["10.0.0.0/8"]))),
        (r#"x in cidr("10.0.0.0/8", "::1")"#, attribute("x", "cidr", &json!(["10.0.0.0/8", "::1"]))),
        ("x exists", attribute("x", "exists", &json!([]))),
        (r#"x == "A" ignoring case"#, ignoring("x", "eq", json!(["A"]))),
        (r#"x in ["A", "B"] ignoring case"#, ignoring("x", "in", json!(["A", "B"]))),
        (r#"x ends_with "@A.com" ignoring case"#, ignoring("x", "ends_with", json!(["@A.com"]))),
        // What is refused when it is stored, and has a text all the same.
        ("x in []", attribute("x", "in", &json!([]))),
        ("x eq []", attribute("x", "eq", &json!([]))),
        ("x eq [null]", attribute("x", "eq", &json!([null]))),
        ("x eq [[1]]", attribute("x", "eq", &json!([[1]]))),
        ("x cidr []", attribute("x", "cidr", &json!([]))),
        ("x cidr [1]", attribute("x", "cidr", &json!([1]))),
        (r#"x gte ["18"]"#, attribute("x", "gte", &json!(["18"]))),
        ("x semver_lt [2]", attribute("x", "semver_lt", &json!([2]))),
        (r#"x semver_lt ["1", 2]"#, attribute("x", "semver_lt", &json!(["1", 2]))),
        ("x starts_with [1]", attribute("x", "starts_with", &json!([1]))),
        (r#"x exists ["a"]"#, attribute("x", "exists", &json!(["a"]))),
        ("x exists ignoring case", ignoring("x", "exists", json!([]))),
        ("x < 1 ignoring case", ignoring("x", "lt", json!([1]))),
        (
            r#"x in [null, [1, []], {"a": {}, "b": [true, false]}]"#,
            attribute("x", "in", &json!([null, [1, []], {"a": {}, "b": [true, false]}])),
        ),
        // Numbers stay what they are.
        ("x in [1, 1.0, -0.0, 1e+300, 1e-7]", attribute("x", "in", &json!([1, 1.0, -0.0, 1e300, 1e-7]))),
        // Groups.
        ("a exists and b exists", json!({"all": [a(), b()]})),
        ("a exists or b exists or c exists", json!({"any": [a(), b(), c()]})),
        ("(a exists and b exists) or c exists", json!({"any": [{"all": [a(), b()]}, c()]})),
        ("(a exists or b exists) and c exists", json!({"all": [{"any": [a(), b()]}, c()]})),
        ("(a exists and b exists) and c exists", json!({"all": [{"all": [a(), b()]}, c()]})),
        ("a exists and (b exists and c exists)", json!({"all": [a(), {"all": [b(), c()]}]})),
        ("not a exists", json!({"not": a()})),
        ("not not a exists", json!({"not": {"not": a()}})),
        ("not a exists and b exists", json!({"all": [{"not": a()}, b()]})),
        ("not (a exists and b exists)", json!({"not": {"all": [a(), b()]}})),
        ("all()", json!({"all": []})),
        ("any()", json!({"any": []})),
        ("all(a exists)", json!({"all": [a()]})),
        ("any(a exists or b exists)", json!({"any": [{"any": [a(), b()]}]})),
        (
            "all(any()) and not any(a exists)",
            json!({"all": [{"all": [{"any": []}]}, {"not": {"any": [a()]}}]}),
        ),
        (r#"segment("staff")"#, json!({"segment": "staff"})),
        (r#"not segment("beta \"testers\"")"#, json!({"not": {"segment": "beta \"testers\""}})),
        (
            r#"bucket(targetingKey, "layer-1") in [0, 25000) of 100000"#,
            json!({"bucket": {"seed": "layer-1", "from": 0, "to": 25000, "of": 100_000}}),
        ),
        (
            r#"bucket(`org id`, "") in [5, 4294967295) of 0"#,
            json!({"bucket": {"by": "org id", "seed": "", "from": 5, "to": u32::MAX, "of": 0}}),
        ),
        // Names.
        ("_a.b-c.0 exists", attribute("_a.b-c.0", "exists", &json!([]))),
        ("segment exists", attribute("segment", "exists", &json!([]))),
        ("AND exists", attribute("AND", "exists", &json!([]))),
        ("`and` exists", attribute("and", "exists", &json!([]))),
        ("`true` exists", attribute("true", "exists", &json!([]))),
        ("`in` in [1]", attribute("in", "in", &json!([1]))),
        ("`` exists", attribute("", "exists", &json!([]))),
        ("`7a` exists", attribute("7a", "exists", &json!([]))),
        ("`größe` exists", attribute("größe", "exists", &json!([]))),
        (r#"`a "b" \`c\` \\` exists"#, attribute(r#"a "b" `c` \"#, "exists", &json!([]))),
        // Texts.
        (
            r#"x == "a \"b\" `c` \\ / 👩‍💻 é""#,
            attribute("x", "eq", &json!(["a \"b\" `c` \\ / 👩\u{200d}💻 é"])),
        ),
        (
            r#"x == "\n\r\t\u0000\u007f\u0085\u00a0\u2028\u202e\udb40\udc41""#,
            attribute("x", "eq", &json!(["\n\r\t\0\u{7f}\u{85}\u{a0}\u{2028}\u{202e}\u{e0041}"])),
        ),
    ];
    for (expression, json) in rows {
        assert_eq!(read(expression), condition(&json), "{expression}");
        assert_eq!(
            serde_json::to_value(read(expression)).unwrap().to_string(),
            with_all_fields(&json),
            "{expression}"
        );
        assert_eq!(text(&condition(&json)), expression);
    }
}

/// The JSON as it is written, with the defaults that were left out.
fn with_all_fields(json: &Value) -> String {
    serde_json::to_value(condition(json)).expect("JSON").to_string()
}

/// Other ways to write it, and the canonical one.
#[test]
fn what_is_read_is_more_than_what_is_written() {
    let rows = [
        ("a exists or b exists and c exists", "a exists or (b exists and c exists)"),
        ("((a exists)) and (b exists)", "a exists and b exists"),
        ("all(a exists, b exists)", "a exists and b exists"),
        ("any(a exists, b exists and c exists)", "a exists or (b exists and c exists)"),
        ("not(a exists)", "not a exists"),
        ("a exists []", "a exists"),
        (r#"a eq ["x"]"#, r#"a == "x""#),
        (r#"a starts_with ["x"]"#, r#"a starts_with "x""#),
        ("a lte [5]", "a <= 5"),
        (r#"a semver_gt ["1"]"#, r#"a > semver("1")"#),
        (r#"a cidr ["::1"]"#, r#"a in cidr("::1")"#),
        ("  a<-5\n\tand\r\nb==1E2 ", "a < -5 and b == 100.0"),
        ("a in[1,2]", "a in [1, 2]"),
        ("a in [ -0 , 12345678901234567890123 ]", "a in [-0.0, 1.2345678901234568e+22]"),
        (r#"`a` == "\u0041\/\b\f\ud83d\ude00""#, "a == \"A/\\u0008\\u000c😀\""),
        (r#"in in ["x"] and exists exists"#, r#"`in` in ["x"] and `exists` exists"#),
        (r#"segment ( "a" )"#, r#"segment("a")"#),
        (r#"a in [{"b": 1, "a": 2, "b": 3}]"#, r#"a in [{"a": 2, "b": 3}]"#),
    ];
    for (written, canonical) in rows {
        assert_eq!(text(&read(written)), canonical);
        assert_eq!(read(canonical), read(written));
    }
}

/// What is wrong, where, and what to do: a row for each thing that people write.
#[test]
fn faults_point_at_the_column() {
    let rows = [
        // Nothing, or not all of it.
        ("", 1, "such as country in"),
        ("  ", 3, "such as country in"),
        ("a exists and", 13, "a condition was expected, not the end"),
        ("a exists or or b exists", 13, "a condition was expected, not or"),
        ("and a exists", 1, "a condition was expected, not and"),
        ("not", 4, "a condition was expected, not the end"),
        ("a exists b exists", 10, "and, or, or the end was expected, not b"),
        ("a exists, b exists", 9, "write and or or between conditions"),
        ("(a exists, b exists)", 10, "write and or or between conditions"),
        ("a exists)", 9, "this ) closes nothing"),
        ("(a exists", 10, "it closes the ( at column 1"),
        ("a exists and (b exists or (c exists)", 37, "it closes the ( at column 14"),
        ("()", 2, "a condition was expected, not )"),
        ("(a exists]", 10, "and, or, or ) was expected, not ]"),
        ("all(a exists, )", 13, "nothing follows this comma"),
        ("all(a exists", 13, "it closes the ( at column 4"),
        ("all(,)", 5, "a condition was expected, not ,"),
        ("any(a exists b exists)", 14, "a comma or ) was expected, not b"),
        // Other languages.
        ("a exists && b exists", 10, "write and instead of &&"),
        ("a exists || b exists", 10, "write or instead of ||"),
        ("a exists AND b exists", 10, "write and in lower case"),
        ("NOT a exists", 1, "write not in lower case"),
        ("!a", 1, "write not instead of !"),
        ("plan = \"pro\"", 6, "write == instead of ="),
        ("plan === \"pro\"", 6, "write == instead of ==="),
        ("plan != \"pro\"", 6, "not in front of the comparison"),
        ("plan <> \"pro\"", 6, "not in front of the comparison"),
        ("plan not in [\"pro\"]", 6, "not in front of the comparison"),
        ("plan notIn [\"pro\"]", 6, "not in front of the comparison"),
        ("plan =~ \"p.*\"", 6, "write matches instead of =~"),
        ("age => 18", 5, "write >= instead of =>"),
        ("age =< 18", 5, "write <= instead of =<"),
        ("age <=> 18", 5, "<=> compares nothing"),
        ("plan is \"pro\"", 6, "write == instead of is"),
        ("plan like \"pro\"", 6, "write matches instead of like"),
        ("plan startsWith \"pro\"", 6, "write starts_with instead of startsWith"),
        ("plan IN [\"pro\"]", 6, "write in [...] instead of IN"),
        ("plan.startsWith(\"pro\")", 1, "write plan starts_with ..."),
        ("lower(plan) == \"pro\"", 1, "there is no function lower"),
        ("plan == lower(\"pro\")", 9, "there is no function lower"),
        ("plan == 'pro'", 9, "write double quotes (\") instead of '"),
        ("plan == “pro”", 9, "write double quotes (\") instead of “"),
        ("a exists // why", 10, "no comments"),
        ("a exists # why", 10, "no comments"),
        ("a exists;", 9, "; is not expected"),
        ("a exists ? 1", 10, "? is not expected"),
        // Names.
        ("größe exists", 1, "backticks: `größe`"),
        ("$a exists", 1, "backticks: `a$b`"),
        ("a/b exists", 2, "backticks: `a/b`"),
        ("a:b exists", 2, "an operator was expected, not :"),
        ("user[\"plan\"] exists", 5, "named with a dot"),
        ("user plan exists", 6, "an operator was expected, not plan; use in, =="),
        ("beta", 5, "for what is true, write beta == true; for what is there, beta exists"),
        ("(beta) and a exists", 6, "for what is true, write beta == true"),
        ("true", 1, "stands in backticks: `true`"),
        ("true == beta", 1, "stands in backticks: `true`"),
        ("\"DE\" == country", 1, "it stands before what it is compared with"),
        ("18 < age", 1, "it stands before what it is compared with"),
        ("== 1", 1, "it stands before what it is compared with"),
        ("in [\"DE\"]", 1, "write the attribute's name before in"),
        ("a exists and starts_with \"b\"", 14, "write the attribute's name before starts_with"),
        ("not exists", 5, "write the attribute's name before exists"),
        ("in (\"DE\")", 1, "write the attribute's name before in"),
        ("a exists and `b", 14, "the name that begins here has no end; close it with `"),
        ("ab\u{202e}c exists", 3, "an invisible character (U+202E)"),
        ("a\u{a0}exists", 2, "white space (U+00A0)"),
        // Values.
        ("country in \"DE\"", 12, "in takes a list: [\"DE\"]"),
        ("country in DE", 12, "double quotes: \"DE\""),
        ("country in (\"DE\")", 12, "square brackets"),
        ("country in", 11, "a list, such as [\"a\", \"b\"], was expected, not the end"),
        ("country in [DE]", 13, "double quotes: \"DE\""),
        ("country in [\"DE\"", 17, "it closes the [ at column 12"),
        ("country in [\"DE\" \"FR\"]", 18, "a comma or ] was expected, not \"FR\""),
        ("country in [\"DE\",]", 17, "nothing follows this comma"),
        ("country in [\"DE\"", 17, "] was expected, not the end"),
        ("country in [\"DE\",", 18, "it closes the [ at column 12"),
        ("plan == pro", 9, "double quotes: \"pro\""),
        ("plan == `pro`", 9, "not with another attribute"),
        ("plan == null", 9, "write not NAME exists"),
        ("plan == [\"pro\"]", 9, "for several, write in [...]"),
        ("plan == {}", 9, "a text, a number, true or false was expected, not {"),
        ("plan ==", 8, "a text, a number, true or false was expected, not the end"),
        ("plan == and", 9, "a text, a number, true or false was expected, not and"),
        ("plan == \"pro", 9, "the text that begins here has no end; close it with \""),
        ("plan == \"a\nb\"", 11, "write \\u000a"),
        ("plan matches \"^\\d+\"", 16, "there is no escape \\d; write \\\\ for a backslash"),
        ("plan == \"\\u12\"", 10, "four hexadecimal digits"),
        ("plan == \"\\u+123\"", 10, "four hexadecimal digits"),
        ("plan == \"\\ud83d\"", 10, "half of a character"),
        ("plan == \"\\ud83d\\u0041\"", 10, "half of a character"),
        ("plan == \"\\ude00\\ud83d\"", 10, "half of a character"),
        ("plan == \"\\`\"", 10, "there is no escape \\`"),
        ("plan == \"\\", 10, "nothing follows the backslash"),
        ("age < \"18\"", 7, "< compares numbers"),
        ("age < [18]", 7, "write lt [...]"),
        ("age < true", 7, "a number was expected, not true"),
        ("age lt 18", 8, "lt takes a list: [18]; for one value, write <"),
        ("v semver_lt \"2\"", 13, "for one version, write < semver(...)"),
        ("age < 18px", 7, "18px is no number"),
        ("age < 018", 7, "018 is no number"),
        ("age < .5", 7, "write a number as in JSON"),
        ("age < 5.", 7, "5. is no number"),
        ("age < +5", 7, "write a number as in JSON"),
        ("age < 0x10", 7, "0x10 is no number"),
        ("age < -", 7, "- is no number"),
        ("age < 1e400", 7, "1e400 is beyond what a double can hold"),
        ("age < 2027-03-01", 7, "2027-03-01 is no number"),
        ("since before 2027", 14, "a text in double quotes, or a list of texts, was expected, not 2027"),
        ("v > semver \"2\"", 12, "a version stands in semver(\"2.1.0\")"),
        ("v > semver()", 12, "one version in double quotes"),
        ("v > semver(2)", 12, "one version in double quotes"),
        ("v > semver(\"1\", \"2\")", 15, "one version is given; for several, write semver_gt [...]"),
        ("ip in cidr \"::1\"", 12, "networks stand in cidr("),
        ("ip in cidr()", 13, "name a network"),
        ("ip in cidr(1)", 12, "a network in double quotes was expected, not 1"),
        ("x in [{a: 1}]", 8, "a field's name in double quotes was expected, not a"),
        ("x in [{\"a\" 1}]", 12, ": was expected, not 1; a colon follows"),
        ("x in [{\"a\": 1]", 14, "a comma or } was expected, not ]"),
        ("x == \"A\" ignoring", 18, "case was expected, not the end; the words are ignoring case"),
        ("x ignoring case", 3, "an operator was expected, not ignoring"),
        // Segments and buckets.
        ("segment(staff)", 9, "a segment's key in double quotes was expected, not staff"),
        ("segment(\"a/b\")", 9, "the segment key holds '/'"),
        ("segment(\"\")", 9, "the segment key is empty"),
        ("segment(\"a\", \"b\")", 12, "one segment is named; write or between two of them"),
        ("segment(\"a\"", 12, "it closes the ( at column 8"),
        ("bucket(\"layer\") in [0, 1) of 2", 8, "an attribute's name was expected, not \"layer\""),
        ("bucket(a, layer) in [0, 1) of 2", 11, "the seed in double quotes was expected, not layer"),
        ("bucket(a) in [0, 1) of 2", 9, ", was expected, not ); a range of buckets is"),
        ("bucket(a, \"s\") in [0, 1] of 2", 24, "close it with )"),
        ("bucket(a, \"s\") in [0, 1)", 25, "of was expected, not the end"),
        (
            "bucket(a, \"s\") in [0.5, 1) of 2",
            20,
            "a whole number from 0 to 4294967295 was expected, not 0.5",
        ),
        ("bucket(a, \"s\") in [0, 4294967296) of 2", 23, "a whole number from 0 to 4294967295"),
        ("bucket(a, \"s\") < 5", 16, "in was expected, not <"),
    ];
    for (expression, column, says) in rows {
        let fault = fault(expression);
        assert_eq!((fault.column, fault.message.contains(says)), (column, true), "{expression}: {fault}");
        well_formed(expression, &fault);
    }
}

/// What holds of every fault.
fn well_formed(text: &str, fault: &ExpressionError) {
    let before = text.get(..fault.offset).expect("the offset is a character's");
    assert_eq!(fault.column, before.chars().count() + 1, "{text:?}");
    assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{text:?}: {fault}");
    assert_eq!(fault.to_string(), format!("column {}: {}", fault.column, fault.message));
    let pointed = fault.pointed_at(text);
    let (line, caret) = pointed.split_once('\n').expect("two lines");
    let at = caret.strip_suffix('^').expect("a caret").len();
    assert!(caret.chars().all(|c| matches!(c, ' ' | '^')), "{text:?}");
    assert!(line.chars().all(|c| !c.is_control()) && line.chars().count() <= 102, "{text:?}: {line}");
    match text.get(fault.offset..).and_then(|rest| rest.chars().next()) {
        Some(c) if !c.is_whitespace() && !c.is_control() => {
            let shown = line.chars().nth(at).expect("the caret is under a character");
            assert!(shown == c || shown == ' ', "{text:?}: {shown:?} for {c:?}");
        }
        Some(_) => {}
        None => assert_eq!(line.chars().count(), at, "{text:?}"),
    }
}

#[test]
fn a_caret_stands_under_the_fault() {
    let shown = |text: &str| fault(text).pointed_at(text);
    assert_eq!(shown("größe_ = 1"), "größe_ = 1\n^");
    assert_eq!(shown("country in \"DE\""), "country in \"DE\"\n           ^");
    assert_eq!(shown("a == \"é\" &\nb"), "a == \"é\" & b\n         ^");
    assert_eq!(shown("a exists and"), "a exists and\n            ^");
    let long = format!("{}b = 1{}", "a exists and ".repeat(10), " and c exists".repeat(10));
    assert_eq!(
        shown(&long),
        "…s and a exists and a exists and a exists and a exists and b = 1 and c exists and c exists and c exis…\n\
         \u{20}                                                            ^"
    );
}

/// The nesting of conditions is bounded, and so is the stack, whatever makes them deep.
#[test]
fn depth_is_bounded() {
    let opened = |open: &str, close: &str, times: usize| {
        format!("{}a exists{}", open.repeat(times), close.repeat(times))
    };
    for (open, close) in
        [("not ", ""), ("all(", ")"), ("any(all(), ", ")"), ("(b exists and ", ")"), ("not (not ", ")")]
    {
        let levels = open.matches("not").count().max(1);
        let most = (CONDITION_DEPTH_MAX - 1) / levels;
        let deepest = read(&opened(open, close, most));
        assert_eq!(deepest.validate(), Ok(()), "{open}");
        assert_eq!(read(&text(&deepest)), deepest);
        let fault = fault(&opened(open, close, most + 1));
        assert!(fault.message.contains("nested more than 16 deep; flatten them"), "{open}: {fault}");
        // The outermost group is at fault; one in parentheses begins after them.
        assert_eq!(fault.column, if open.starts_with('(') { 2 } else { 1 }, "{open}");
    }
    let redundant = 2 * CONDITION_DEPTH_MAX;
    assert_eq!(text(&read(&opened("(", ")", redundant))), "a exists");
    let fault_of_more = fault(&opened("(", ")", redundant + 1));
    assert_eq!(
        (fault_of_more.column, fault_of_more.message.contains("more than 32")),
        (33, true),
        "{fault_of_more}"
    );
    // Two levels for each parenthesis: it is the conditions that count.
    let mixed = fault(&opened("b exists or c exists and (", ")", 8));
    assert_eq!((mixed.column, mixed.message.contains("16 deep")), (1, true), "{mixed}");
    for much in
        ["(", "not ", "all(", "any(not ", "a exists and (", "x in [", "x in [{\"a\":", "`", "\"", "bucket("]
    {
        let fault = fault(&much.repeat(200_000));
        assert!(fault.column < 1_000, "{much}: {fault}");
    }
    let value = |levels: usize| format!("x in [{}{}]", "[".repeat(levels), "]".repeat(levels));
    read(&value(JSON_DEPTH_MAX));
    assert_eq!(fault(&value(JSON_DEPTH_MAX + 1)).column, 7 + JSON_DEPTH_MAX);
}

#[test]
fn length_is_bounded_beyond_every_condition_that_can_be_stored() {
    let spaces = " ".repeat(EXPRESSION_BYTES_MAX - "a exists".len());
    read(&format!("a exists{spaces}"));
    let too_long = fault(&format!("a exists{spaces} "));
    assert_eq!((too_long.column, too_long.message.contains("at most 8388608")), (1, true), "{too_long}");
    // The most values, of the longest text, of the character that grows most.
    let worst = json!({"attribute": "a", "op": "in", "values": vec!["\u{7f}".repeat(1_024); 1_000]});
    let worst = condition(&worst);
    assert!(serde_json::to_string(&worst).expect("JSON").len() > 1_000_000);
    assert_eq!(read(&text(&worst)), worst);
}

/// Both are equal, and their numbers are of the same kind and sign.
fn same(one: &Condition, other: &Condition) -> bool {
    one == other && serde_json::to_string(one).expect("JSON") == serde_json::to_string(other).expect("JSON")
}

/// Whatever is read is read again from its canonical text; whatever is not has a well-formed fault.
fn total(written: &str) {
    match parse(written) {
        Ok(condition) => {
            let canonical = text(&condition);
            let again = parse(&canonical).unwrap_or_else(|e| panic!("{written:?}: {canonical:?}: {e}"));
            assert!(same(&again, &condition), "{written:?}: {canonical:?}");
            assert_eq!(text(&again), canonical);
        }
        Err(fault) => well_formed(written, &fault),
    }
}

/// Pieces of the language and of others.
const PIECES: &[&str] = &[
    "a",
    "b.c",
    "`d e`",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "in",
    "eq",
    "lt",
    "==",
    "<",
    "<=",
    ">",
    ">=",
    "=",
    "!=",
    "&&",
    "exists",
    "starts_with",
    "matches",
    "before",
    "cidr",
    "cidr(",
    "semver",
    "semver(",
    "segment(",
    "bucket(",
    "all(",
    "any(",
    "of",
    "ignoring",
    "case",
    "ignoring case",
    "\"x\"",
    "\"1.2\"",
    "\"\\u00e9\"",
    "\"",
    "`",
    "'",
    "\\",
    "1",
    "-0",
    "2.5",
    "1e9",
    "100",
    "0",
    "true",
    "false",
    "null",
    "é",
    "\u{202e}",
    "\u{a0}",
    "\n",
    "a exists",
    "b in [1, 2]",
    "segment(\"s\")",
    "bucket(a, \"s\") in [0, 1) of 2",
    "[\"x\", \"y\"]",
    "{\"k\": []}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_condition_is_read_back_from_its_text(condition in conditions::condition()) {
        let written = text(&condition);
        prop_assert!(!written.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{written:?}");
        let read = parse(&written);
        prop_assert!(read.as_ref().is_ok_and(|read| same(read, &condition)), "{written:?}: {read:?}");
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        total(&text);
    }

    #[test]
    fn any_words_are_read_or_refused(pieces in vec((select(PIECES), any::<bool>()), 0..24)) {
        let text: String = pieces.iter().flat_map(|(piece, space)| [*piece, if *space { " " } else { "" }]).collect();
        total(&text);
    }

    #[test]
    fn a_text_with_a_slip_is_read_or_refused(
        condition in conditions::condition(),
        slips in vec((any::<prop::sample::Index>(), select(PIECES), 0..3_usize), 1..4),
    ) {
        let mut characters: Vec<String> = text(&condition).chars().map(String::from).collect();
        for (at, piece, removed) in slips {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, [piece.to_owned()]);
        }
        total(&characters.concat());
    }
}
