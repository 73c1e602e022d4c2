//! The one wasmtime engine of the process. Everything that changes compiled code is set here and nowhere else, so that the cache of
//! compiled artifacts is valid for exactly this constructor.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// The engine and the thread that advances its epoch.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    /// Compiles; see [`Engine::compile`].
    compiler: Arc<ThreadPool>,
}

impl Engine {
    /// Makes the engine and starts its epoch clock. The clock ends with the last clone of the engine.
    ///
    /// # Errors
    /// When the machine refuses the address space that the pool reserves, or a thread.
    pub fn new() -> anyhow::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        // While a version replaces another, both have instances.
        let instances = limits::MAX_INSTANCES * 2;
        pool.total_component_instances(instances)
            .total_core_instances(instances * 4)
            .total_memories(instances)
            .total_tables(instances * 4)
            .total_stacks(instances)
            .max_core_instances_per_component(limits::MAX_CORE_INSTANCES_PER_COMPONENT)
            .max_tables_per_component(limits::MAX_TABLES_PER_COMPONENT)
            .max_memories_per_component(limits::MAX_MEMORIES_PER_COMPONENT)
            .table_elements(limits::MAX_TABLE_ELEMENTS)
            .max_memory_size(limits::MAX_MEMORY_BYTES)
            .max_component_instance_size(1 << 20)
            .max_core_instance_size(1 << 20)
            .linear_memory_keep_resident(limits::KEEP_RESIDENT_BYTES)
            // Where the kernel can say which pages were written (Linux 6.7), only those are put back between two guests, not all that stay mapped.
            .pagemap_scan(Enabled::Auto)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10);

        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .memory_init_cow(true)
            .parallel_compilation(true)
            .memory_reservation(limits::MEMORY_RESERVATION_BYTES)
            .memory_guard_size(limits::MEMORY_GUARD_BYTES)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let inner = wasmtime::Engine::new(&config).map_err(anyhow::Error::from)?;

        let weak = inner.weak();
        std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(limits::EPOCH_TICK);
            }
        })?;
        let compiler = ThreadPoolBuilder::new()
            .thread_name(|number| format!("compiler-{number}"))
            .start_handler(|_| {
                // On Linux niceness is a thread's own. Where it cannot be had, compiling is only less polite.
                let _ = rustix::process::nice(limits::COMPILER_NICENESS);
            })
            .build()?;
        Ok(Self { inner, compiler: Arc::new(compiler) })
    }

    /// The wasmtime engine.
    #[must_use]
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Compiles a component on threads that give way to everything else: new code is made while the old serves, and whoever waits for an
    /// answer goes before whoever waits for a compiler. Blocking.
    ///
    /// # Errors
    /// The compiler's.
    pub fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        self.compiler.install(|| Component::new(&self.inner, bytes))
    }

    /// Changes whenever code compiled by another engine configuration or wasmtime version must not be used.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // The standard hasher with its fixed default keys gives the same value in every process.
        let mut hasher = std::hash::DefaultHasher::new();
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}
