//! Which share of a rollout a user falls into: frozen, by every method, and with the properties that ramps rely on.

use flagraft_core::bucketing::{BucketRange, Choice, Divider, Method, Place};
use proptest::{collection::vec, prelude::*, sample::select};

fn place(method: Method, seed: &str, total: u32, value: &str) -> Place {
    Divider::new(method, seed, [total]).choose(value).place
}

fn index(method: Method, seed: &str, weights: &[u32], value: &str) -> Option<usize> {
    Divider::new(method, seed, weights.iter().copied()).choose(value).index
}

/// Where each method puts the same five values. Ours has been so since the first version; the others were computed with
/// Python: mmh3, hashlib, zlib and numpy's single precision.
#[test]
fn buckets_are_frozen() {
    use Place::{Double, Single, Whole};
    for (method, total, places) in [
        (Method::Murmur3, 100_000, [56_528, 36_104, 69_193, 47_110, 1_108].map(Whole)),
        (Method::Unleash, 100, [27, 60, 46, 47, 97].map(Whole)),
        (Method::UnleashVariant, 1_000, [528, 409, 715, 100, 121].map(Whole)),
        (
            Method::Launchdarkly,
            100_000,
            [0.165_555_82, 0.777_839_36, 0.968_201_34, 0.651_896_83, 0.915_083_8].map(Single),
        ),
        (Method::Flagd, 100, [56, 33, 46, 10, 77].map(Whole)),
        (
            Method::FlagdPercent,
            100,
            [
                86.301_441_856_800_32,
                67.405_745_278_767_2,
                92.890_554_011_282_77,
                20.844_668_113_088_545,
                44.672_094_678_819_22,
            ]
            .map(Double),
        ),
        (Method::Flipt, 1_000, [682, 32, 854, 855, 733].map(Whole)),
        (Method::FliptThreshold, 100, [43, 87, 16, 58, 33].map(Whole)),
        (Method::GoFeatureFlag, 100_000, [15_990, 38_371, 60_752, 30_169, 62_532].map(Whole)),
        (Method::GrowthbookV1, 100, [0.47, 0.857, 0.832, 0.253, 0.532].map(Double)),
        (Method::GrowthbookV2, 100, [0.0111, 0.8281, 0.2841, 0.9011, 0.9683].map(Double)),
    ] {
        for (value, expected) in ["u1", "u2", "u3", "ünïcödé", ""].into_iter().zip(places) {
            assert_eq!(place(method, "checkout-v2", total, value), expected, "{method} {value:?}");
        }
    }
}

/// From `StrategyUtilsTest` of Unleash's Java client ("the same across node java and go clients"), which counts from 1.
#[test]
fn unleash_as_its_clients_have_it() {
    for (method, group, user, normalized) in [
        (Method::Unleash, "gr1", "123", 73),
        (Method::Unleash, "groupX", "999", 25),
        (Method::UnleashVariant, "gr1", "123", 96),
        (Method::UnleashVariant, "groupX", "999", 60),
    ] {
        assert_eq!(place(method, group, 100, user), Place::Whole(normalized - 1), "{method} {group} {user}");
    }
}

/// From Unleash's client specification, `10-flexible-rollout-strategy.json`.
#[test]
fn unleash_as_its_specification_has_it() {
    for (group, percentage, user, enabled) in [
        ("Feature.flexibleRollout.10", 10, "174", true),
        ("Feature.flexibleRollout.10", 10, "499", false),
        ("Feature.flexibleRollout.userId.55", 55, "25", true),
        ("Feature.flexibleRollout.sessionId.42", 42, "147", true),
    ] {
        let got = index(Method::Unleash, group, &[percentage, 100 - percentage], user);
        assert_eq!(got, Some(usize::from(!enabled)), "{group} {user}");
    }
}

