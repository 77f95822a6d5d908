//! What the backends have in common that store rows in a database: how values are converted to columns, and how states
//! are spelled.

pub(crate) mod codec;
pub(crate) mod states;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub(crate) mod tables;
pub(crate) mod waiting;
