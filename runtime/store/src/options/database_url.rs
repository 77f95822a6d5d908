//! The URL of a PostgreSQL database, which shows no password.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The schema that contains the tables of the store, if the URL names no other.
const SCHEMA: &str = "postback";
/// The largest number of bytes of a URL.
const LONGEST: usize = 4 << 10;
/// The largest number of bytes of a name in PostgreSQL.
const LONGEST_NAME: usize = 63;
/// The parameters of the URL that are given to the driver, beside `search_path`.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user", "password", "application_name"];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// The parameters that name files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];
/// The modes that check the certificate of the server.
const VERIFYING: [&str; 2] = ["verify-ca", "verify-full"];

/// The URL of a PostgreSQL database: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?search_path=SCHEMA`. `Debug` and
/// `Display` show the URL without the password and without parameters, apart from the schema.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// The URL for the driver, without `search_path`.
    driver: String,
    shown: String,
    schema: String,
    /// The parameters that name files with certificates or a key, and their values.
    files: Vec<(&'static str, String)>,
}

/// The reason why a text is not the URL of a database. The reason never repeats a value, because the value may contain
/// the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseUrlError(String);

impl DatabaseUrl {
    /// Returns the URL with the password, for the driver.
    pub(crate) fn reveal(&self) -> &str {
        &self.driver
    }

    /// Returns the parameters that name files with certificates or a key, and their values.
    pub(crate) fn files(&self) -> &[(&'static str, String)] {
        &self.files
    }

    /// Returns the name of the schema that contains the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let wrong = |what: &str| Err(DatabaseUrlError(what.to_owned()));
        if text.len() > LONGEST {
            return wrong("the URL of the database is longer than 4096 bytes");
        }
        let Ok(mut url) = Url::parse(text) else {
            return wrong(
                "the URL of the database cannot be read; in a user name or a password, write @ as %40, / as \
                          %2F, : as %3A, # as %23 and % as %25",
            );
        };
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return wrong("the URL of the database begins with postgres://");
        }
        let (mut schema, mut socket) = (SCHEMA.to_owned(), None);
        let (mut files, mut verifies) = (Vec::new(), false);
        let mut kept = Vec::new();
        for (name, value) in url.query_pairs().into_owned() {
            match name.as_str() {
                "search_path" if is_schema(&value) => schema = value,
                "search_path" => {
                    return wrong(
                        "search_path is one name of at most 63 characters: small letters, digits and _, not \
                                  beginning with a digit or with pg_",
                    );
                }
                "sslmode" if !SSL_MODES.contains(&value.as_str()) => {
                    return Err(DatabaseUrlError(format!("sslmode is one of {}", SSL_MODES.join(", "))));
                }
                "port" if value.parse::<u16>().is_err() => return wrong("port is a number up to 65535"),
                known if PARAMETERS.contains(&known) => {
                    match known {
                        "host" => socket = Some(value.clone()),
                        "sslmode" => verifies = VERIFYING.contains(&value.as_str()),
                        _ => {}
                    }
                    if let Some(file) = FILES.into_iter().find(|file| *file == known) {
                        files.push((file, value.clone()));
                    }
                    kept.push((name, value));
                }
                _ => {
                    return Err(DatabaseUrlError(format!(
                        "the URL of the database has an unknown parameter; the known ones are search_path, {}",
                        PARAMETERS.join(", ")
                    )));
                }
            }
        }
        check_files(&files, verifies)?;
        let host = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned).or(socket);
        let Some(host) = host else {
            return wrong("the URL of the database names no host; for a Unix socket, add ?host=/FOLDER");
        };
        let database = url.path().trim_start_matches('/').to_owned();
        if database.is_empty() {
            return wrong("the URL names no database: postgres://USER:PASSWORD@HOST/DATABASE");
        }
        let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let of_schema = if schema == SCHEMA { String::new() } else { format!("?search_path={schema}") };
        let shown = format!("postgres://{user}{host}{port}/{database}{of_schema}");
        url.set_query(None);
        // The driver takes the brackets around an address of IPv6 for a part of a name, which no certificate has.
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            kept.push(("host".to_owned(), address.to_owned()));
        }
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Ok(Self { driver: url.into(), shown, schema, files })
    }
}

