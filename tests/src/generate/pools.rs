//! What conditions and contexts are put together from. The pools are small on purpose, so that what a context has and
//! what a condition asks for meet.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{chance, conditions::Attribute, pick, some};

const ATTRIBUTES: &[&str] = &[
    "country",
    "email",
    "n",
    "app.version",
    "user.plan",
    "user.device.ip",
    "at",
    "tags",
    "a.b.c",
    "ключ",
    "a name",
    "user",
    "trailing.",
];

/// Longer than what case is ignored in without memory of its own.
const LONG: &str = concat!(
    "ÄÖÜ 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 ",
    "ÄÖÜ 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 ",
    "ÄÖÜ 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 "
);

/// Pairs that differ in case only, that only look alike, and that change their length with their case.
const TEXTS: &[&str] = &[
    LONG,
    "",
    "a",
    "A",
    "DE",
    "de",
    "De",
    "U1",
    "u1",
    "u2",
    "pro",
    "PRO",
    "true",
    "1",
    "1.0",
    "null",
    "straße",
    "STRASSE",
    "ΟΔΟΣ",
    "οδος",
    "Σ",
    "İstanbul",
    "istanbul",
    "K",
    "k",
    "é",
    "e\u{301}",
    "👩\u{200d}💻",
    "@example.com",
    "a@example.com",
    "a@EXAMPLE.com",
    "x\ny",
    "10.0.0.1",
    "2.1.0",
    "2024-02-29T12:00:00Z",
];

/// Patterns, each with texts that match it and texts that nearly do.
const PATTERNS: &[(&str, &[&str])] = &[
    ("^u[0-9]+$", &["u1", "u42", "U1", "u", "xu1", "u1\n"]),
    ("(?i)admin", &["ADMIN", "an admin", "adm", "Admın"]),
    ("straße$", &["Hauptstraße", "HAUPTSTRASSE", "HAUPTSTRAßE", "straße 1"]),
    ("", &["", "a"]),
    ("^$", &["", "a", "\n"]),
    (r"\d{3}-\d{4}", &["555-1234", "٣٣٣-٣٣٣٣", "55-1234", "tel 555-12345"]),
    ("[α-ω]+", &["οδος", "ΟΔΟΣ", "odos"]),
    ("a.c", &["abc", "a👩c", "a\nc", "ac", "ABC"]),
    ("^(?:pro|team)$", &["pro", "team", "Team", "pros"]),
    (r"\bbeta\b", &["a beta b", "beta", "BETA", "alphabeta"]),
    ("k", &["k", "K", "\u{212a}", "j"]),
    (
        r"^[^@\s]+@[^@\s]+\.example\.com$",
        &["a@b.example.com", "a@B.EXAMPLE.com", "a@example.com", "@b.example.com"],
    ),
    (r"(a|b)*c{2,3}$", &["ababcc", "cc", "abc", "ABCCC"]),
];

/// Around the end of what a double holds exactly, of what an integer holds, and of zero.
fn edge_numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(2),
        json!(0.5),
        json!(-0.5),
        json!(0.1),
        json!(0.3),
        json!(0.1 + 0.2),
        json!(17),
        json!(18),
        json!(17.999_999_999_999_996),
        json!(9_007_199_254_740_991_i64),
        json!(9_007_199_254_740_992_i64),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992.0),
        json!(-9_007_199_254_740_993_i64),
        json!(-9_007_199_254_740_992.0),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(9_223_372_036_854_775_808.0),
        json!(-9_223_372_036_854_775_808.0),
        json!(u64::MAX),
        json!(18_446_744_073_709_551_616.0),
        json!(1e300),
        json!(-1e300),
        json!(5e-324),
    ]
}

/// Keys whose hash is the least or the greatest that there is, by some method under some seed of [`SEEDS`]. Found by
/// turning the hash round.
const EDGE_KEYS: &[&str] = &[
    "aah7u0im", "abx8a6xg", "aax8y0ro", "abt192y0", "abtlev13", "ab1204c5", "aa6o11h1", "ac3ghe9i",
    "abussttd", "abm6nbv0", "af4uhuw1", "adwknde5", "aaf9wddx", "aa694a27", "aaw4e6m3",
];

/// The same by search: under the third seed LaunchDarkly's share of it is 1.0 in single precision.
const LAST_KEY: &str = "u29040434";

/// Seeds. Under the first three there are keys with hashes at the edge.
const SEEDS: &[&str] = &["edge", "edg", "flag.edge", "s", "saat-ключ", "layer 1", "12345"];

const USERS: &[&str] = &["u1", "u2", "u3", "42", "true", "", "U1", "ünïcödé", "-7", "0"];

/// The attributes that one catalog asks for: few, so that each is asked for in many ways.
pub(super) fn attributes(rng: &mut Rng) -> Vec<Attribute> {
    let mut names: Vec<&str> = ATTRIBUTES.to_vec();
    rng.shuffle(&mut names);
    names.truncate(5);
    names.push("targetingKey");
    names.into_iter().map(|name| Attribute::new(rng, name)).collect()
}

