//! Tests that the two documented files of settings have every key, and that each key has an effect.

use super::*;
use crate::settings::keys::KEYS;

const DEFAULT: &str = include_str!("../default.toml");
const REFERENCE: &str = include_str!("../reference.toml");
/// The variable that the documents name for a token. The token opens nothing.
const TOKEN: (&str, &str) = ("PARTNER_TOKEN", "pbk_fixture002_Ejal9mHaAZNmZdcz7s8vEBIkzeOtOLi9Y9GRVWEEG6v3UYbZS");
/// A file that holds a token that opens nothing, from the folder in which tests run.
const TOKEN_FILE: &str = "src/settings/tests/token.txt";
/// The hash of a token, as the documents show it.
const HASH: &str = "k3v9x2m7qa:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Returns the lines of the `Debug` text of `settings`, without the name of the file, the table `[config]` and the
/// warnings.
fn shown(settings: Settings) -> Vec<String> {
    let settings = Settings { file: None, config: ConfigTable::default(), warnings: Vec::new(), ..settings };
    format!("{settings:#?}").lines().map(str::to_owned).collect()
}

#[test]
fn the_documented_defaults_are_the_built_in_ones() {
    assert_eq!(shown(loaded(DEFAULT, &[], &[])), shown(loaded("", &[], &[])));
    // The documented settings file has some keys in lines that are comments. If these lines are included as settings,
    // the file has every key, and must still be accepted.
    let is_key = |line: &str| {
        line.starts_with("[[")
            || line.starts_with("[route")
            || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let uncommented: Vec<&str> =
        DEFAULT.lines().map(|line| line.strip_prefix("# ").filter(|line| is_key(line)).unwrap_or(line)).collect();
    let uncommented = uncommented.join("\n");
    let with_files = uncommented.replace("/run/secrets/nightly-token", TOKEN_FILE);
    loaded(&with_files.replace("/run/secrets/otlp-headers", "src/settings/tests/headers.txt"), &[TOKEN], &[]);
    assert_eq!(keys_of(&uncommented), KEYS.iter().map(|key| (*key).to_owned()).collect());
}

#[test]
fn the_reference_sets_every_key_to_something_else() {
    assert_eq!(keys_of(REFERENCE), KEYS.iter().map(|key| (*key).to_owned()).collect());
    let (set, default) = (loaded(REFERENCE, &[TOKEN], &[]), loaded("", &[], &[]));
    assert_ne!(set.server.listen, default.server.listen);
    assert_ne!(set.server.max_payload, default.server.max_payload);
    assert!(set.admin_token.is_some() && default.admin_token.is_none());
    assert_ne!(set.server.accept_ids, default.server.accept_ids);
    let (access, of_default) = (&set.access, &default.access);
    assert_ne!(access.auth, of_default.auth);
    assert!(access.public.openapi && access.public.metrics && access.public != of_default.public);
    assert_ne!(access.cors_origins, of_default.cors_origins);
    assert_eq!((access.hosts.len(), access.trusted_proxies.len()), (2, 2));
    let ids: Vec<_> = access.tokens.iter().map(|token| (&*token.id, token.name.as_str())).collect();
    assert_eq!(ids, [("k3v9x2m7qa", "ci"), ("fixture001", "nightly"), ("fixture002", "partner")]);
    let (full, plain) = (&access.tokens[0], &access.tokens[1]);
    let terms = crate::access::Terms::default();
    assert!(plain.terms == terms && plain.expires.is_none() && full.expires.is_some());
    assert!(full.terms.scopes.len() == 2 && full.terms.routes == ["/greet"] && full.terms.webhook_hosts.len() == 1);
    assert!(full.terms.rate.is_some() && full.terms.max_queued == Some(1_000));
    assert_eq!(full.terms.max_queued_bytes, Some(64 << 20));
    assert_ne!(set.retention, default.retention);
    assert_ne!(set.worker.concurrency, default.worker.concurrency);
    assert_ne!(set.worker.threads, default.worker.threads);
    assert_ne!(set.worker.timeout, default.worker.timeout);
    assert_ne!(set.worker.max_attempts, default.worker.max_attempts);
    assert_ne!(set.worker.retry_delay, default.worker.retry_delay);
    assert_ne!(set.worker.max_retry_delay, default.worker.max_retry_delay);
    assert_ne!(set.worker.max_crashes, default.worker.max_crashes);
    assert_ne!(set.store.max_queued, default.store.max_queued);
    assert_ne!(set.store.max_queued_bytes, default.store.max_queued_bytes);
    assert_ne!(set.store.disk_reserve, default.store.disk_reserve);
    let (results, of_default) = (&set.results, &default.results);
    assert_ne!((results.max_inline, results.max_size), (of_default.max_inline, of_default.max_size));
    let place = |options: &crate::results::Options| options.place.as_ref().unwrap().shown().to_owned();
    assert_eq!(place(results), "/var/lib/app/results");
    assert!(place(of_default).ends_with("/postback.db.results"));
    assert!(results.server_url.is_some() && of_default.server_url.is_none());
    assert_ne!(set.delivery.secrets, default.delivery.secrets);
    let steps = [0, 60, 5_400].map(Duration::from_secs).to_vec();
    assert_eq!(set.delivery.schedule, Schedule::new(steps).unwrap());
    assert_ne!(set.delivery.timeout, default.delivery.timeout);
    assert_ne!(set.delivery.concurrency, default.delivery.concurrency);
    assert_ne!(set.delivery.per_origin, default.delivery.per_origin);
    assert_eq!(set.delivery.endpoints[0].concurrency, Some(4));
    assert_eq!(set.delivery.allow_networks.len(), 2);
    assert_eq!((set.delivery.deny_networks.len(), set.delivery.nat64_prefixes.len()), (1, 2));
    assert_eq!((set.delivery.endpoints[0].private, set.delivery.endpoints[1].private), (Some(true), None));
    assert_ne!(set.delivery.ca_file, default.delivery.ca_file);
    assert_eq!(set.delivery.endpoints.len(), 2);
    assert_eq!(set.delivery.endpoints[0].secrets.len(), 1);
    assert_eq!(set.routes.len(), 1);
    let forward = &set.forwards[0];
    assert_eq!((forward.path.as_str(), forward.url.path(), forward.max_answer), ("/classify", "/predict", 1 << 20));
    assert!(forward.webhook.is_some() && forward.ready.is_some() && forward.ca_file.is_some());
    assert_ne!(set.log, default.log);
    assert_ne!(set.log.format, default.log.format);
    let traces = set.traces.as_ref().unwrap();
    assert_eq!((traces.service_name.as_str(), traces.sample, traces.headers.len()), ("my-app", 0.25, 3));
    assert!(default.traces.is_none());
    assert_ne!(set.grace, default.grace);
    assert_eq!(set.config.webhook_url(), Some("https://example.com/hooks"));
    let path = "/var/lib/app/requests.db".into();
    let durability = store::Durability::Normal;
    assert_eq!(set.store.place, store::Location::Sqlite { path, durability });
    assert_eq!((set.store.litestream, default.store.litestream), (true, false));
    let durability = store::Durability::Full;
    assert_eq!(default.store.place, store::Location::Sqlite { path: "postback.db".into(), durability });
}

#[test]
fn every_key_can_be_set_by_a_variable() {
    let env = [
        ("POSTBACK_SERVER__LISTEN", "0.0.0.0:9000"),
        ("POSTBACK_SERVER__MAX_PAYLOAD", "1048576"),
        ("POSTBACK_SERVER__ACCEPT_IDS", "true"),
        ("POSTBACK_SERVER__AUTH", "none"),
        ("POSTBACK_SERVER__HOSTS", "api.example.com, *.internal"),
        ("POSTBACK_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8"),
        ("POSTBACK_SERVER__PUBLIC", "openapi, metrics"),
        ("POSTBACK_SERVER__ADMIN_TOKEN", "an-admin-token-of-some-length"),
        ("POSTBACK_SERVER__CORS_ORIGINS", "https://app.example.com"),
        (
            "POSTBACK_SERVER__TOKEN",
            &format!(
                "[{{ name = 'ci', hash = '{HASH}', scopes = ['submit', 'read'], routes = ['/greet'], \
                 expires = '2027-01-31T00:00:00Z', webhook_hosts = ['*.example.com'], rate = '100/min', \
                 max_queued = 1000, max_queued_bytes = '64MiB' }}, {{ name = 'nightly', file = '{TOKEN_FILE}' }}, \
                 {{ name = 'partner', env = 'PARTNER_TOKEN' }}]"
            ),
        ),
        TOKEN,
        ("POSTBACK_STORE__URL", "sqlite:/var/lib/app/requests.db"),
        ("POSTBACK_STORE__DURABILITY", "normal"),
        ("POSTBACK_STORE__LITESTREAM", "true"),
        ("POSTBACK_STORE__RETENTION", "30d"),
        ("POSTBACK_STORE__DISK_RESERVE", "1GiB"),
        ("POSTBACK_STORE__MAX_INLINE", "1MiB"),
        ("POSTBACK_RESULTS__URL", "file:///var/lib/app/results"),
        ("POSTBACK_RESULTS__MAX_SIZE", "2GiB"),
        ("POSTBACK_RESULTS__SERVER_URL", "https://jobs.example.com"),
        ("POSTBACK_WORKER__CONCURRENCY", "8"),
        ("POSTBACK_WORKER__THREADS", "4"),
        ("POSTBACK_WORKER__TIMEOUT", "10m"),
        ("POSTBACK_WORKER__MAX_ATTEMPTS", "5"),
        ("POSTBACK_WORKER__RETRY_DELAY", "10s"),
        ("POSTBACK_WORKER__MAX_RETRY_DELAY", "10m"),
        ("POSTBACK_WORKER__MAX_CRASHES", "1"),
        ("POSTBACK_WORKER__MAX_QUEUED", "500"),
        ("POSTBACK_WORKER__MAX_QUEUED_BYTES", "64MiB"),
        ("POSTBACK_ROUTE__GREET__CONCURRENCY", "2"),
        ("POSTBACK_ROUTE__GREET__TIMEOUT", "10m"),
        ("POSTBACK_ROUTE__GREET__MAX_ATTEMPTS", "3"),
        ("POSTBACK_ROUTE__GREET__RETRY_DELAY", "5s"),
        ("POSTBACK_ROUTE__GREET__MAX_RETRY_DELAY", "5m"),
        ("POSTBACK_ROUTE__GREET__MAX_QUEUED", "1000"),
        ("POSTBACK_ROUTE__GREET__MAX_QUEUED_BYTES", "1GiB"),
        ("POSTBACK_ROUTE__GREET__RETENTION", "1d"),
        ("POSTBACK_ROUTE__GREET__PRIORITY", "-10"),
        ("POSTBACK_ROUTE__GREET__ALLOW_PRIORITY", "true"),
        (
            "POSTBACK_FORWARD",
            "[{ path = '/classify', url = 'http://127.0.0.1:9000/predict', webhook = 'https://example.com/hooks', \
             ready = '/healthz', max_answer = '1MiB', ca_file = 'target.pem' }]",
        ),
        ("POSTBACK_DELIVERY__SECRETS", &format!("{SECRET}, {ED25519}")),
        ("POSTBACK_DELIVERY__FORMAT", "replicate"),
        ("POSTBACK_DELIVERY__SCHEDULE", r#"["0s", "1m", "1h 30m"]"#),
        ("POSTBACK_DELIVERY__TIMEOUT", "5s"),
        ("POSTBACK_DELIVERY__CONCURRENCY", "32"),
        ("POSTBACK_DELIVERY__PER_ORIGIN", "16"),
        ("POSTBACK_DELIVERY__ALLOW_NETWORKS", "10.1.0.0/16,fd00::/8"),
        ("POSTBACK_DELIVERY__DENY_NETWORKS", "10.1.9.0/24"),
        ("POSTBACK_DELIVERY__NAT64_PREFIXES", "2001:db8:64::/96, 2001:db8:100::/40"),
        ("POSTBACK_DELIVERY__CA_FILE", "ca.pem"),
        (
            "POSTBACK_DELIVERY__ENDPOINT",
            &format!(
                "[{{ url = 'https://hooks.example.com/in', secrets = ['{SECRET}'], private = true, concurrency = 4, \
                 format = 'cloudevents' }}, \
                 {{ url = 'http://10.2.0.5:4000/' }}]"
            ),
        ),
        ("POSTBACK_LOG__LEVEL", "warn,my_app=debug"),
        ("POSTBACK_LOG__FORMAT", "json"),
        ("POSTBACK_TELEMETRY__OTLP_ENDPOINT", "https://traces.example.com/otlp"),
        ("POSTBACK_TELEMETRY__OTLP_HEADERS", "api-key=k3y%20of%20mine,x-team=blue"),
        ("POSTBACK_TELEMETRY__OTLP_HEADERS_FILE", "src/settings/tests/headers.txt"),
        ("POSTBACK_TELEMETRY__SERVICE_NAME", "my-app"),
        ("POSTBACK_TELEMETRY__SAMPLE", "0.25"),
        ("POSTBACK_SHUTDOWN__GRACE", "5s"),
    ];
    assert_eq!(shown(loaded("", &env, &[])), shown(loaded(REFERENCE, &[TOKEN], &[])));
}

#[test]
fn a_token_is_named_and_has_one_source() {
    let table = |keys: &str| format!("[[server.token]]\n{keys}\n");
    for (keys, says) in [
        ("name = 'a'", "server.token[0].hash is not set"),
        (&format!("hash = '{HASH}'"), "server.token[0].name is not set"),
        (&format!("name = 'a'\nhash = '{HASH}'\nfile = 's3cret'"), "only one of hash, file and env"),
        ("name = 'a'\nhash = 's3cret'", "the hash of a token is its id"),
        (&format!("name = 'a'\nhash = '{}'", TOKEN.1), "the hash of a token is its id"),
        ("name = 'a'\nfile = 's3cret'", "cannot be read"),
        ("name = 'a'\nfile = 'Cargo.toml'", "a token is `pbk_`"),
        ("name = 'a'\nenv = 'S3CRET'", "an environment variable that is set"),
        (&format!("name = 'a'\nhash = '{HASH}'\nscopes = ['s3cret']"), "\"submit\" or \"read\" or \"cancel\""),
        (&format!("name = 'a'\nhash = '{HASH}'\nscopes = []"), "a list of \"submit\""),
        (&format!("name = 'a'\nhash = '{HASH}'\nrate = 's3cret'"), "a rate is"),
        (&format!("name = 'a'\nhash = '{HASH}'\nroutes = ['s3cret']"), "begins with /"),
        (&format!("name = 'a'\nhash = '{HASH}'\nexpires = 's3cret'"), "a time such as"),
        (&format!("name = 'a'\nhash = '{HASH}'\n[[server.token]]\nname = 'a'\nenv = 'PARTNER_TOKEN'"), "no other"),
        (&format!("name = 'a'\nhash = '{HASH}'\n[[server.token]]\nname = 'b'\nhash = '{HASH}'"), "no other"),
    ] {
        let message = refused(&table(keys), &[TOKEN], &[]).join("\n");
        assert!(message.contains(says), "{keys}: {message}");
        assert!(!message.contains("s3cret") && !message.contains(HASH) && !message.contains(TOKEN.1), "{message}");
    }
    let warned = loaded(&format!("server.auth = 'none'\n{}", table(&format!("name = 'a'\nhash = '{HASH}'"))), &[], &[]);
    assert!(warned.warnings.len() == 1 && warned.warnings[0].contains("server.auth"), "{:?}", warned.warnings);
}

#[test]
fn a_page_is_allowed_by_its_origin() {
    for wrong in
        ["app.example.com", "https://app.example.com/", "https://app.example.com/a", "file:///a", "https://a:443"]
    {
        let message = refused(&format!("server.cors_origins = ['{wrong}']"), &[], &[]).join("\n");
        assert!(message.contains("an origin such as"), "{wrong}: {message}");
    }
    let loaded = |list: &str| loaded(&format!("server.cors_origins = {list}"), &[], &[]).access.cors_origins;
    let listed = loaded("['https://app.example.com', 'http://localhost:3000']");
    assert!(listed.contains(&"http://localhost:3000".parse().unwrap()) && !listed.contains(&"null".parse().unwrap()));
    assert!(loaded("['*']").contains(&"https://any.example".parse().unwrap()));
}

#[test]
fn a_forward_needs_a_path_and_a_target() {
    let told = refused("[[forward]]\npath = 'a'\nurl = 's3cret'\nready = '//x'\nmax_answer = '1GiB'\nx = 1", &[], &[]);
    let wanted = [
        "forward[0].path (p.toml:2): expected the path of a route, such as \"/classify\"",
        "forward[0].url (p.toml:3): expected an URL that begins with http:// or https://",
        "forward[0].ready (p.toml:4): expected the path of an URL, such as \"/healthz\"",
        "forward[0].max_answer (p.toml:5): expected a size from 1 B to 64.0 MiB",
        "unknown key forward[0].x (p.toml:6)",
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (told, wanted) in told.iter().zip(wanted) {
        assert!(told.starts_with(wanted), "{told}");
    }
    assert_eq!(refused("[[forward]]", &[], &[]), ["forward[0].path is not set", "forward[0].url is not set"]);
    let set = loaded("[[forward]]\npath = '/a'\nurl = 'http://b/'\nwebhook = 'http://10.0.0.1/in'", &[], &[]);
    let hook = url::Url::parse("http://10.0.0.1/in/1").unwrap();
    assert!(set.destinations().find(&hook).is_some_and(|destination| destination.private));
}

#[test]
fn a_prefix_that_no_translator_has_is_refused() {
    for bad in ["2001:db8::/33", "10.0.0.0/8", "2001:db8::1", "s3cret"] {
        let message = refused(&format!("delivery.nat64_prefixes = ['64:ff9b:1::/48', '{bad}']"), &[], &[]);
        let wanted = "expected an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as \"2001:db8:64::/96\"";
        assert_eq!(message, [format!("delivery.nat64_prefixes[1] (p.toml:1): {wanted}")]);
    }
}

#[test]
fn an_endpoint_has_no_more_than_all_tries_at_once() {
    assert_eq!(loaded("delivery.concurrency = 8", &[], &[]).delivery.per_origin, 8);
    let message = refused(
        "[delivery]\nconcurrency = 8\nper_origin = 9\n[[delivery.endpoint]]\nurl = 'http://a'\nconcurrency = 0",
        &[],
        &[],
    );
    let wanted = "expected a whole number from 1 to 8, which is delivery.concurrency";
    assert_eq!(
        message,
        [
            format!("delivery.per_origin (p.toml:3): {wanted}"),
            format!("delivery.endpoint[0].concurrency (p.toml:6): {wanted}"),
        ]
    );
}

#[test]
fn a_switch_is_true_or_false_wherever_it_is_set() {
    assert!(loaded("store.litestream = true", &[], &[]).store.litestream);
    assert!(loaded("", &[("POSTBACK_STORE__LITESTREAM", "true")], &[]).store.litestream);
    assert!(!loaded("store.litestream = true", &[], &[("store.litestream", "false", "--set")]).store.litestream);
    for wrong in ["1", "\"true\"", "[]"] {
        let message = refused(&format!("store.litestream = {wrong}"), &[], &[]);
        assert_eq!(message, ["store.litestream (p.toml:1): expected true or false"], "{wrong}");
    }
}

#[test]
fn a_store_is_where_its_url_says() {
    let place = |url: &str| loaded(&format!("store.url = '{url}'"), &[], &[]).store.place;
    let at = |path: &str| store::Location::Sqlite { path: path.into(), durability: store::Durability::Full };
    assert_eq!(place("sqlite:a/b.db"), at("a/b.db"));
    assert_eq!(place("sqlite://b.db"), at("b.db"));
    assert_eq!(place("sqlite:///a/b.db"), at("/a/b.db"));
    assert!(matches!(place("memory:"), store::Location::Memory { .. }));
    for (url, needle) in [
        #[cfg(not(feature = "postgres"))]
        ("postgres://u:s3cret@db/x", "needs the feature `postgres`"),
        #[cfg(not(feature = "postgres"))]
        ("postgresql://u:s3cret@db/x", "needs the feature `postgres`"),
        #[cfg(feature = "postgres")]
        ("postgres://u:s3cret@db", "names no database"),
        #[cfg(feature = "postgres")]
        ("postgres://u:s3/cret@db/x", "write @ as %40"),
        ("mysql://u:s3cret@db/x", r#"expected "sqlite:FILE", "postgres://USER:PASSWORD@HOST/DATABASE" or "memory:""#),
        ("sqlite:", "sqlite:FILE"),
        ("sqlite::memory:", "memory:"),
        ("sqlite:s3cret.db?mode=rwc", "without parameters"),
        ("", "sqlite:FILE"),
    ] {
        let message = refused("", &[("POSTBACK_STORE__URL", url)], &[]).join("\n");
        assert!(message.contains(needle), "{url}: {message}");
        assert!(message.starts_with("store.url (environment variable POSTBACK_STORE__URL)"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
#[cfg(feature = "postgres")]
fn a_store_in_postgresql_shows_no_password_and_takes_no_setting_of_sqlite() {
    let url = "store.url = 'postgres://app:s3cret@db.example/jobs?search_path=mine&sslmode=verify-full'";
    let settings = loaded(url, &[], &[]);
    let shown = format!("{:?}", settings.shown());
    assert!(shown.contains("postgres://app@db.example/jobs?search_path=mine") && !shown.contains("s3cret"), "{shown}");
    assert!(!format!("{:?}", settings.store).contains("s3cret"));
    for (other, needle) in [("store.durability = 'normal'", "each commit"), ("store.litestream = true", "Litestream")] {
        let message = refused(&format!("{url}\n{other}"), &[], &[]).join("\n");
        assert!(message.contains(needle) && !message.contains("s3cret"), "{message}");
    }
}

#[test]
fn the_effective_settings_show_every_key_and_no_secret() {
    let set = loaded(REFERENCE, &[TOKEN], &[]);
    let shown = set.shown();
    let below_a_list =
        |key: &&&str| key.matches('.').count() > 1 || key.starts_with("route") || key.starts_with("forward.");
    for key in KEYS.iter().filter(|key| !below_a_list(key)) {
        assert!(shown.contains_key(*key), "{key} is not shown");
    }
    let text = serde_json::to_string(&shown).unwrap();
    for secret in [SECRET, "an-admin-token", TOKEN.1, HASH, "k3y", "nothing"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(
        (&shown["delivery.secrets"], &shown["server.admin_token"]),
        (&serde_json::json!(["…", "…"]), &"…".into())
    );
}

#[test]
fn what_has_changed_is_told_as_live_or_for_the_next_start() {
    let old = loaded("delivery.secrets = []", &[], &[]);
    let changes = |file: &str| old.changes(&loaded(file, &[], &[]));
    assert_eq!(changes("# only a comment"), crate::settings::Changes::default());
    let file = format!(
        "[config]\nx = 1\n[server]\nlisten = '127.0.0.1:1'\nadmin_token = '0123456789abcdef'\n\
         [delivery]\nsecrets = ['{SECRET}']\ntimeout = '1s'\n"
    );
    let changes = changes(&file);
    assert_eq!(changes.live, ["delivery.secrets", "delivery.timeout", "server.admin_token"]);
    assert_eq!(changes.at_start, ["server.listen", "config"]);
    let new = loaded(&file, &[], &[]);
    let effective = old.with_live(&new);
    assert_eq!(effective.server.listen, old.server.listen);
    assert_eq!((effective.delivery.timeout, effective.admin_token.is_some()), (new.delivery.timeout, true));
    assert_eq!(effective.changes(&new).at_start, changes.at_start, "the next reload says so again");
    // A secret that was replaced looks the same, and is a change.
    let other = format!("delivery.secrets = ['{ED25519}']");
    assert_eq!(
        loaded(&format!("delivery.secrets = ['{SECRET}']"), &[], &[]).changes(&loaded(&other, &[], &[])).live,
        ["delivery.secrets"]
    );
}
