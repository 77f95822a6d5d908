//! Encrypted connections to PostgreSQL, with certificates that the test makes.

use std::path::Path;
use std::process::Command;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::proxy::Proxy;
use super::server::Server as Postgres;
use super::{PASSWORD, Stage, launch_at, refused};

/// The settings of `openssl`: a root, the certificate of a server, and one that is both.
const OPENSSL: &str = "
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost
[both]
basicConstraints = critical, CA:TRUE
subjectAltName = DNS:localhost
";

/// Makes `NAME.pem` and `NAME.key` in the folder. `issuer`: the name of the root that signs it, if it is not signed by
/// itself.
fn certificate(folder: &Path, name: &str, kind: &str, issuer: Option<&str>) {
    std::fs::write(folder.join("openssl.cnf"), OPENSSL).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-nodes"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-extensions", kind]);
    openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    if let Some(issuer) = issuer {
        openssl.args(["-CA", &format!("{issuer}.pem"), "-CAkey", &format!("{issuer}.key")]);
    }
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a server with the certificate `server.pem` of this folder. Returns its port, too.
fn start(folder: &Path) -> (Postgres, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (Postgres::start_with("off", Some((folder, port))).unwrap(), port)
}

async fn shell(postgres: &Postgres) -> PgConnection {
    let url = postgres.url("public");
    url.split("&search_path").next().unwrap().parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

/// Makes a role that has to encrypt its connections and to know its password.
async fn require_encryption(postgres: &Postgres, port: u16) {
    let mut conn = shell(postgres).await;
    let file: String = sqlx::query_scalar("SHOW hba_file").fetch_one(&mut conn).await.unwrap();
    let sql = format!(
        "CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA jobs AUTHORIZATION app; \
         COPY (VALUES ('local all all trust'), ('hostssl all app samehost scram-sha-256')) TO '{file}'"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut conn).await.unwrap();
    let wrong = format!("postgres://app:wrong@127.0.0.1:{port}/postgres?sslmode=require");
    let wrong: PgConnectOptions = wrong.parse().unwrap();
    // The server reads the file a moment later.
    while wrong.connect().await.is_ok() {}
    conn.close().await.unwrap();
}

/// Returns how many connections of the role there are, and how many of them are encrypted.
async fn connections(postgres: &Postgres) -> (i64, i64) {
    let sql = "SELECT count(*), count(*) FILTER (WHERE s.ssl) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid) \
               WHERE a.usename = 'app'";
    sqlx::query_as(sql).fetch_one(&mut shell(postgres).await).await.unwrap()
}

pub fn connections_are_encrypted_and_the_server_is_checked() {
    let certificates = tempfile::tempdir().unwrap();
    let files = certificates.path();
    certificate(files, "ours", "root", None);
    certificate(files, "theirs", "root", None);
    certificate(files, "server", "server", Some("ours"));
    let (postgres, port) = start(files);
    let mut stage = Stage::on(postgres);
    stage.runtime.block_on(require_encryption(&stage.postgres, port));
    let file = |parameter: &str, name: &str| format!("{parameter}={}", files.join(name).display());
    let root = |name: &str| file("sslrootcert", name);
    let url = |host: &str, port: u16, parameters: &[&str]| {
        format!("postgres://app:{PASSWORD}@{host}:{port}/postgres?search_path=jobs&{}", parameters.join("&"))
    };
    let folder = stage.folder.path().to_owned();

    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    // The last mode is the only one that looks at the name in the certificate, which is not this address.
    for (host, parameters) in [
        (if has_ipv6 { "[::1]" } else { "127.0.0.1" }, &["sslmode=require"][..]),
        ("127.0.0.1", &["sslmode=verify-ca", &root("ours.pem")]),
        ("localhost", &["sslmode=verify-full", &root("ours.pem")]),
    ] {
        let mut process = launch_at(&folder, &url(host, port, parameters));
        let server = process.ready();
        assert_eq!(stage.submit(&server, parameters[0]), 200);
        stage.has_kept_all(&server);
        let (all, encrypted) = stage.runtime.block_on(connections(&stage.postgres));
        assert!(all >= 4 && all == encrypted, "{encrypted} of {all} connections are encrypted");
        process.terminate();
        assert_eq!(process.ended().code(), Some(0), "{}", process.output());
        assert!(!process.output().contains(PASSWORD), "{}", process.output());
    }

    let name_the_issuer = "name the file with the issuer's certificate in sslrootcert of store.url";
    for (host, parameters, part) in [
        // A root that nobody has named, and one that has not signed the certificate.
        ("localhost", &["sslmode=verify-full"][..], name_the_issuer),
        ("localhost", &["sslmode=verify-full", &root("theirs.pem")], name_the_issuer),
        ("127.0.0.1", &["sslmode=verify-ca", &root("theirs.pem")], name_the_issuer),
        // A name that is not in the certificate.
        (
            "127.0.0.1",
            &["sslmode=verify-full", &root("ours.pem")],
            "name the host in store.url as the certificate does",
        ),
        // Files that cannot be used.
        (
            "localhost",
            &["sslmode=verify-full", &root("none.pem")],
            "none.pem of sslrootcert in store.url cannot be read",
        ),
        (
            "localhost",
            &["sslmode=verify-full", &root("server.key")],
            "server.key of sslrootcert in store.url has no certificate",
        ),
        (
            "localhost",
            &["sslmode=require", &file("sslcert", "server.pem"), &file("sslkey", "ours.pem")],
            "ours.pem of sslkey in store.url has no private key",
        ),
        // A file that nobody would look at.
        ("localhost", &["sslmode=require", &root("ours.pem")], "sslrootcert needs sslmode=verify-full"),
        // The server wants encryption.
        ("localhost", &["sslmode=disable"], "check the user and sslmode in store.url"),
    ] {
        let said = refused(&folder, &url(host, port, parameters));
        assert!(said.contains(part), "{host} {parameters:?}: {said}");
    }
    let wrong = url("localhost", port, &["sslmode=verify-full", &root("ours.pem")]).replace(PASSWORD, "another");
    let said = refused(&folder, &wrong);
    assert!(said.contains("refuses the user or the password") && !said.contains("another"), "{said}");

    // PostgreSQL offers no encryption on its Unix socket, so this is a server without TLS.
    let proxy = Proxy::start(&stage.postgres.url("jobs"));
    for mode in ["sslmode=require", "sslmode=verify-full"] {
        let said = refused(&folder, &url("127.0.0.1", proxy.port(), &[mode]));
        assert!(said.contains("PostgreSQL offers no encryption") && said.contains("ssl = on"), "{mode}: {said}");
    }

    // The manual of PostgreSQL shows how to make a certificate that signs itself, which is then an authority too.
    let self_signed = tempfile::tempdir().unwrap();
    certificate(self_signed.path(), "server", "both", None);
    let (_other, port) = start(self_signed.path());
    let own = format!("sslrootcert={}", self_signed.path().join("server.pem").display());
    let said = refused(&folder, &url("localhost", port, &["sslmode=verify-full", &own]));
    assert!(said.contains("basicConstraints = CA:FALSE"), "{said}");
}
