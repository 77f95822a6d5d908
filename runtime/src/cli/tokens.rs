//! The command `tokens`: makes, lists and revokes the tokens of callers.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::offline_store::{BY, with_new_store, with_store};
use super::print::print_note;
use super::remote::{Remote, json, listed};
use super::table::Table;
use crate::access::{self, Created, HashText, HostPattern, NewSecret, Rate, Scope, Source, TokenRequest, TokenView};
use crate::admin::client::{Client, ClientError};
use crate::settings::Settings;
use postback_store::Store;
use postback_wire::line::{Causes, Escaped};
use postback_wire::time::Clock;

/// The subcommands of `tokens`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Print a new token, and accept it from now on; nobody can show it again
    New(Box<New>),
    /// List the tokens: those of the settings and those that `tokens new` has made
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Refuse a token from now on; its requests go on
    Revoke {
        /// The id or the name of the token, as `tokens list` shows them
        token: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// The arguments of `tokens new`. What is left out is not limited.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// A name for people, such as the name of the program that will use the token
    name: String,
    /// What the token is for: submit, read, cancel; all of them, if left out
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// The routes that the token is for; all of them, if left out
    #[arg(long, value_name = "ROUTES", value_delimiter = ',')]
    routes: Vec<String>,
    /// When the token expires: a time such as 2027-01-31T00:00:00Z, a day, or a duration from now such as 90d
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// The hosts that the callers' own webhooks may name, such as example.com or *.example.com; all, if left out
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', value_parser = host)]
    webhook_hosts: Vec<HostPattern>,
    /// The calls that the token may make in a time, such as 10/s or 100/min; all of them may come at once
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<Rate>,
    /// The requests of this token that may wait for a run
    #[arg(long, value_name = "NUMBER")]
    max_queued: Option<u64>,
    /// The bytes of these requests together, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    max_queued_bytes: Option<bytesize::ByteSize>,
    /// Do not keep the token: print the table `[[server.token]]` for the settings to standard error
    #[arg(long)]
    settings: bool,
    /// Print JSON; the member `token` is the token
    #[arg(long, conflicts_with = "settings")]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text.trim());
    known.ok_or_else(|| "the scopes are submit, read and cancel".to_owned())
}

fn host(text: &str) -> Result<HostPattern, String> {
    text.parse().map_err(|error: access::NotAHost| error.to_string())
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error: access::NotARate| error.to_string())
}

impl Tokens {
    fn remote(&self) -> &Remote {
        match self {
            Self::New(new) => &new.remote,
            Self::List { remote, .. } | Self::Revoke { remote, .. } => remote,
        }
    }

    pub(super) fn common(&self) -> &super::Common {
        &self.remote().common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, settings: &Settings) -> Result<String, String> {
        if let Self::New(new) = self
            && new.settings
        {
            return new.for_settings();
        }
        let place = settings.store.clone();
        if let Some(client) = self.remote().find(&place.place, settings.delivery.ca_file.as_deref())? {
            return self.ask(&client).await;
        }
        match self {
            Self::New(new) => {
                let request = new.request(&Clock::system());
                let created = with_new_store(place, async |store| Ok(create(store, &request).await)).await?;
                new.shown(&created)
            }
            Self::List { json: is_json, .. } => {
                let listed = with_store(place, async |store| {
                    let listed = access::list(store, &settings.access, None).await;
                    Ok(listed.map_err(|error| Causes(&error).to_string()))
                });
                let listed = listed.await?;
                if *is_json { json(&listed) } else { Ok(as_lines(&listed)) }
            }
            Self::Revoke { token, json, .. } => {
                let revoked = with_store(place, async |store| {
                    let revoked = access::revoke(store, &settings.access, None, BY, token).await;
                    Ok(revoked.map_err(|error| Causes(&error).to_string()))
                });
                is_revoked(&revoked.await?, *json)
            }
        }
    }
}

impl Tokens {
    /// Runs the command by the running server, which accepts or refuses the token at once.
    async fn ask(&self, client: &Client) -> Result<String, String> {
        let said = |error: ClientError| Escaped(&error.to_string()).to_string();
        match self {
            Self::New(new) => {
                let created: Created = client.post("/tokens", &new.request(&Clock::system())).await.map_err(said)?;
                new.shown(&created)
            }
            Self::List { json: is_json, .. } => {
                let listed: Vec<TokenView> = listed(client, "/tokens", &[], usize::MAX).await.map_err(said)?;
                if *is_json { json(&listed) } else { Ok(as_lines(&listed)) }
            }
            Self::Revoke { token, json, .. } => {
                let token = percent_encoded(token);
                let revoked: TokenView = client.delete(&format!("/tokens/{token}")).await.map_err(said)?;
                is_revoked(&revoked, *json)
            }
        }
    }
}

