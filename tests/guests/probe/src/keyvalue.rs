//! `wasi:keyvalue` as JSON. Invariant: each command is one function of the contract.

use serde::Deserialize;
use serde_json::{Value, json};
use wasmcloud_component::wasi::keyvalue::{atomics, batch, store};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: Vec<u8>,
    },
    Delete {
        key: String,
    },
    Exists {
        key: String,
    },
    /// All pages.
    ListKeys {},
    Increment {
        key: String,
        delta: u64,
    },
    GetMany {
        keys: Vec<String>,
    },
    SetMany {
        pairs: Vec<(String, Vec<u8>)>,
    },
    DeleteMany {
        keys: Vec<String>,
    },
}

pub(crate) fn run(bucket: &str, command: Command) -> Result<Value, String> {
    open(bucket, command).map_err(|error| format!("{error:?}"))
}

fn open(bucket: &str, command: Command) -> Result<Value, store::Error> {
    let bucket = store::open(bucket)?;
    Ok(match command {
        Command::Get { key } => json!(bucket.get(&key)?),
        Command::Set { key, value } => json!(bucket.set(&key, &value)?),
        Command::Delete { key } => json!(bucket.delete(&key)?),
        Command::Exists { key } => json!(bucket.exists(&key)?),
        Command::ListKeys {} => {
            let mut all = Vec::new();
            let mut cursor = None;
            loop {
                let page = bucket.list_keys(cursor)?;
                all.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break json!(all);
                }
            }
        }
        Command::Increment { key, delta } => json!(atomics::increment(&bucket, &key, delta)?),
        Command::GetMany { keys } => json!(batch::get_many(&bucket, &keys)?),
        Command::SetMany { pairs } => json!(batch::set_many(&bucket, &pairs)?),
        Command::DeleteMany { keys } => json!(batch::delete_many(&bucket, &keys)?),
    })
}
