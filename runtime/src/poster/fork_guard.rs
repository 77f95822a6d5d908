//! Detects that this process was forked from the process that started a poster. A fork does not copy the poster's
//! threads.

/// The id of the process that started a poster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard(u32);

impl ForkGuard {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether the current process is a fork of the process that started the poster. This check makes one system call
    /// and takes much less than a microsecond.
    pub(crate) fn is_forked(self) -> bool {
        std::process::id() != self.0
    }
}
