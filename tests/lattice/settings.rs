//! What differs from machine to machine: the configs that a manifest only names, and the secrets in a host's environment. Invariant: a secret
//! stands in the environment of a host and nowhere else.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use swiftcart_support::shop::{Addresses, Configs, host_secrets, machine_configs};

/// Settings of one run of the suite.
pub(crate) struct Settings {
    pub(crate) configs: Configs,
    /// Variables of every host whose values must show nowhere.
    pub(crate) secrets: Vec<(String, String)>,
    /// Other variables of every host.
    pub(crate) variables: Vec<(String, String)>,
}

impl Settings {
    pub(crate) fn new(addresses: &Addresses) -> Self {
        // A key of this run: no mail outlives it.
        let seal = SecretKey::from(key_bytes());
        // Two hosts on one machine cannot have the same port: each takes a free one and tells it in its inventory.
        let edge = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // The load of a case comes from few users.
        let unlimited =
            ["requests_per_second", "burst"].map(|key| ("edge".to_owned(), key.to_owned(), "100000".to_owned()));
        let seal_public = STANDARD.encode(seal.public_key().as_bytes());
        Self {
            configs: machine_configs(addresses, edge, &seal_public, &unlimited),
            secrets: host_secrets(addresses, STANDARD.encode(seal.to_bytes())),
            variables: Vec::new(),
        }
    }
}

/// Two random UUIDs hold 244 random bits, which is enough for a key that protects the mails of a test.
fn key_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let halves = bytes.chunks_exact_mut(16);
    halves.for_each(|half| half.copy_from_slice(uuid::Uuid::new_v4().as_bytes()));
    bytes
}