/// Checks which files are named. `verifies`: the certificate of the server is checked.
fn check_files(files: &[(&str, String)], verifies: bool) -> Result<(), DatabaseUrlError> {
    let has = |name: &str| files.iter().any(|(file, _)| *file == name);
    let wrong = |what: &str| Err(DatabaseUrlError(what.to_owned()));
    if files.iter().any(|(_, value)| value.trim_start().starts_with("-----")) {
        return wrong("sslrootcert, sslcert and sslkey name files; write what the URL contains into a file");
    }
    if has("sslcert") != has("sslkey") {
        return wrong("sslcert and sslkey go together: the certificate of this client, and its key");
    }
    if has("sslrootcert") && !verifies {
        return wrong(
            "sslrootcert needs sslmode=verify-full, or at least sslmode=verify-ca: with other modes, nobody checks whose \
             server it is",
        );
    }
    Ok(())
}

/// Returns whether this is a name that PostgreSQL accepts without quotes.
fn is_schema(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    letters && begins && name.len() <= LONGEST_NAME && !name.starts_with("pg_")
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_shown_without_the_password() {
        let full = "postgres://app:s3cret%40@db.example:6432/jobs?sslmode=verify-full&password=s3cret&search_path=mine";
        let url = url(full);
        assert_eq!(url.to_string(), "postgres://app@db.example:6432/jobs?search_path=mine");
        assert_eq!(url.schema(), "mine");
        assert!(!format!("{url:?}").contains("s3cret"));
        assert!(url.reveal().contains("s3cret%40") && !url.reveal().contains("search_path"), "{}", url.reveal());
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let url = url("postgresql:///jobs?host=/var/run/postgresql");
        assert_eq!(url.to_string(), "postgres:///var/run/postgresql/jobs");
        assert_eq!(url.schema(), "postback");
    }

    #[test]
    fn an_address_of_ipv6_is_given_to_the_driver_without_brackets() {
        let url = url("postgres://u@[2001:db8::1]:6432/db");
        assert!(url.reveal().ends_with("/db?host=2001%3Adb8%3A%3A1"), "{}", url.reveal());
        assert_eq!(url.to_string(), "postgres://u@[2001:db8::1]:6432/db");
    }

    #[test]
    fn a_root_certificate_is_kept_with_a_mode_that_checks_it() {
        let url = url("postgres://u@h/db?sslrootcert=/etc/root.pem&sslmode=verify-ca");
        assert!(url.reveal().contains("sslrootcert=%2Fetc%2Froot.pem"), "{}", url.reveal());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        let long = format!("postgres://u:s3cret@h/{}", "x".repeat(5_000));
        for (text, part) in [
            ("postgres://u:s3cret@/db", "cannot be read"),
            ("postgres://u:s3/cret@h/db", "%2F"),
            ("mysql://u:s3cret@h/db", "postgres://"),
            ("postgres:///db", "names no host"),
            ("postgres://u:s3cret@h", "names no database"),
            ("postgres://u:s3cret@h/db?options=-cx=s3cret", "unknown parameter"),
            ("postgres://u:s3cret@h/db?sslmode=s3cret", "verify-full"),
            ("postgres://u:s3cret@h/db?sslrootcert=/s3cret", "sslmode=verify-full"),
            ("postgres://u:s3cret@h/db?sslmode=require&sslrootcert=/s3cret", "sslmode=verify-full"),
            ("postgres://u:s3cret@h/db?sslcert=/s3cret", "go together"),
            ("postgres://u:s3cret@h/db?sslkey=-----BEGIN+PRIVATE+KEY-----s3cret", "into a file"),
            ("postgres://u:s3cret@h/db?port=s3cret", "65535"),
            ("postgres://u:s3cret@h/db?search_path=s3cret,public", "one name"),
            ("postgres://u:s3cret@h/db?search_path=pg_s3cret", "pg_"),
            ("postgres://u:s3cret@h/db?search_path=", "one name"),
            (&long, "longer"),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
