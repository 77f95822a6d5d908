//! The tables as a copy from SQLite to PostgreSQL sees them, and the form in which a row goes over.
//!
//! A row is a line in the text format of `COPY`, which PostgreSQL also writes. So two tables are the same if their lines
//! are. See <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>.

use std::fmt::Write as _;

use uuid::Uuid;

use postback_wire::line::hex_digits;

/// What a column holds, and how a value goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    /// A time of the store's own clock.
    Due,
    Bool,
    Real,
    Text,
    Bytes,
    /// Sixteen bytes in SQLite, and a `uuid` in PostgreSQL.
    Uuid,
}

/// A column: its name in PostgreSQL, its name in SQLite, and what it holds.
pub(crate) type Column = (&'static str, &'static str, Kind);

pub(crate) struct Table {
    pub name: &'static str,
    /// What SQLite reads the rows from.
    pub from: &'static str,
    /// The columns of the primary key.
    pub key: &'static [Column],
    pub columns: &'static [Column],
    /// Whether PostgreSQL counts the key.
    pub counted: bool,
}

const SEQ: Column = ("seq", "seq", Kind::Int);
const fn int(name: &'static str) -> Column {
    (name, name, Kind::Int)
}
const fn due(name: &'static str) -> Column {
    (name, name, Kind::Due)
}
const fn bool(name: &'static str) -> Column {
    (name, name, Kind::Bool)
}
const fn text(name: &'static str) -> Column {
    (name, name, Kind::Text)
}
const fn bytes(name: &'static str) -> Column {
    (name, name, Kind::Bytes)
}

const fn table(name: &'static str, key: &'static [Column], columns: &'static [Column]) -> Table {
    Table { name, from: name, key, columns, counted: false }
}

/// A registration is beside the body in SQLite, if it came with the request.
const REGISTRATIONS: &str = "(SELECT seq, text FROM registration UNION ALL \
    SELECT b.seq, b.registration FROM request_body AS b WHERE b.registration IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM registration AS r WHERE r.seq = b.seq))";

/// All tables that are copied, in this order. What belongs to processes stays: the table `node`, and the claims.
pub(crate) const TABLES: &[Table] = &[
    Table {
        counted: true,
        ..table(
            "request",
            &[SEQ],
            &[
                due("due"),
                int("epoch"),
                int("failures"),
                int("crashes"),
                int("created"),
                int("started"),
                int("finished"),
                due("deadline"),
                int("timeout"),
                int("state"),
                int("priority"),
                bool("later"),
                bool("cancel"),
                text("id"),
                text("route"),
                text("owner"),
                text("extras"),
                bytes("idempotency"),
            ],
        )
    },
    table("request_body", &[SEQ], &[bytes("headers"), bytes("body")]),
    Table { from: REGISTRATIONS, ..table("registration", &[SEQ], &[text("text")]) },
    table("outcome", &[SEQ], &[int("epoch"), text("reason"), bytes("result"), bytes("error"), text("detail")]),
    table(
        "run",
        &[int("request"), int("epoch")],
        &[int("started"), int("ended"), ("how", "\"end\"", Kind::Text), text("detail")],
    ),
    table(
        "run_progress",
        &[int("request")],
        &[
            int("epoch"),
            int("sequence"),
            ("fraction", "fraction", Kind::Real),
            text("message"),
            bytes("detail"),
            int("at"),
        ],
    ),
    table("checkpoint", &[int("request")], &[bytes("value"), int("saved")]),
    Table {
        counted: true,
        ..table(
            "report",
            &[SEQ],
            &[
                ("id", "id", Kind::Uuid),
                due("due"),
                int("epoch"),
                int("attempt"),
                int("held"),
                int("created"),
                int("finished"),
                int("state"),
                text("subject"),
                text("origin"),
                text("refused"),
            ],
        )
    },
    table(
        "report_body",
        &[SEQ],
        &[
            text("url"),
            bytes("headers"),
            text("secret"),
            bytes("body"),
            bool("by_operator"),
            ("webhook_id", "webhook_id", Kind::Uuid),
        ],
    ),
    table(
        "attempt",
        &[int("report"), int("n")],
        &[int("epoch"), int("started"), int("took"), int("status"), text("error"), bytes("response")],
    ),
    Table {
        counted: true,
        ..table("disabled", &[SEQ], &[text("url"), int("since"), text("reason"), bool("by_operator")])
    },
    Table {
        counted: true,
        ..table(
            "token",
            &[SEQ],
            &[text("id"), text("name"), bytes("hash"), text("terms"), int("created"), int("expires"), int("revoked")],
        )
    },
    table("token_use", &[text("id")], &[int("used")]),
    Table {
        counted: true,
        ..table("audit", &[SEQ], &[int("at"), text("who"), text("what"), text("subject"), text("detail")])
    },
    table("schedule", &[text("name")], &[int("last")]),
    table("handed_in", &[text("id")], &[text("problem"), bytes("content")]),
    // Each node has rows of its own in PostgreSQL. These are the rows of none of them.
    table("series", &[int("kind"), text("name"), int("step"), int("at")], &[text("figures"), ("node", "0", Kind::Int)]),
];