/// A seed for a method, or for buckets: often one under which there are keys with a hash at the edge.
pub(super) fn seed(rng: &mut Rng, method: &str) -> &'static str {
    match method {
        "launchdarkly" if rng.bool() => "flag.edge",
        "flagd" | "flagd_percent" if rng.bool() => "edge",
        _ => pick::<&str>(rng, SEEDS),
    }
}

/// The value of a user that is listed or hashed, as text.
pub(super) fn user(rng: &mut Rng) -> String {
    match rng.u8(0..10) {
        0..5 => (*pick(rng, USERS)).to_owned(),
        5..7 => (*pick(rng, EDGE_KEYS)).to_owned(),
        7 => LAST_KEY.to_owned(),
        _ => format!("user-{}", rng.u32(0..2_000)),
    }
}

pub(super) fn text(rng: &mut Rng) -> String {
    (*pick(rng, TEXTS)).to_owned()
}

pub(super) fn number(rng: &mut Rng) -> Value {
    match rng.u8(0..4) {
        0..3 => pick(rng, &edge_numbers()).clone(),
        _ => json!(rng.i64(-20..20)),
    }
}

/// What `in` and `eq` compare with.
pub(super) fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(0..6) {
        0..3 => json!(text(rng)),
        3..5 => number(rng),
        _ => json!(rng.bool()),
    }
}

pub(super) fn pattern(rng: &mut Rng) -> String {
    pick(rng, PATTERNS).0.to_owned()
}

/// A text that the pattern was written for: it matches, or nearly does.
pub(super) fn text_for_pattern(rng: &mut Rng, pattern: &str) -> String {
    let known = PATTERNS.iter().find(|(known, _)| *known == pattern);
    match known {
        Some((_, texts)) => (*pick(rng, texts)).to_owned(),
        None => text(rng),
    }
}

/// A version that is well-formed: of few parts, so that two of them are often equal or neighbours.
pub(super) fn version(rng: &mut Rng) -> String {
    const NUMBERS: &[&str] = &[
        "0",
        "1",
        "2",
        "9",
        "10",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
    ];
    const PRE_RELEASES: &[&str] = &[
        "alpha",
        "alpha.1",
        "alpha.beta",
        "beta",
        "beta.2",
        "beta.11",
        "rc.1",
        "0",
        "1",
        "10",
        "2",
        "x-y",
        "A",
        "--",
        "18446744073709551616",
        "1.0",
        "0a",
    ];
    const BUILDS: &[&str] = &["b", "01", "a-b.2", "20240229"];
    let number = |rng: &mut Rng| {
        let number = if chance(rng, 85) { rng.usize(0..3) } else { rng.usize(0..NUMBERS.len()) };
        NUMBERS[number]
    };
    let mut version = (*pick(rng, &["", "", "", "v", "V"])).to_owned();
    version += number(rng);
    for _ in 0..*pick(rng, &[2, 2, 2, 1, 0]) {
        version += ".";
        version += number(rng);
    }
    if chance(rng, 35) {
        version += "-";
        version.push_str(pick::<&str>(rng, PRE_RELEASES));
    }
    if chance(rng, 15) {
        version += "+";
        version.push_str(pick::<&str>(rng, BUILDS));
    }
    version
}

/// A text that is nearly a version.
pub(super) fn no_version(rng: &mut Rng) -> String {
    const BAD: &[&str] = &[
        "",
        "v",
        "1.",
        ".1",
        "01.2.3",
        "1.02",
        "1.2.3.4",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3+",
        "1.2.3+a..b",
        "a.b.c",
        "1.2.x",
        " 1.2.3",
        "1.2.3 ",
        "-1",
        "1..2",
        "٣.1.2",
        "vv1",
        "v 1",
        "1.2.3-é",
        "1.2.3+é",
        "1,2",
        "+1",
        "1.2.-3",
        "1e3",
        "1.2.3-a_b",
        "1.0.0+a+b",
    ];
    (*pick(rng, BAD)).to_owned()
}

/// Parts of a second: of equal worth in other words, and of more digits but less worth.
const FRACTIONS: &[&str] =
    &["", "", "", ".0", ".5", ".50", ".05", ".49", ".500000001", ".999999999", ".000000001", ".000"];

/// An RFC 3339 time that exists, out of parts that are often equal or neighbours.
pub(super) fn time(rng: &mut Rng) -> String {
    const DAYS: &[&str] = &[
        "0000-01-01",
        "0000-02-29",
        "1969-12-31",
        "1970-01-01",
        "2000-02-29",
        "2016-12-31",
        "2017-01-01",
        "2023-02-28",
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
        "2100-02-28",
        "2100-03-01",
        "9999-12-31",
    ];
    const CLOCKS: &[&str] =
        &["00:00:00", "00:00:01", "11:59:59", "11:59:60", "12:00:00", "23:59:59", "23:59:60"];
    const ZONES: &[&str] =
        &["Z", "Z", "Z", "z", "+00:00", "-00:00", "+01:00", "-05:30", "+12:00", "+23:59", "-23:59"];
    let day = pick(rng, DAYS);
    let t = pick(rng, &["T", "T", "T", "t"]);
    let (clock, fraction, zone) = (pick(rng, CLOCKS), pick(rng, FRACTIONS), pick(rng, ZONES));
    format!("{day}{t}{clock}{fraction}{zone}")
}

