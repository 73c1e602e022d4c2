//! What a test can ask for. Invariant: one operation is one call of one import (or of a few in a row where only the row has a meaning).

use std::cell::Cell;

use serde::Deserialize;
use serde_json::{Value, json};
use wasmcloud_component::wasi::config::store as config;

use crate::bindings::swiftcart::email::sender::{self, Message};
use crate::bindings::swiftcart::postgres::client::{self, Statement};
use crate::bindings::swiftcart::redis::scripts::{self, Script};
use crate::bindings::swiftcart::trace::context;
use crate::bindings::test::calls::echo::{self, Conduct, Everything};
use crate::fetch::{self, Fetch};
use crate::keyvalue::{self, Command};

/// `{"transact": {"statements": [...]}}` and so on; `{"uses": {}}` where nothing is to be said.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Operation {
    Transact {
        statements: Vec<Statement>,
    },
    Script {
        script: Script,
        keys: Vec<String>,
        arguments: Vec<String>,
    },
    KeyValue {
        bucket: String,
        command: Command,
    },
    Send {
        message: Message,
    },
    Config {
        key: String,
    },
    Trace {},
    Fetch(Fetch),
    Same {
        value: Box<Everything>,
    },
    /// What JSON has no form for: the bits of a `f64` and a `f32`, and an option that holds an empty option.
    SameBeyondJson {
        f64_bits: u64,
        f32_bits: u32,
        value: Box<Everything>,
    },
    Join {
        left: String,
        right: Option<String>,
        times: u8,
    },
    /// How often this instance of the probe was asked this.
    Uses {},
    EchoUses {},
    /// The trace context here and in the callee.
    EchoTrace {},
    WithWords {
        conduct: Conduct,
    },
    WithNestedWords {
        conduct: Conduct,
    },
    WithVariant {
        conduct: Conduct,
    },
    WithoutWords {
        conduct: Conduct,
    },
    /// Takes that long here.
    Wait {
        ms: u64,
    },
    Trap {},
    Spin {},
    /// What a component may not have.
    Surroundings {},
}

thread_local! {
    static USES: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn run(operation: Operation) -> Value {
    match operation {
        Operation::Transact { statements } => json!(client::transact(&statements)),
        Operation::Script { script, keys, arguments } => json!(scripts::run(&script, &keys, &arguments)),
        Operation::KeyValue { bucket, command } => json!(keyvalue::run(&bucket, command)),
        Operation::Send { message } => json!(sender::send(&message)),
        Operation::Config { key } => json!(config::get(&key).map_err(|error| format!("{error:?}"))),
        Operation::Trace {} => json!(context::current()),
        Operation::Fetch(request) => json!(fetch::run(&request)),
        Operation::Same { value } => json!(echo::same(&value)),
        Operation::SameBeyondJson { f64_bits, f32_bits, mut value } => {
            value.f64_value = f64::from_bits(f64_bits);
            value.f32_value = f32::from_bits(f32_bits);
            value.maybe = Some(None);
            let back = echo::same(&value);
            json!({"f64_bits": back.f64_value.to_bits(), "f32_bits": back.f32_value.to_bits(), "some_none": back.maybe == Some(None)})
        }
        Operation::Join { left, right, times } => json!(echo::join(&left, right.as_deref(), times)),
        Operation::Uses {} => USES.with(|uses| {
            uses.set(uses.get() + 1);
            json!(uses.get())
        }),
        Operation::EchoUses {} => json!(echo::uses()),
        Operation::EchoTrace {} => json!({"probe": context::current().traceparent, "echo": echo::trace()}),
        Operation::WithWords { conduct } => json!(echo::with_words(conduct)),
        Operation::WithNestedWords { conduct } => json!(echo::with_nested_words(conduct)),
        Operation::WithVariant { conduct } => json!(echo::with_variant(conduct)),
        Operation::WithoutWords { conduct } => json!(echo::without_words(conduct)),
        Operation::Wait { ms } => {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            json!(ms)
        }
        Operation::Trap {} => std::process::abort(),
        Operation::Spin {} => {
            let mut count = 0_u64;
            loop {
                count = std::hint::black_box(count.wrapping_add(1));
            }
        }
        Operation::Surroundings {} => json!({
            "environment": std::env::vars().count(),
            "arguments": std::env::args().count(),
            "folders": wasmcloud_component::wasi::filesystem::preopens::get_directories().len(),
        }),
    }
}
