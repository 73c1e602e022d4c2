//! One table of calls of the guest `echo`, as the guests `probe` and `caller` take them: every type, every edge of a type, every way to fail. Whoever
//! calls it, and from wherever, must get the same.

use serde_json::{Value, json};

/// A text that takes NATS several messages.
pub const LARGE: usize = 3 << 20;

/// A record with one of each type.
#[must_use]
pub fn everything() -> Value {
    json!({
        "truth": true,
        "u8_value": u8::MAX, "s8_value": i8::MIN, "u16_value": u16::MAX, "s16_value": i16::MIN,
        "u32_value": u32::MAX, "s32_value": i32::MIN, "u64_value": u64::MAX, "s64_value": i64::MIN,
        "f32_value": 1.5, "f64_value": -2.25,
        "letter": "\u{1F600}", "text": "Zoë\u{0}", "bytes": [0, 127, 255],
        "pair": [7, "seven"],
        "colour": "Green",
        "permissions": 5,
        "shapes": ["Point", {"Circle": 0.5}, {"Labelled": {"name": "a", "weight": 1}}, {"Group": [{"name": "", "weight": 0}, {"name": "b", "weight": 2}]}],
        "maybe": 9,
        "outcome": {"Err": "Red"},
        "nothing": {"Ok": null},
        "rows": [["x", null], [], [null]],
    })
}

/// That record, and for each other case of what has several one that differs in it.
#[must_use]
pub fn values() -> Vec<Value> {
    let others = [
        ("maybe", json!(null)),
        ("outcome", json!({"Ok": {"name": "leaf", "weight": 3}})),
        ("nothing", json!({"Err": null})),
        ("permissions", json!(0)),
        ("permissions", json!(7)),
        ("shapes", json!([])),
        ("rows", json!([])),
        ("bytes", json!([])),
        ("text", json!("")),
        ("letter", json!("a")),
    ];
    std::iter::once(everything()).chain(others.into_iter().map(|(field, value)| with(field, value))).collect()
}

/// The record with this value in one field.
#[must_use]
pub fn with(field: &str, value: Value) -> Value {
    let mut all = everything();
    if let Some(place) = all.get_mut(field) {
        *place = value;
    }
    all
}

/// The call that gives a record back in which one field has this value.
#[must_use]
pub fn same(field: &str, value: Value) -> Value {
    json!({"same": {"value": with(field, value)}})
}

/// Bits of a `f64` and a `f32` that JSON cannot say.
#[must_use]
pub fn bits() -> [(u64, u32); 3] {
    [(f64::INFINITY, f32::NEG_INFINITY), (-0.0, -0.0), (f64::MIN_POSITIVE, f32::MAX)]
        .map(|(wide, single)| (wide.to_bits(), single.to_bits()))
}

/// All calls.
#[must_use]
pub fn table() -> Vec<Value> {
    let mut table: Vec<Value> = values().into_iter().map(|value| json!({"same": {"value": value}})).collect();
    table.extend([
        same("text", json!("x".repeat(LARGE))),
        json!({"join": {"left": "a", "right": "b", "times": 2}}),
        json!({"join": {"left": "ü", "right": null, "times": 0}}),
    ]);
    let beyond_json = |(wide, single)| json!({"f64_bits": wide, "f32_bits": single, "value": everything()});
    table.extend(bits().map(|bits| json!({"same_beyond_json": beyond_json(bits)})));
    for function in ["with_words", "with_nested_words", "with_variant", "without_words"] {
        for conduct in [json!("Answer"), json!({"Wait": 50}), json!({"Allocate": 100_000}), json!("Trap")] {
            table.push(json!({function: {"conduct": conduct}}));
        }
    }
    table
}
