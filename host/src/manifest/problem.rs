//! What can be wrong with a manifest that has the right shape. Each message names the place and says what to do.

use super::image::ImageError;
use super::options::OptionError;
use super::policy::PolicyError;
use super::sources::SecretError;

/// One problem of a manifest. `place` is for example ``component `cart` `` or ``link `cart` -> `database` (swiftcart:postgres), target``.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the case means, and each field is named in it")]
pub enum PlanError {
    #[error("metadata.name `{name}` is no name: use letters, digits, `-` and `_`")]
    ApplicationName { name: String },
    #[error("annotation `version` is `latest`, which wadm refuses: give a real version")]
    LatestVersion,
    #[error("{kind} has no name that can be used (`{name}`): use letters, digits, `-` and `_`")]
    Name { kind: &'static str, name: String },
    #[error("the name `{name}` is used by more than one component or capability: rename one")]
    DuplicateName { name: String },
    #[error("`{first}` and `{second}` have the same id `{id}`: give one another `properties.id`")]
    DuplicateId { id: String, first: String, second: String },
    #[error("{place}: the id `{id}` is none: use letters, digits, `-` and `_`")]
    Id { place: String, id: String },
    #[error("{place} has no image: add `properties.image`")]
    NoImage { place: String },
    #[error(
        "{place} belongs to the application `{application}` (component `{component}`): this host runs one application, give it an `image` instead"
    )]
    SharedComponent { place: String, application: String, component: String },
    #[error("{place}: image {source}")]
    Image { place: String, source: ImageError },
    #[error("{place}: image `{image}` is a capability of the host: set `type: capability`")]
    ComponentIsBuiltin { place: String, image: String },
    #[error("{place}: image `{image}` is not a capability of the host: expected `wasmcloud+builtin://name`")]
    CapabilityIsNotBuiltin { place: String, image: String },
    #[error("{place} has no scaler, so that wadm would never start it: add a trait `spreadscaler` with `instances`")]
    NoScaler { place: String },
    #[error("{place} has {count} scalers: keep one")]
    SeveralScalers { place: String, count: usize },
    #[error("{place}: `instances` is {instances}, expected 1 to {limit}")]
    Instances { place: String, instances: u32, limit: u32 },
    #[error(
        "the components ask for {sum} instances together, the host has room for {limit}: lower `instances` or `host.max_instances`"
    )]
    TooManyInstances { sum: u64, limit: u32 },
    #[error("{place}: {source}")]
    Option { place: String, source: OptionError },
    #[error("{place}: {source}")]
    Policy { place: String, source: PolicyError },
    #[error(
        "{place}: `{key}` is a key of a link's policy and belongs into the config of the link's source: move it there"
    )]
    MisplacedPolicy { place: String, key: String },
    #[error("{link} has a policy, but a capability calls over it: policies are for links from components")]
    PolicyOfCapability { link: String },
    #[error("{place}: `{key}` is an option for components and has no meaning here: remove it")]
    MisplacedOption { place: String, key: String },
    #[error(
        "{link} leads nowhere: there is no component or capability with the name `{target}`, expected one of: {known}"
    )]
    NoTarget { link: String, target: String, known: String },
    #[error("{link} joins two capabilities: one end must be a component")]
    NoComponent { link: String },
    #[error("{link} has no interfaces: list at least one")]
    NoInterfaces { link: String },
    #[error("{link}: the name `{name}` is none: use letters, digits, `-` and `_`")]
    LinkName { link: String, name: String },
    #[error("{link}: {what} `{value}` is no WIT name: use lower-case words joined by `-`, without a version")]
    WitName { link: String, what: &'static str, value: String },
    #[error(
        "`{from}` has two links named `{name}` for {interface}, to `{first}` and to `{second}`: give one another `name`"
    )]
    DuplicateLink { from: String, name: String, interface: String, first: String, second: String },
    #[error(
        "{place}: there is no external config `{config}` (without `properties` it is looked up in the config file), expected one of: {known}"
    )]
    NoExternalConfig { place: String, config: String, known: String },
    #[error(
        "the config `{config}` is defined by {first} and by {second}: wadm stores both under one name, rename one (or make it external)"
    )]
    DuplicateConfig { config: String, first: String, second: String },
    #[error("{place}: the key `{key}` is given by `{first}` and by `{second}`: remove one")]
    DuplicateKey { place: String, key: String, first: String, second: String },
    #[error("{place}: the config `{config}` has an empty key")]
    EmptyKey { place: String, config: String },
    #[error("{place}: the config or secret name `{name}` is none: use letters, digits, `-` and `_`")]
    EntryName { place: String, name: String },
    #[error(
        "{place}: the secret `{secret}` names the policy `{policy}`, which is not there: add it to `spec.policies`"
    )]
    NoPolicy { place: String, secret: String, policy: String },
    #[error("the policy `{policy}` is there twice: rename one")]
    DuplicatePolicy { policy: String },
    #[error("the policy `{policy}` has the type `{kind}`, expected `policy.secret.wasmcloud.dev/v1alpha1`")]
    PolicyType { policy: String, kind: String },
    #[error("the policy `{policy}` has the backend `{backend}`, expected `env` or `file`")]
    PolicyBackend { policy: String, backend: String },
    #[error("the policy `{policy}` has no property `backend`: expected `env` or `file`")]
    NoPolicyBackend { policy: String },
    #[error("the policy `{policy}` has the property `{property}`, which has no meaning: remove it")]
    PolicyProperty { policy: String, property: String },
    #[error(
        "{place}: the secret `{secret}` has a `{option}`, which the backends `env` and `file` do not know: remove it"
    )]
    SecretOption { place: String, secret: String, option: &'static str },
    #[error(
        "the secret `{secret}` is defined by {first} and by {second} with different keys: wadm stores both under one name, rename one to `<prefix>-{key}`"
    )]
    DuplicateSecret { secret: String, key: String, first: String, second: String },
    #[error("{place}: the secret `{secret}` is missing: {source}")]
    Secret { place: String, secret: String, source: SecretError },
}
