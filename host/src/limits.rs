//! Every fixed limit of the host, with its reason. Limits that a deployment may change are options of the manifest (`manifest.rs`).

use std::time::Duration;

/// How often the engine's epoch advances. A guest that computes without pause yields to others this often, so it bounds the delay that one
/// busy guest can add to the rest.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Largest memory that one guest may be granted; the pooling allocator reserves address space (not memory) for this much per slot.
pub const MAX_MEMORY_BYTES: usize = 256 << 20;

/// Bytes of a slot's memory that stay mapped between guests. Too little makes a fresh instance twice as dear (measured: 0-256 KiB
/// against 2 MiB).
pub const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// Slots of the pooling allocator: the sum of `max_instances` over all components must stay below.
pub const MAX_INSTANCES: u32 = 1_000;

/// Core modules inside one component: the guest itself and the adapters that the component linker adds.
pub const MAX_CORE_INSTANCES_PER_COMPONENT: u32 = 20;

/// Tables and memories inside one component.
pub const MAX_TABLES_PER_COMPONENT: u32 = 20;
/// Memories inside one component.
pub const MAX_MEMORIES_PER_COMPONENT: u32 = 4;

/// Elements of one table: function pointers of a large guest.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Largest component file that is read; ours are below 1 MiB.
pub const MAX_ARTIFACT_BYTES: u64 = 64 << 20;

/// Largest provider archive that is pulled: programs for several platforms, held in memory once while it is verified.
pub const MAX_PROVIDER_BYTES: u64 = 256 << 20;

/// Compiled components on disk. A development loop leaves a new one at every save; ours have a few MiB each.
pub const COMPILED_CACHE_BYTES: u64 = 1 << 30;

/// Pulled components and provider archives on disk.
pub const PULLED_CACHE_BYTES: u64 = 2 << 30;

/// Remembered tags on disk; each has 71 bytes.
pub const TAG_CACHE_BYTES: u64 = 1 << 20;

/// Time for a registry to accept a connection; one that is away must not hold up a start that the cache can serve.
pub const REGISTRY_CONNECT: Duration = Duration::from_secs(5);

/// A registry that sends nothing for so long is away.
pub const REGISTRY_SILENCE: Duration = Duration::from_secs(15);

/// Time for one artifact to arrive, whatever its size: 256 MiB at 2 MiB/s.
pub const REGISTRY_PULL: Duration = Duration::from_secs(128);

/// Calls from component to component may nest this deep; a link cycle ends here instead of eating all instances.
pub const MAX_CALL_DEPTH: u32 = 8;

/// A log line of a guest is cut here.
pub const MAX_LOG_LINE_BYTES: usize = 8 << 10;

/// Time for the whole host to finish its running work after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Time for a component to handle one event or one tick. No client waits for it, but a hanging one must end.
pub const BACKGROUND_CALL: Duration = Duration::from_secs(30);

/// Pause between two attempts to reach a service that is not there at start-up.
pub const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// Largest archive or executable of an external provider, unpacked: every member counts. Stripped Rust programs have 10-40 MB per target.
pub const MAX_PROVIDER_BYTES: u64 = 1 << 30;

/// Members of a provider archive: one program per target, the claims, the world.
pub const MAX_ARCHIVE_MEMBERS: usize = 64;

/// A token of claims: it lists one hash per target and perhaps a schema of the settings.
pub const MAX_CLAIMS_BYTES: u64 = 256 << 10;

/// Events of external providers that wait for whoever publishes them; a provider makes one every 30 seconds.
pub const PROVIDER_EVENTS: usize = 256;

/// An event of a provider that nobody takes for this long is dropped and logged: supervision must go on.
pub const PROVIDER_EVENT_WAIT: Duration = Duration::from_secs(5);

/// Time for a new provider to read its start-up line; a pipe holds 64 KiB of it even if nobody reads.
pub const PROVIDER_STDIN: Duration = Duration::from_secs(5);

/// A provider that has lived this long has started, even if it does not answer yet; one that ended before has not.
pub const PROVIDER_START: Duration = Duration::from_secs(1);

/// Between two questions to a provider that has not answered for the first time yet.
pub const PROVIDER_PROBE: Duration = Duration::from_millis(100);

/// From here on a provider's silence counts against it (wasmCloud v1: the first health check).
pub const PROVIDER_FIRST_HEALTH: Duration = Duration::from_secs(5);

/// Between two health checks of a provider (wasmCloud v1).
pub const PROVIDER_HEALTH: Duration = Duration::from_secs(30);

/// Time for a provider to answer a health check.
pub const PROVIDER_HEALTH_ANSWER: Duration = Duration::from_secs(2);

/// Health checks in a row without an answer after which a provider counts as failed: one lost message is no failure.
pub const PROVIDER_SILENCES: u32 = 3;

/// Pause before a provider that ended by itself is started again; it doubles with every end in a row.
pub const PROVIDER_RESTART: Duration = Duration::from_millis(100);

/// The longest such pause: a service that comes back is used again within this time.
pub const PROVIDER_RESTART_MAX: Duration = Duration::from_secs(30);

/// A provider that lived this long was well; its next end is the first in a row.
pub const PROVIDER_WELL: Duration = Duration::from_secs(60);

/// When a link's deletion has passed, the links that are still wanted between the same two are put again after these times. The public SDK
/// takes deletions and puts from two queues, in any sequence, and forgets by peer alone; the second time is for a busy machine.
pub const PROVIDER_LINK_REPEATS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