fn is_revoked(revoked: &TokenView, as_json: bool) -> Result<String, String> {
    if as_json {
        return json(revoked);
    }
    let (id, name) = (Escaped(&revoked.id), Escaped(&revoked.name));
    Ok(format!("the token {id} ({name}) is revoked; its requests go on\n"))
}

/// Writes a text so that it fits into one segment of a path.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        // The results are ignored, because writing to a `String` cannot fail.
        let _ = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => write!(encoded, "{}", char::from(byte)),
            _ => write!(encoded, "%{byte:02X}"),
        };
        encoded
    })
}

async fn create(store: &Store, request: &TokenRequest) -> Result<Created, String> {
    let created = access::create(store, None, &Clock::system(), BY, request).await;
    created.map_err(|error| Causes(&error).to_string())
}

impl New {
    /// Writes the new token for standard output, and the advice to standard error.
    fn shown(&self, created: &Created) -> Result<String, String> {
        print_note(&advice(&created.view));
        if self.json { json(created) } else { Ok(format!("{}\n", Escaped(&created.token))) }
    }

    /// Makes the request for the token that the arguments describe.
    fn request(&self, clock: &Clock) -> TokenRequest {
        let after = |duration: Duration| clock.now().saturating_add(duration).to_string();
        let expires = self.expires.as_ref().map(|text| match humantime::parse_duration(text.trim()) {
            Ok(duration) => after(duration),
            Err(_) => text.clone(),
        });
        TokenRequest {
            name: self.name.clone(),
            scopes: (!self.scopes.is_empty()).then(|| self.scopes.clone()),
            routes: self.routes.clone(),
            expires,
            webhook_hosts: self.webhook_hosts.clone(),
            rate: self.rate,
            max_queued: self.max_queued,
            max_queued_bytes: self.max_queued_bytes.map(|size| size.as_u64()),
        }
    }

    /// Makes a token that no store keeps. Prints the table for the settings.
    fn for_settings(&self) -> Result<String, String> {
        let clock = Clock::system();
        let (name, terms, expires) =
            self.request(&clock).check(clock.now()).map_err(|error| Causes(&error).to_string())?;
        let secret = NewSecret::generate().map_err(|_| access::ManageError::Random.to_string())?;
        let hash = HashText { id: secret.id().to_owned(), hash: secret.hash() };
        let mut table = format!("[[server.token]]\nname = {}\nhash = \"{hash}\"\n", quoted(&name));
        // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
        if terms.scopes.len() < Scope::ALL.len() {
            let _ = writeln!(table, "scopes = {}", list(terms.scopes.iter()));
        }
        if !terms.routes.is_empty() {
            let _ = writeln!(table, "routes = {}", list(terms.routes.iter()));
        }
        if let Some(expires) = expires {
            let _ = writeln!(table, "expires = \"{expires}\"");
        }
        if !terms.webhook_hosts.is_empty() {
            let _ = writeln!(table, "webhook_hosts = {}", list(terms.webhook_hosts.iter()));
        }
        if let Some(rate) = terms.rate {
            let _ = writeln!(table, "rate = \"{rate}\"");
        }
        if let Some(most) = terms.max_queued {
            let _ = writeln!(table, "max_queued = {most}");
        }
        if let Some(most) = terms.max_queued_bytes {
            let _ = writeln!(table, "max_queued_bytes = {most}");
        }
        print_note(&format!("to accept this token, put this table into the settings:\n{table}"));
        Ok(format!("{}\n", secret.reveal()))
    }
}

/// Writes a text as a string of TOML. JSON strings are strings of TOML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn advice(view: &TokenView) -> String {
    let (id, name) = (Escaped(&view.id), Escaped(&view.name));
    format!(
        "the token {id} ({name}) is made; callers send it in the header `authorization: Bearer TOKEN`\n\
         keep it safe: it cannot be shown again; `tokens revoke {id}` ends it\n"
    )
}