/// From the contract tests of LaunchDarkly's SDKs (`sdk-test-harness`, `server_side_eval_bucketing.go`).
#[test]
fn launchdarkly_as_its_contract_tests_have_it() {
    for (seed, value, bucket) in [
        ("hashKey.saltyA", "userKeyA", 0.421_575_87),
        ("hashKey.saltyA", "userKeyB", 0.670_848_5),
        ("hashKey.saltyA", "userKeyC", 0.103_431_06),
        ("hashKey.saltyA", "33333", 0.547_714_23),
        ("hashKey.saltyA", "99999", 0.730_965_8),
        // An experiment's own seed.
        ("61", "userKeyA", 0.098_012_07),
        ("61", "userKeyB", 0.144_837_77),
        ("61", "userKeyC", 0.924_264_1),
    ] {
        assert_eq!(
            place(Method::Launchdarkly, seed, 100_000, value),
            Place::Single(bucket),
            "{seed} {value}"
        );
    }
}

/// Found by trying 24,056,253 values: a hash so great that its share rounds to 1, which no sum of weights exceeds.
#[test]
fn launchdarkly_gives_what_is_beyond_to_the_last_weight() {
    const GREATEST: &str = "u24056253";
    for weights in [vec![50_000, 50_000], vec![99_999, 1], vec![100_000, 0]] {
        let divider = Divider::new(Method::Launchdarkly, "checkout.salt", weights);
        assert_eq!(divider.choose(GREATEST), Choice { place: Place::Single(1.0), index: Some(1) });
    }
}

/// From flagd's testbed, `evaluator/gherkin/fractional.feature`: `v2` is the method of now, `v1` the one of before.
#[test]
fn flagd_as_its_testbed_has_it() {
    const CLUBS: usize = 0;
    const DIAMONDS: usize = 1;
    const HEARTS: usize = 2;
    const SPADES: usize = 3;
    for (method, seed, value, suit) in [
        (Method::Flagd, "fractional-flag", "jack", HEARTS),
        (Method::Flagd, "fractional-flag", "queen", SPADES),
        (Method::Flagd, "fractional-flag", "ten", CLUBS),
        (Method::Flagd, "fractional-flag", "nine", DIAMONDS),
        (Method::Flagd, "fractional-flag", "3", CLUBS),
        (Method::Flagd, "shared-seed", "seven", HEARTS),
        (Method::Flagd, "shared-seed", "eight", DIAMONDS),
        (Method::Flagd, "shared-seed", "nine", CLUBS),
        (Method::Flagd, "shared-seed", "two", SPADES),
        (Method::FlagdPercent, "fractional-flag", "jack", SPADES),
        (Method::FlagdPercent, "fractional-flag", "queen", CLUBS),
        (Method::FlagdPercent, "fractional-flag", "ten", DIAMONDS),
        (Method::FlagdPercent, "fractional-flag", "nine", HEARTS),
        (Method::FlagdPercent, "fractional-flag", "3", DIAMONDS),
        (Method::FlagdPercent, "shared-seed", "jack", HEARTS),
        (Method::FlagdPercent, "shared-seed", "queen", SPADES),
        (Method::FlagdPercent, "shared-seed", "ten", HEARTS),
        (Method::FlagdPercent, "shared-seed", "nine", DIAMONDS),
    ] {
        assert_eq!(index(method, seed, &[25; 4], value), Some(suit), "{method} {seed} {value}");
    }
    for (value, bucket) in [("jon@company.com", 36), ("user1", 76)] {
        assert_eq!(place(Method::Flagd, "", 100, value), Place::Whole(bucket), "{value}");
    }
}

/// The testbed's keys whose hashes are 0, 1, 2^31 - 1, 2^31 and 2^32 - 1. By the method of before the middle two reach 100,
/// which no sum of percentages exceeds: flagd then had no variant.
#[test]
fn flagd_at_its_edges() {
    for (value, now, before) in [
        ("ejOoVL", Some(0), Some(0)),
        ("bY9fO-", Some(0), Some(0)),
        ("SI7p-", Some(0), None),
        ("6LvT0", Some(1), None),
        ("ceQdGm", Some(1), Some(0)),
    ] {
        assert_eq!(index(Method::Flagd, "", &[50, 50], value), now, "{value}");
        assert_eq!(index(Method::FlagdPercent, "", &[50, 50], value), before, "{value}");
    }
    assert_eq!(place(Method::FlagdPercent, "", 100, "SI7p-"), Place::Double(100.0));
    assert_eq!(place(Method::FlagdPercent, "", 100, "6LvT0"), Place::Double(100.000_000_046_566_13));
}

