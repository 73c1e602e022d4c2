//! Every fixed limit of the host, with its reason. Limits that a deployment may change are options of the manifest (`manifest.rs`).

use std::time::Duration;

/// How often the engine's epoch advances. A guest that computes without pause yields to others this often, so it bounds the delay that one
/// busy guest can add to the rest.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Largest memory that one guest may be granted.
pub const MAX_MEMORY_BYTES: usize = 256 << 20;

/// Address space (not memory) that the pooling allocator reserves per slot: all that a 32-bit address can name. Whatever a guest addresses is then either
/// its own or a page that faults, so compiled code needs no check before each access. 2,000 slots take 8 of the 128 TiB that a process has.
pub const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Address space after it that always faults, for what an instruction adds to the address (wasmtime's own default).
pub const MEMORY_GUARD_BYTES: u64 = 32 << 20;

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
pub const MAX_PULLED_PROVIDER_BYTES: u64 = 256 << 20;

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

/// What a caller keeps of its time for its own last words (a note in the database, an answer) when its callee takes all that it gets: this at most, or
/// the share below of a shorter time.
pub const ANSWER_RESERVE: Duration = Duration::from_millis(250);

/// A tenth.
pub const ANSWER_RESERVE_SHARE: u32 = 10;

/// A log line of a guest is cut here.
pub const MAX_LOG_LINE_BYTES: usize = 8 << 10;

/// Time for the whole host to finish its running work after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Time for a component to handle one event or one tick. No client waits for it, but a hanging one must end.
pub const BACKGROUND_CALL: Duration = Duration::from_secs(30);

/// Pause between two attempts to reach a service that is not there at start-up.
pub const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// What happens without being asked for is kept this long for slow listeners.
pub const NOTICES: usize = 256;

/// New code may come a moment before its links: a lattice sends both at once.
pub const LINK_GRACE: Duration = Duration::from_secs(3);

/// How often new code looks for its links in that time.
pub const LINK_POLL: Duration = Duration::from_millis(50);

/// A version that replaces a running one must reach what its links lead to within this time, or is refused.
pub const CONNECT_FOR_CHANGE: Duration = Duration::from_secs(10);

/// For so long the version before is kept, to serve again if the new one is broken.
pub const PROBATION: Duration = Duration::from_secs(10);

/// Fewer traps than these say nothing.
pub const PROBATION_TRAPS: u64 = 3;

/// From this share of its calls on, in per cent, a version that traps is broken.
pub const PROBATION_PERCENT: u64 = 50;

/// Pause before what a capability sets in motion is started again after it failed; doubled each time up to the second figure.
pub const TRIGGER_RESTART: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Parameters, or results, of one call between hosts. Decoded they take up to 40 times as much, because the engine holds each byte of a
/// `list<u8>` as a value of its own.
pub const MAX_REMOTE_BYTES: usize = 8 << 20;

/// Values in the parameters, or results, of one call between hosts; 40 bytes each, so this is 160 MiB.
pub const MAX_REMOTE_VALUES: usize = 4 << 20;

/// Types of a call between hosts may nest this deep; the deepest of ours nests six times.
pub const MAX_REMOTE_NESTING: u32 = 64;

/// A call from another host that does not say how long its caller waits: what wasmCloud's own host and SDK wait.
pub const REMOTE_CALL: Duration = Duration::from_secs(10);

/// The longest time that a caller on another host may ask for: what the host itself gives to work that no client waits for.
pub const MAX_REMOTE_CALL: Duration = BACKGROUND_CALL;

/// Calls from other hosts that one component serves at once, queue included. Above it they wait where they arrived; the pool's own queue
/// (256 by default) refuses long before that.
pub const MAX_REMOTE_CALLS: usize = 1_024;

/// Calls from other hosts whose parameters need more than one message, at once for the whole host: these are the ones that take memory
/// before a component's own limits see them.
pub const MAX_LARGE_REMOTE_CALLS: usize = 4;

/// The message that tells another host why a call failed is cut here.
pub const MAX_REMOTE_FAILURE_BYTES: usize = 16 << 10;

/// How long the server of the lattice may take to confirm a new subscription.
pub const SUBSCRIBE: Duration = Duration::from_secs(2);

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

/// How much threads that compile give way, from 0 (not at all) to 19: a fifteenth of the processor when others want all of it.
pub const COMPILER_NICENESS: i32 = 12;

/// Log records that may wait to be written: some 5 MB. More are dropped and counted, so that a log that nobody reads stops nobody.
pub const LOG_QUEUE: usize = 16_384;

/// Bytes of log records that are written at once.
pub const LOG_WRITE_BYTES: usize = 64 << 10;
