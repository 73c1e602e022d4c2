//! Bindings generated from `wit/`: the types that cross the wire, with their encoding. `wrpc:keyvalue` is the form in which hosts of wasmCloud v1
//! send `wasi:keyvalue` over the lattice (a bucket is a name); no crate carries it, so it stands here.

#![allow(missing_docs, unused, unreachable_pub, clippy::all, reason = "generated code")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "generated code")]

wit_bindgen_wrpc::generate!({
    inline: "
        package swiftcart:programs;

        world capabilities {
            import swiftcart:postgres/client@0.1.0;
            import swiftcart:redis/scripts@0.1.0;
            import swiftcart:email/sender@0.1.0;
            import swiftcart:kafka/handler@0.1.0;
            import wrpc:keyvalue/store@0.2.0-draft;
            import wrpc:keyvalue/atomics@0.2.0-draft;
            import wrpc:keyvalue/batch@0.2.0-draft;
        }

        package wrpc:keyvalue@0.2.0-draft {
            interface store {
                variant error {
                    no-such-store,
                    access-denied,
                    other(string),
                }
                record key-response {
                    keys: list<string>,
                    cursor: option<u64>,
                }
                get: func(bucket: string, key: string) -> result<option<list<u8>>, error>;
                set: func(bucket: string, key: string, value: list<u8>) -> result<_, error>;
                delete: func(bucket: string, key: string) -> result<_, error>;
                exists: func(bucket: string, key: string) -> result<bool, error>;
                list-keys: func(bucket: string, cursor: option<u64>) -> result<key-response, error>;
            }
            interface atomics {
                use store.{error};
                increment: func(bucket: string, key: string, delta: u64) -> result<u64, error>;
            }
            interface batch {
                use store.{error};
                get-many: func(bucket: string, keys: list<string>) -> result<list<option<tuple<string, list<u8>>>>, error>;
                set-many: func(bucket: string, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                delete-many: func(bucket: string, keys: list<string>) -> result<_, error>;
            }
        }
    ",
    path: ["../../wit/postgres", "../../wit/redis", "../../wit/email", "../../wit/kafka"],
    generate_all,
});