/// From flagd's `core/pkg/evaluator/fractional_test.go`, when it still put the flag's key before the value.
#[test]
fn flagd_as_it_was_tested_before() {
    for (seed, value, colour) in [
        ("headerColor", "joey@faas.com", 0),
        ("headerColor", "monica@faas.com", 1),
        ("headerColor", "ross@faas.com", 2),
        ("headerColor", "rachel@faas.com", 3),
        ("footerColor", "ross@faas.com", 0),
    ] {
        assert_eq!(index(Method::FlagdPercent, seed, &[25; 4], value), Some(colour), "{seed} {value}");
    }
}

/// From Flipt's `internal/server/evaluation/legacy_evaluator_test.go`.
#[test]
fn flipt_as_it_is_tested() {
    for (entity, variant) in [("1", 0), ("2", 1), ("10", 0), ("01", 1)] {
        assert_eq!(index(Method::Flipt, "foo", &[500, 500], entity), Some(variant), "{entity}");
    }
}

/// From GO Feature Flag's `internal/utils/hash_test.go` and `internal/flag/rule_test.go`.
#[test]
fn go_feature_flag_as_it_is_tested() {
    const KEY: &str = "e56f628e-9817-498f-ae38-4961e9c2bb21";
    for (flag, key, bucket) in [("my-flag", KEY, 70_272), ("", KEY, 74_237), ("", "", 36_261)] {
        assert_eq!(place(Method::GoFeatureFlag, flag, 100_000, key), Place::Whole(bucket), "{flag} {key}");
    }
    // In reverse alphabetical order: C and B, or D, C and B.
    for (key, weights, variation) in [
        ("userkey", &[9_000, 91_000][..], 0),
        ("userkey", &[91_000, 91_000], 1),
        ("randomUserID", &[70_000, 10_000, 20_000], 1),
        ("96ac59e6-7492-436b-b15a-ba1d797d2423", &[70_000, 10_000, 20_000], 2),
    ] {
        assert_eq!(index(Method::GoFeatureFlag, "flagname+", weights, key), Some(variation), "{key}");
    }
}

/// From GrowthBook's `packages/sdk-js/test/cases.json`, `hash`.
#[test]
fn growthbook_as_its_cases_have_it() {
    for (method, seed, value, bucket) in [
        (Method::GrowthbookV1, "", "a", 0.22),
        (Method::GrowthbookV1, "", "b", 0.077),
        (Method::GrowthbookV1, "b", "a", 0.946),
        (Method::GrowthbookV1, "ef", "d", 0.652),
        (Method::GrowthbookV1, "asdf", "8952klfjas09ujk", 0.549),
        (Method::GrowthbookV1, "", "123", 0.011),
        (Method::GrowthbookV1, "", "___)((*\":&", 0.563),
        (Method::GrowthbookV2, "seed", "a", 0.0505),
        (Method::GrowthbookV2, "seed", "b", 0.2696),
        (Method::GrowthbookV2, "foo", "ab", 0.2575),
        (Method::GrowthbookV2, "foo", "def", 0.2019),
        (Method::GrowthbookV2, "89123klj", "8952klfjas09ujkasdf", 0.124),
        (Method::GrowthbookV2, "90850943850283058242805", "123", 0.7516),
        (Method::GrowthbookV2, "()**(%$##$%#$#", "___)((*\":&", 0.0128),
    ] {
        assert_eq!(place(method, seed, 100, value), Place::Double(bucket), "{method} {seed} {value}");
    }
}