fn as_lines(listed: &[TokenView]) -> String {
    if listed.is_empty() {
        return "there is no token; make one with `tokens new NAME`\n".to_owned();
    }
    let mut table = Table::default();
    for view in listed {
        let TokenView { id, name, source, terms, expires, revoked, last_used, .. } = view;
        let scopes: Vec<_> = terms.scopes.iter().map(|scope| scope.as_str()).collect();
        let routes = if terms.routes.is_empty() { "all routes".to_owned() } else { terms.routes.join(" ") };
        let rate = terms.rate.map(|rate| rate.to_string()).unwrap_or_default();
        let until = match (revoked, expires) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) => format!("expires {at}"),
            (None, None) => String::new(),
        };
        let used = last_used.as_ref().map_or_else(|| "not used yet".to_owned(), |at| format!("last used {at}"));
        let of = if *source == Source::Settings { "of the settings" } else { "" };
        let cells = [id.as_str(), name, &scopes.join(","), &routes, &rate, &until, &used, of];
        table.row(cells.into_iter().map(|cell| Escaped(cell).to_string()).collect());
    }
    table.text()
}

#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::settings::{self, Sources};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        tokens: Tokens,
    }

    fn settings(folder: &Path, more: &str) -> Settings {
        let path = folder.join("p.toml");
        let url = format!("sqlite:{}", folder.join("x.db").display());
        std::fs::write(&path, format!("store.url = {url:?}\n{more}")).unwrap();
        let sources =
            Sources { program: "p".to_owned(), file: Some(path), text: None, flags: Vec::new(), env: Vec::new() };
        settings::load(sources, |_| None).unwrap_or_else(|errors| panic!("{errors}"))
    }

    async fn run(settings: &Settings, line: &str) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once("tokens").chain(line.split(' ')));
        line.map_err(|error| error.to_string())?.tokens.run(settings).await
    }

    #[tokio::test]
    async fn a_token_is_made_listed_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let hash = "k3v9x2m7qa:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let settings = settings(folder.path(), &format!("[[server.token]]\nname = 'fixed'\nhash = '{hash}'\n"));
        assert!(run(&settings, "list").await.unwrap_err().contains("there is no database"));
        let new = "new ci --scopes submit,read --routes /a,/b --rate 100/min --expires 90d --max-queued-bytes 1KiB";
        let token = run(&settings, new).await.unwrap();
        let id = token.split('_').nth(1).unwrap();
        assert!(token.starts_with("pbk_") && token.ends_with('\n') && token.lines().count() == 1);
        assert!(run(&settings, "new ci").await.unwrap_err().contains("\"ci\" already"));
        let listed = run(&settings, "list").await.unwrap();
        assert_eq!(listed.lines().count(), 2, "{listed}");
        for part in [id, "ci     submit,read", "/a /b", "100/min  expires 20", "not used yet  of the settings", "fixed"]
        {
            assert!(listed.contains(part), "{part}: {listed}");
        }
        let json = run(&settings, "list --json").await.unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&parsed[1]["id"], &parsed[1]["max_queued_bytes"]), (&id.into(), &1024.into()));
        assert!(!json.contains(token.trim()) && !listed.contains(token.trim()) && !json.contains("9f86d0"));
        assert!(run(&settings, "revoke fixed").await.unwrap_err().contains("[[server.token]]"));
        assert!(run(&settings, "revoke nobody").await.unwrap_err().contains("there is no token nobody"));
        assert!(run(&settings, "revoke ci").await.unwrap().contains(&format!("{id} (ci) is revoked")));
        assert!(run(&settings, "list").await.unwrap().contains("revoked 20"));
    }

    #[test]
    fn what_a_server_says_commands_no_terminal() {
        let evil = || "\u{1b}[31m".to_owned();
        let view = serde_json::json!({"id": evil(), "name": evil(), "source": "store", "scopes": ["read"], "routes": [evil()],
            "created": evil(), "expires": evil(), "last_used": evil()});
        let mut view: TokenView = serde_json::from_value(view).unwrap();
        assert!(!as_lines(std::slice::from_ref(&view)).contains('\u{1b}') && !advice(&view).contains('\u{1b}'));
        view.revoked = Some(evil());
        assert!(!as_lines(&[view]).contains('\u{1b}'));
    }

    #[tokio::test]
    async fn a_token_for_the_settings_is_kept_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), "");
        let token = run(&settings, "new ci --settings --scopes read").await.unwrap();
        assert!(HashText::of_token(token.trim()).is_ok());
        assert!(run(&settings, "list").await.unwrap_err().contains("there is no database"));
        for (wrong, says) in [
            ("new ci --scopes admin", "submit, read and cancel"),
            ("new ci --rate fast", "a rate is"),
            ("new ci --webhook-hosts http://a", "a host is"),
            ("new ci --settings --expires soon", "is not a time"),
            ("new ci --settings --expires 0s", "before it is made"),
        ] {
            let error = run(&settings, wrong).await.unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
