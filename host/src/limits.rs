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

/// A server that comes up together with the host has this long to answer.
pub const NATS_START: Duration = Duration::from_secs(60);

/// Longest wait for one answer of the lattice's buckets. Callers of the control interface give up after 2 s.
pub const NATS_REQUEST: Duration = Duration::from_secs(5);

/// Labels of one host: each stands in every heartbeat.
pub const MAX_LABELS: usize = 256;

/// Commands of one component that wait for the one before: wadm sends three for an upgrade.
pub const MAX_WAITING_COMMANDS: usize = 64;

/// Attempts to change a link specification that others change at the same time.
pub const MAX_LINK_ATTEMPTS: u32 = 32;

/// A config deleted while something uses it is announced again after this time, so that wadm puts it back (upstream issue 4704).
pub const DELETED_CONFIG_REMINDER: Duration = Duration::from_secs(2);

/// wadm's command to stop the old version comes within milliseconds of the one to start the new version; an operator's does not.
pub const UPGRADE_WINDOW: Duration = Duration::from_secs(5);

/// A version that was rolled back is not tried again for its own scaler before this time, so that wadm's repetitions do not swap to and fro.
pub const ROLLED_BACK_HOLD: Duration = Duration::from_secs(600);

/// Largest config or link specification: NATS' usual payload limit is 1 MiB.
pub const MAX_CONFIG_BYTES: usize = 512 << 10;

/// Links of one source: they travel together in one entry of at most [`MAX_CONFIG_BYTES`].
pub const MAX_LINKS_PER_SOURCE: usize = 512;

/// Changes of the lattice's data that wait to be handed on; the watch waits when they are more.
pub const MAX_WAITING_CHANGES: usize = 256;