#[test]
fn what_an_explanation_shows() {
    use Place::{Double, Single, Whole};
    for (method, weights, of, thresholds) in [
        (Method::Murmur3, [10, 0, 30], 40, [10, 10, 40].map(Whole)),
        (Method::Flipt, [333, 333, 334], 1_000, [333, 666, 1_000].map(Whole)),
        (Method::Launchdarkly, [10_000, 20_000, 70_000], 1, [0.1, 0.3, 1.0].map(Single)),
        (Method::FlagdPercent, [1, 1, 2], 100, [25.0, 50.0, 100.0].map(Double)),
        (Method::GrowthbookV2, [1, 1, 2], 1, [0.25, 0.5, 1.0].map(Double)),
    ] {
        let divider = Divider::new(method, "s", weights);
        assert_eq!(divider.of(), of, "{method}");
        assert_eq!(divider.thresholds().collect::<Vec<_>>(), thresholds, "{method}");
    }
    for (place, text) in [(Whole(7), "7"), (Single(0.421_575_87), "0.42157587"), (Double(0.1), "0.1")] {
        assert_eq!(place.to_string(), text);
        assert_eq!(serde_json::to_string(&place).expect("a number"), text);
    }
}

/// Without weights, or with none that counts, nobody gets anything and nothing panics. Validation lets no such rollout in.
#[test]
fn nothing_to_divide() {
    for method in Method::ALL {
        for weights in [vec![], vec![0], vec![0, 0]] {
            let last = weights.len().checked_sub(1).filter(|_| method == Method::Launchdarkly);
            assert_eq!(
                Divider::new(method, "s", weights.clone()).choose("u1").index,
                last,
                "{method} {weights:?}"
            );
        }
        let beyond_all = Divider::new(method, "s", [u32::MAX, u32::MAX]).choose("u1").index;
        assert!(beyond_all.is_none_or(|index| index < 2), "{method}");
    }
}

/// Pearson's statistic of 1,000,000 users over 1,000 buckets. With 999 degrees of freedom a uniform hash exceeds 1,142.9
/// once in a thousand seeds.
#[test]
fn buckets_are_uniform() {
    const USERS: u32 = 1_000_000;
    const BUCKETS: u32 = 1_000;
    const CRITICAL: f64 = 1_142.9;
    for (seed, domain) in [("checkout-v2", ""), ("layer-1", "@example.com")] {
        let range = BucketRange::new(seed, 0..BUCKETS, BUCKETS);
        let mut counts = vec![0_u32; BUCKETS as usize];
        for user in 0..USERS {
            counts[range.bucket(&format!("user-{user}{domain}")) as usize] += 1;
        }
        let expected = f64::from(USERS / BUCKETS);
        let statistic: f64 =
            counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(statistic < CRITICAL, "{seed}: {statistic}");
    }
}

/// Weights that the method takes: of any total, or cut out of the one that it needs.
fn divisions() -> impl Strategy<Value = (Method, Vec<u32>)> {
    (select(Method::ALL.to_vec()), vec(0..=1_000_u32, 1..8)).prop_map(|(method, mut numbers)| {
        let Some(total) = method.total() else {
            numbers.push(1);
            return (method, numbers);
        };
        let mut cuts: Vec<u32> = numbers.iter().map(|number| number * (total / 100) / 10).collect();
        cuts.extend([0, total]);
        cuts.sort_unstable();
        (method, cuts.windows(2).map(|pair| pair[1] - pair[0]).collect())
    })
}

