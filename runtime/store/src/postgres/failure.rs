//! What an error of PostgreSQL means: whether the same batch can succeed later, and what the operator can do.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{encryption, pooler};
use crate::backend::Cause;

/// Returns whether the operation would fail again, even if the server and the network work.
pub(super) fn is_permanent(error: &sqlx::Error) -> bool {
    match error {
        // The classes and codes of SQLSTATE, from https://www.postgresql.org/docs/current/errcodes-appendix.html:
        // a value of a wrong form or too large (22), a row that a constraint refuses (23), a statement that the schema
        // does not allow (42, apart from missing privileges and what a pooler causes), and a limit of PostgreSQL itself
        // (54).
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ![MISSING_PRIVILEGE, KNOWN_STATEMENT].contains(&&*code)
                && ["22", "23", "42", "54"].iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

/// Returns whether a server that works has ended the connection, or is just starting or stopping.
pub(super) fn is_interruption(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        sqlx::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P0")),
        _ => false,
    }
}

/// Returns whether there is no connection to a server. A server whose certificate is not accepted is there.
pub(super) fn is_unreachable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if encryption::advice(error).is_none())
}

const MISSING_PRIVILEGE: &str = "42501";
/// A session that was another client's knows a statement under the same name.
const KNOWN_STATEMENT: &str = "42P05";
/// A session that was another client's does not know a statement.
const UNKNOWN_STATEMENT: &str = "26000";

/// The advice for each SQLSTATE code, or for the beginning of a code.
const ADVICE: &[(&str, &str)] = &[
    (
        "08P01",
        "a pooler refuses or has ended the connection; PgBouncer needs pool_mode = session for this database, and a pool_size \
         of 10 for each server",
    ),
    (KNOWN_STATEMENT, pooler::ADVICE),
    (UNKNOWN_STATEMENT, pooler::ADVICE),
    (
        "28000",
        "PostgreSQL refuses the user, this address, or a connection without encryption; check the user and sslmode in \
         store.url, and the server's pg_hba.conf",
    ),
    ("28", "PostgreSQL refuses the user or the password; check both in store.url, and the server's pg_hba.conf"),
    ("3D000", "the database does not exist; create it, or correct its name in store.url"),
    ("3F000", "the schema does not exist; create it, or correct search_path in store.url"),
    (MISSING_PRIVILEGE, "the user of store.url may not do that; grant the privilege to the user"),
    ("25006", "this server is a read-only standby; point store.url to the primary server"),
    ("25P03", "the transaction took too long, so PostgreSQL ended it"),
    ("53100", "the disk of the PostgreSQL server is full; free some space there"),
    ("53200", "the PostgreSQL server has too little memory"),
    ("53300", "PostgreSQL has no free connection; close other connections, or raise max_connections of the server"),
    ("55P03", "another session holds a lock for too long; end that session"),
    ("57014", "the statement took too long, or an administrator cancelled it"),
    ("57P01", "an administrator has ended the connection or stops the server"),
    ("57P02", "the PostgreSQL server has crashed and starts again"),
    ("57P03", "the PostgreSQL server starts or stops at the moment"),
    ("40001", "another transaction has changed the same rows"),
    ("40P01", "another transaction has locked the same rows in another order"),
    (
        "42P01",
        "a table of the store is missing; restore the schema from a backup, or drop it to begin with an empty one",
    ),
    ("58030", "the PostgreSQL server has an I/O error; look into its log"),
    ("XX00", "the PostgreSQL server has found damaged data or a fault of its own; look into its log"),
];

const NO_CONNECTION: &str =
    "there is no connection to PostgreSQL; check the host and the port in store.url, and the server";
const NO_ENCRYPTION: &str = "PostgreSQL offers no encryption, as always on a Unix socket; set ssl = on in the server's \
    postgresql.conf, or, if nobody else can listen on the way, sslmode=disable in store.url";

/// Returns the error, with advice for the operator if there is any. The text has one line.
pub(super) fn explained(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let error = match error {
        // The text says what to do.
        sqlx::Error::Configuration(why) => return one_line(&why.to_string()).into(),
        other => other,
    };
    let advice = match &error {
        sqlx::Error::Database(error) => error.code().and_then(|code| {
            let known = ADVICE.iter().find(|(known, _)| code.starts_with(known))?;
            Some(format!("{} (SQLSTATE {code})", known.1))
        }),
        sqlx::Error::Io(error) => Some(encryption::advice(error).unwrap_or(NO_CONNECTION).into()),
        sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => Some(NO_ENCRYPTION.into()),
        sqlx::Error::Tls(_) => {
            Some("the encrypted connection to PostgreSQL fails; check sslmode and sslrootcert in store.url".into())
        }
        sqlx::Error::PoolTimedOut => Some("all connections for reading are busy, or PostgreSQL does not answer".into()),
        _ => None,
    };
    match advice {
        Some(advice) => one_line(&format!("{advice}: {error}")).into(),
        None => error.into(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The longest time that a read takes. The server ends a statement earlier, and a free connection is found or missed
/// earlier, unless the network has lost a question or its answer.
const READ: Duration = Duration::from_secs(40);

/// Returns the answer of a read, or an error with advice.
pub(super) fn answer<'a, T: 'a>(
    read: impl Future<Output = Result<T, sqlx::Error>> + Send + 'a,
) -> BoxFuture<'a, Result<T, Cause>> {
    async move { within(READ, read).await.map_err(|error| Cause::from(explained(error))) }.boxed()
}

/// Awaits a call to the server, but not for longer than `limit`. After an error, close the connection: the call may
/// still be under way.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    // Some cases of the suite move Tokio's clock forward, which would end a timeout while the server works.
    if cfg!(test) { call.await } else { answered(limit, call).await }
}

async fn answered<T>(limit: Duration, call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let what = format!("PostgreSQL did not answer within {} s", limit.as_secs());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_an_error_with_advice() {
        let hangs = std::future::pending::<Result<(), sqlx::Error>>();
        let error = answered(Duration::from_secs(7), hangs).await.unwrap_err();
        assert!(!is_permanent(&error));
        let text = explained(error).to_string();
        assert!(text.contains("no connection to PostgreSQL") && text.ends_with("did not answer within 7 s"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_permanent() {
        assert!(is_permanent(&sqlx::Error::RowNotFound));
        assert!(!is_permanent(&sqlx::Error::PoolTimedOut));
        assert_eq!(one_line("a\n  b"), "a b");
    }
}
