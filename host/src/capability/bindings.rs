//! Bindings generated from `wit/`: the one source of the types that cross the sandbox wall.

#![allow(missing_docs, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    inline: "
        package swiftcart:host;
        world capabilities {
            import swiftcart:postgres/client@0.1.0;
            import swiftcart:redis/scripts@0.1.0;
            import swiftcart:email/sender@0.1.0;
            import swiftcart:trace/context@0.1.0;
            import swiftcart:policy/links@0.1.0;
            export swiftcart:kafka/handler@0.1.0;
            export swiftcart:timer/handler@0.1.0;
        }
    ",
    path: ["../wit/postgres", "../wit/redis", "../wit/email", "../wit/trace", "../wit/policy", "../wit/kafka", "../wit/timer"],
    imports: { default: async | trappable },
    exports: { default: async },
    require_store_data_send: true,
});