fn number(place: Place) -> f64 {
    match place {
        Place::Whole(number) => f64::from(number),
        Place::Single(number) => f64::from(number),
        Place::Double(number) => number,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_choice_is_within_the_weights((method, weights) in divisions(), seed in ".{0,12}", value in ".{0,24}") {
        if let Some(total) = method.total() {
            prop_assert_eq!(weights.iter().sum::<u32>(), total);
        }
        let divider = Divider::new(method, &seed, weights.clone());
        let Choice { place, index } = divider.choose(&value);
        let bounds: Vec<f64> = divider.thresholds().map(number).collect();
        prop_assert_eq!(bounds.len(), weights.len());
        prop_assert!((0.0..=f64::from(divider.of())).contains(&number(place)));
        // The values that some methods say nothing about, or have no bound for, are too rare to come up here.
        let index = index.expect("a weight");
        prop_assert!(number(place) < bounds[index]);
        prop_assert!(index == 0 || bounds[index - 1] <= number(place));
        prop_assert!(weights[index] > 0);
    }

    /// The seed is hashed beforehand: where it ends must make no difference to the bytes that are hashed.
    #[test]
    fn a_seed_hashed_before_is_as_one_hashed_with_the_value(method in select(Method::ALL.to_vec()), parts in vec("[a-zé]{0,9}", 3)) {
        let join = match method {
            Method::Murmur3 | Method::Unleash | Method::UnleashVariant => ":",
            Method::Launchdarkly => ".",
            _ => "",
        };
        let total = method.total().unwrap_or(1_000_000);
        let [one, two, three] = [&parts[0], &parts[1], &parts[2]];
        let (left, right) = (format!("{one}{join}{two}"), format!("{two}{join}{three}"));
        let value_first = matches!(method, Method::FliptThreshold | Method::GrowthbookV1);
        let places = if value_first {
            [place(method, &right, total, one), place(method, three, total, &left)]
        } else {
            [place(method, one, total, &right), place(method, &left, total, three)]
        };
        prop_assert_eq!(places[0], places[1]);
    }

    /// Moving weight from one variant to its neighbour, and no other, moves the users between the two bounds, and no other.
    #[test]
    fn only_the_users_that_must_move_do(
        seed in "[a-z]{1,9}",
        weights in vec(0..1_000_u32, 2..6),
        at in any::<prop::sample::Index>(),
        share in 0..=1_000_u32,
        users in vec("[a-z0-9]{1,12}", 1..100),
    ) {
        let giver = at.index(weights.len() - 1);
        let mut moved = weights.clone();
        let amount = weights[giver] * share / 1_000;
        moved[giver] -= amount;
        moved[giver + 1] += amount;
        let (before, after) = (Divider::new(Method::Murmur3, &seed, weights), Divider::new(Method::Murmur3, &seed, moved));
        let bound = |divider: &Divider| number(divider.thresholds().nth(giver).expect("a bound"));
        for user in &users {
            let (old, new) = (before.choose(user), after.choose(user));
            prop_assert_eq!(old.place, new.place);
            let must_move = (bound(&after)..bound(&before)).contains(&number(old.place));
            let expected = if must_move { Some(giver + 1) } else { old.index };
            prop_assert_eq!(new.index, expected);
            prop_assert!(!must_move || old.index == Some(giver));
        }
    }

    #[test]
    fn disjoint_ranges_exclude_one_another(of in 1..=i32::MAX.cast_unsigned(), cuts in vec(any::<prop::sample::Index>(), 0..6), users in vec(".{0,12}", 1..50)) {
        let mut cuts: Vec<u32> = cuts.iter().map(|cut| u32::try_from(cut.index(of as usize)).expect("below `of`")).collect();
        cuts.extend([0, of]);
        cuts.sort_unstable();
        let ranges: Vec<BucketRange> = cuts.windows(2).map(|pair| BucketRange::new("layer-1", pair[0]..pair[1], of)).collect();
        for user in &users {
            prop_assert_eq!(ranges.iter().filter(|range| range.holds(range.bucket(user))).count(), 1);
        }
    }

    /// A gate and a ramp with one seed and one total see one bucket.
    #[test]
    fn a_range_counts_as_our_method_does(seed in ".{0,12}", of in 1..=u32::MAX, user in ".{0,12}") {
        let range = BucketRange::new(&seed, 0..of, of);
        prop_assert_eq!(place(Method::Murmur3, &seed, of, &user), Place::Whole(range.bucket(&user)));
        prop_assert!(range.bucket(&user) < of && range.holds(range.bucket(&user)));
        prop_assert_eq!((range.range(), range.of()), (&(0..of), of));
    }
}
