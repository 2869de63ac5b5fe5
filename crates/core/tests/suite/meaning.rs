//! JSON texts are compared by meaning, exactly. Ambiguous texts are equal only byte for byte.

use proptest::prelude::*;
use sagamore_core::Body;

fn body(text: &str) -> Body {
    Body::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[track_caller]
fn check(one: &str, other: &str, same: bool) {
    let (left, right) = (body(one), body(other));
    assert_eq!(left.means_the_same(&right), same, "{one} and {other}");
    assert_eq!(right.means_the_same(&left), same, "{other} and {one}");
    assert_eq!(
        left.meaning_hash() == right.meaning_hash(),
        same,
        "the hashes of {one} and {other}"
    );
}

#[test]
fn numbers_are_compared_exactly_in_every_spelling() {
    for spelling in ["1.0", "10e-1", "1E0", "0.1e+1", "1e00", "100e-2"] {
        check("1", spelling, true);
    }
    check("-1200", "-1.2E+3", true);
    check("0", "0e99999999999999999999999999", true);
    check("1e999", "10e998", true);
    check("1e999", "1e998", false);
    check("18446744073709551617", "18446744073709551618", false);
    check("0.1", "0.10000000000000000001", false);
    check("0.1", "0.10000000000000000000", true);
    check("1", "-1", false);
    check("0", "-0", false);
    check("1", "\"1\"", false);
    check("1e99999999999999999999", "1e99999999999999999999", true);
    check("1e99999999999999999999", "10e99999999999999999998", false); // only byte for byte
}

#[test]
fn white_space_order_and_escapes_do_not_matter() {
    check(r#"{"a":1,"b":[true,null]}"#, "{ \"b\" :\n[ true , null ],\t\"a\": 1 }", true);
    check(r#""é""#, r#""\u00e9""#, true);
    check(r#""😀/""#, r#""\ud83d\ude00\/""#, true);
    check(r#"{"\u0061":1}"#, r#"{"a":1}"#, true);
    check("[]", "[ ]", true);
    check("{}", "{ }", true);
    check("[1,2]", "[2,1]", false);
    check("[12]", "[1,2]", false);
    check("{}", "[]", false);
    check("null", "false", false);
    check(r#"{"a":{"b":1}}"#, r#"{"a":1,"b":1}"#, false);
}

#[test]
fn ambiguous_texts_are_equal_only_byte_for_byte() {
    let deep =
        |levels: usize, core: &str| format!("{}{core}{}", "[".repeat(levels), "]".repeat(levels));
    for unreadable in
        [r#""\ud83d""#, r#""\ude00\ud83d""#, &deep(128, ""), &deep(500, "1"), r#"{"a":1,"a":1}"#]
    {
        let with = |quantity: u32, space: &str| {
            format!("{{\"quantity\":{space}{quantity},\"x\":{unreadable}}}")
        };
        check(&with(1, ""), &with(1, ""), true);
        check(&with(1, ""), &with(7, ""), false);
        check(&with(1, ""), &with(1, " "), false);
        check(&with(1, ""), r#"{"quantity":1,"x":null}"#, false);
    }
    check(&deep(127, "1"), &deep(127, " 1 "), true);
    check(&deep(127, "1"), &deep(127, "2"), false);
}

/// A number by sign, digits and exponent.
fn parts() -> impl Strategy<Value = (bool, u64, i32)> {
    (any::<bool>(), 1_u64..=u64::MAX / 1_000, -40_i32..40)
}

/// Spells `digits * 10^exponent` with the point moved and zeros added.
fn spelt((negative, digits, exponent): (bool, u64, i32), zeros: usize, point: usize) -> String {
    let sign = if negative { "-" } else { "" };
    let mut digits = format!("{digits}{}", "0".repeat(zeros));
    let mut exponent = exponent - i32::try_from(zeros).expect("few");
    if point > 0 && point < digits.len() {
        let whole = digits.len() - point;
        digits.insert(whole, '.');
        exponent += i32::try_from(point).expect("few");
    }
    format!("{sign}{digits}e{exponent}")
}

/// Writes a JSON text of this tree with random member order, white space, escapes and number
/// spellings.
fn write(value: &serde_json::Value, rng: &mut fastrand::Rng, out: &mut String) {
    let space = |rng: &mut fastrand::Rng| [" ", "\n", "", "", "\t"][rng.usize(..5)];
    out.push_str(space(rng));
    match value {
        serde_json::Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            rng.shuffle(&mut members);
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write(&serde_json::Value::String(name.clone()), rng, out);
                out.push(':');
                write(value, rng, out);
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for (index, value) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write(value, rng, out);
            }
            out.push(']');
        }
        serde_json::Value::String(text) if rng.bool() => {
            out.push('"');
            text.encode_utf16().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            out.push('"');
        }
        serde_json::Value::Number(number) if number.as_i64().is_some_and(|number| number != 0) => {
            let number = number.as_i64().expect("an integer");
            let parts = (number < 0, number.unsigned_abs(), 0);
            out.push_str(&spelt(parts, rng.usize(..4), rng.usize(..4)));
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(space(rng));
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        ".{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            prop::collection::btree_map(".{0,2}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_number_has_one_meaning_in_all_its_spellings(
        number in parts(), zeros in 0_usize..5, point in 0_usize..25
    ) {
        let (one, other) = (body(&spelt(number, 0, 0)), body(&spelt(number, zeros, point)));
        prop_assert!(one.means_the_same(&other), "{one:?} {other:?}");
        prop_assert_eq!(one.meaning_hash(), other.meaning_hash());
    }

    #[test]
    fn numbers_with_the_least_difference_are_unequal(
        number in parts(), zeros in 0_usize..5, point in 0_usize..25
    ) {
        let (negative, digits, exponent) = number;
        let others = [
            (!negative, digits, exponent),
            (negative, digits + 1, exponent),
            (negative, digits, exponent + 1),
        ];
        for other in others {
            let (one, other) = (body(&spelt(number, 0, 0)), body(&spelt(other, zeros, point)));
            prop_assert!(!one.means_the_same(&other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_text_means_the_same_in_every_spelling_of_its_tree(tree in tree(), seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let spell = |rng: &mut fastrand::Rng| {
            let mut text = String::new();
            write(&tree, rng, &mut text);
            body(&text)
        };
        let (one, other) = (spell(&mut rng), spell(&mut rng));
        prop_assert!(one.means_the_same(&other), "{one:?} {other:?}");
        prop_assert_eq!(one.meaning_hash(), other.meaning_hash());
        prop_assert!(one.means_the_same(&body(&tree.to_string())));
    }

    #[test]
    fn two_trees_mean_the_same_only_when_they_are_equal(one in tree(), other in tree(), seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut text = String::new();
        write(&other, &mut rng, &mut text);
        prop_assert_eq!(body(&one.to_string()).means_the_same(&body(&text)), one == other);
    }
}
