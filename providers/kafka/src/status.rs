//! What is told about a consumer while it runs.

/// A look at a running consumer, for health checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// The topics were found, and the consumer is in its group or joining it.
    pub started: bool,
    /// Partitions that are this member's. 0 is normal for a member of a large group.
    pub assigned_partitions: usize,
    /// Those of them that stand still because a dependency is down.
    pub held_partitions: usize,
}