/// The same second as that of a time made here, with another part of it.
pub(super) fn time_within_the_second(rng: &mut Rng, time: &str) -> String {
    let (second, rest) = time.split_at("0000-01-01T00:00:00".len());
    let zone = rest.find(['Z', 'z', '+', '-']).map_or(rest, |zone| &rest[zone..]);
    format!("{second}{}{zone}", pick(rng, FRACTIONS))
}

/// A text that is nearly an RFC 3339 time.
pub(super) fn no_time(rng: &mut Rng) -> String {
    const BAD: &[&str] = &[
        "",
        "2024-02-29",
        "2023-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-02-29T00:00:00",
        "2024-02-29 00:00:00Z",
        "2024-02-29T24:00:00Z",
        "2024-02-29T00:60:00Z",
        "2024-02-29T00:00:61Z",
        "2024-02-29T00:00:00.Z",
        "2024-02-29T00:00:00.1234567890Z",
        "2024-02-29T00:00:00,5Z",
        "2024-02-29T00:00:00+24:00",
        "2024-02-29T00:00:00+01:60",
        "2024-02-29T00:00:00+0100",
        "2024-02-29T00:00:00+1:00",
        "2024-02-29T00:00Z",
        "2024-02-29T00:00:00ZZ",
        "02024-02-29T00:00:00Z",
        "+2024-02-29T00:00:00Z",
        "-024-02-29T00:00:00Z",
        "2024-02-29T00:00:00UTC",
        " 2024-02-29T00:00:00Z",
        "1709164800",
        "2024-W09-4T00:00:00Z",
        "2024-02-29T+1:00:00Z",
    ];
    (*pick(rng, BAD)).to_owned()
}

const IPV4: &[&str] = &[
    "0.0.0.0",
    "9.255.255.255",
    "10.0.0.0",
    "10.0.0.1",
    "10.127.255.255",
    "10.128.0.0",
    "10.255.255.255",
    "11.0.0.0",
    "127.0.0.1",
    "192.168.1.7",
    "192.168.1.128",
    "255.255.255.255",
];
const IPV6: &[&str] = &[
    "::",
    "::1",
    "::2",
    "::10.0.0.1",
    "2001:db8::",
    "2001:db8::1",
    "2001:DB8:0:0:0:0:0:1",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "fe80::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::fffe:10.0.0.1",
    "::1:ffff:10.0.0.1",
];
/// IPv4 addresses as IPv6 writes them.
const MAPPED: &[&str] = &[
    "::ffff:10.0.0.1",
    "::ffff:a00:1",
    "::FFFF:11.0.0.0",
    "0:0:0:0:0:ffff:0a00:0000",
    "::ffff:0.0.0.0",
    "::ffff:255.255.255.255",
];

pub(super) fn address(rng: &mut Rng) -> String {
    let addresses = match rng.u8(0..10) {
        0..5 => IPV4,
        5..8 => IPV6,
        _ => MAPPED,
    };
    (*pick(rng, addresses)).to_owned()
}

/// A network, or an address in place of one.
pub(super) fn network(rng: &mut Rng) -> String {
    if chance(rng, 20) {
        return address(rng);
    }
    let (base, lengths): (&[&str], &[u8]) = match rng.u8(0..10) {
        0..5 => (IPV4, &[0, 1, 7, 8, 9, 24, 25, 31, 32]),
        5..8 => (IPV6, &[0, 1, 31, 32, 33, 64, 96, 104, 127, 128]),
        _ => (MAPPED, &[64, 90, 96, 97, 103, 104, 105, 127, 128]),
    };
    format!("{}/{}", pick(rng, base), pick(rng, lengths))
}

/// A text that is nearly an address.
pub(super) fn no_address(rng: &mut Rng) -> String {
    const BAD: &[&str] = &[
        "",
        "10",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        "10.0.0.01",
        "10.0.0.1:80",
        "[::1]",
        "[::1]:80",
        "fe80::1%eth0",
        "fe80::1%1",
        "10.0.0.0/8",
        "::1/128",
        " 10.0.0.1",
        "10.0.0.1 ",
        "::ffff:10.0.0.256",
        ":::",
        "1::2::3",
        "2001:db8::g",
        "0x0a.0.0.1",
        "167772161",
        "localhost",
        "12345::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "１0.0.0.1",
    ];
    (*pick(rng, BAD)).to_owned()
}

/// Some users, each once.
pub(super) fn users(rng: &mut Rng, most: usize) -> Vec<String> {
    let drawn: Vec<String> = (0..most).map(|_| user(rng)).collect();
    let mut users: Vec<String> = some(rng, &drawn, 0).into_iter().cloned().collect();
    users.sort();
    users.dedup();
    users
}
