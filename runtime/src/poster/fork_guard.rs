//! Which process a poster belongs to: its threads stay behind when the program forks.

/// The process that something was started in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard(u32);

impl ForkGuard {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether this is another process: a fork of that one. A system call, well below a microsecond.
    pub(crate) fn is_forked(self) -> bool {
        std::process::id() != self.0
    }
}