impl Table {
    /// Returns the columns of the key and all others.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Column> {
        self.key.iter().chain(self.columns)
    }

    /// Returns the statement with which SQLite reads the rows in the order of their keys. `after`: only those after a
    /// key, whose values are variables.
    pub(crate) fn read(&self, after: bool) -> String {
        let columns: Vec<_> = self.all().map(|(_, name, _)| *name).collect();
        let key: Vec<_> = self.key.iter().map(|(_, name, _)| *name).collect();
        let (columns, key, from) = (columns.join(", "), key.join(", "), self.from);
        let variables = vec!["?"; self.key.len()].join(", ");
        let only = if after { format!(" WHERE ({key}) > ({variables})") } else { String::new() };
        format!("SELECT {columns} FROM {from}{only} ORDER BY {key}")
    }
}

/// A value as SQLite returns it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A value that a column of this kind cannot have.
#[derive(Debug, thiserror::Error)]
#[error("a value of the column {column} has the wrong type")]
pub(crate) struct WrongType {
    column: &'static str,
}

/// What the lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// PostgreSQL reads them.
    Copy,
    /// They are compared with those that PostgreSQL writes.
    Compare,
}

/// Adds a value to a line. `shift` is what is added to times of the store's own clock.
pub(crate) fn write(
    line: &mut String,
    (column, _, kind): &Column,
    value: Value<'_>,
    shift: i64,
    purpose: Purpose,
) -> Result<(), WrongType> {
    // The results of `write!` are ignored, because writing to a `String` cannot fail.
    match (kind, value) {
        (_, Value::Null) => line.push_str("\\N"),
        (Kind::Int, Value::Int(number)) => drop(write!(line, "{number}")),
        (Kind::Due, Value::Int(time)) => drop(write!(line, "{}", time.saturating_add(shift))),
        (Kind::Bool, Value::Int(is)) => line.push(if is == 0 { 'f' } else { 't' }),
        (Kind::Real, Value::Real(number)) if purpose == Purpose::Copy => drop(write!(line, "{number}")),
        // The bits, because two programs write the same number in two ways.
        (Kind::Real, Value::Real(number)) => drop(write!(line, "{:016x}", number.to_bits())),
        (Kind::Text, Value::Text(text)) => escape(line, text),
        (Kind::Bytes, Value::Bytes(bytes)) => {
            line.push_str("\\\\x");
            line.extend(hex_digits(bytes));
        }
        (Kind::Uuid, Value::Bytes(bytes)) => {
            let uuid = Uuid::from_slice(bytes).map_err(|_| WrongType { column })?;
            let _ = write!(line, "{uuid}");
        }
        _ => return Err(WrongType { column }),
    }
    Ok(())
}

fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\u{8}' => line.push_str("\\b"),
            '\u{c}' => line.push_str("\\f"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{b}' => line.push_str("\\v"),
            '\\' => line.push_str("\\\\"),
            // PostgreSQL cannot store it.
            '\0' => line.push('\u{fffd}'),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, value: Value<'_>) -> String {
        let mut line = String::new();
        write(&mut line, &("c", "c", kind), value, 7, Purpose::Compare).unwrap();
        line
    }

    #[test]
    fn values_go_over_in_the_text_format_of_copy() {
        assert_eq!(line(Kind::Text, Value::Null), "\\N");
        assert_eq!(line(Kind::Text, Value::Text("a\\N\tb\nc\r\u{8}\u{b}\u{c}é")), "a\\\\N\\tb\\nc\\r\\b\\v\\fé");
        assert_eq!(line(Kind::Bytes, Value::Bytes(&[0, 0x5c, 0xff])), "\\\\x005cff");
        assert_eq!(
            (line(Kind::Int, Value::Int(-3)), line(Kind::Due, Value::Int(-3))),
            ("-3".to_owned(), "4".to_owned())
        );
        assert_eq!(
            (line(Kind::Bool, Value::Int(1)), line(Kind::Bool, Value::Int(0))),
            ("t".to_owned(), "f".to_owned())
        );
        assert_eq!(line(Kind::Uuid, Value::Bytes(&[0x1a; 16])), "1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a");
        assert_eq!(line(Kind::Real, Value::Real(0.5)), "3fe0000000000000");
        assert!(write(&mut String::new(), &("c", "c", Kind::Uuid), Value::Bytes(&[1]), 0, Purpose::Copy).is_err());
    }

    #[test]
    fn rows_are_read_in_the_order_of_their_keys() {
        let run = TABLES.iter().find(|table| table.name == "run").unwrap();
        let sql = "SELECT request, epoch, started, ended, \"end\", detail FROM run WHERE (request, epoch) > (?, ?) ORDER BY request, epoch";
        assert_eq!(run.read(true), sql);
    }
}
