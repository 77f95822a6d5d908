//! Tests that the table `[config]` becomes a type that the user's program defines.

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    webhook_url: String,
    token: String,
    id: Option<String>,
    count: u8,
    offset: i32,
    big: u128,
    ratio: f32,
    yes: bool,
    tags: Vec<String>,
    numbers: Vec<u16>,
    pair: (u8, String),
    limits: Limits,
    by_name: BTreeMap<String, u32>,
    mode: Mode,
    letter: char,
    address: Option<std::net::IpAddr>,
    #[serde(rename = "maxSize")]
    max_size: u32,
    #[serde(rename = "dry-run")]
    dry_run: bool,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Limits {
    max: u32,
    #[serde(default)]
    min: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Fast,
    Slow,
    Paced {
        rate: u32,
    },
}

/// Environment variables that together set every field of [`Own`].
const ENV: [(&str, &str); 19] = [
    MEMORY,
    ("POSTBACK_CONFIG__WEBHOOK_URL", "https://example.com/hooks"),
    ("POSTBACK_CONFIG__TOKEN", "0123456789"),
    ("POSTBACK_CONFIG__ID", "007"),
    ("POSTBACK_CONFIG__COUNT", "3"),
    ("POSTBACK_CONFIG__OFFSET", "-7"),
    ("POSTBACK_CONFIG__BIG", "340282366920938463463374607431768211455"),
    ("POSTBACK_CONFIG__RATIO", "0.5"),
    ("POSTBACK_CONFIG__YES", "true"),
    ("POSTBACK_CONFIG__TAGS", "01, true ,c"),
    ("POSTBACK_CONFIG__NUMBERS", "[1, 2]"),
    ("POSTBACK_CONFIG__PAIR", "1,x"),
    ("POSTBACK_CONFIG__LIMITS__MAX", "5"),
    ("POSTBACK_CONFIG__BY_NAME", "{ a = 1, b = 2 }"),
    ("POSTBACK_CONFIG__MODE", "{ paced = { rate = 3 } }"),
    ("POSTBACK_CONFIG__LETTER", "7"),
    ("POSTBACK_CONFIG__ADDRESS", "10.0.0.1"),
    ("POSTBACK_CONFIG__MAXSIZE", "9"),
    ("POSTBACK_CONFIG__DRY_RUN", "true"),
];

#[test]
fn text_becomes_what_the_field_asks_for() {
    let own: Own = config("[config.limits]\nmin = 4", &ENV).unwrap();
    let expected = Own {
        webhook_url: "https://example.com/hooks".into(),
        token: "0123456789".into(),
        id: Some("007".into()),
        count: 3,
        offset: -7,
        big: u128::MAX,
        ratio: 0.5,
        yes: true,
        tags: vec!["01".into(), "true".into(), "c".into()],
        numbers: vec![1, 2],
        pair: (1, "x".into()),
        limits: Limits { max: 5, min: 4 },
        by_name: [("a".into(), 1), ("b".into(), 2)].into(),
        mode: Mode::Paced { rate: 3 },
        letter: '7',
        address: Some("10.0.0.1".parse().unwrap()),
        max_size: 9,
        dry_run: true,
    };
    assert_eq!(own, expected);
}

#[test]
fn the_file_is_taken_at_its_word() {
    let file = "[config]\ntoken = 'x'\ncount = 3\nratio = 1\ntags = ['a']\nmode = 'slow'\n\
                maxSize = 0x10\n[config.limits]\nmax = 1_000";
    let own: Own = config(file, &[MEMORY, ("POSTBACK_CONFIG__MAX_SIZE", "8")]).unwrap();
    assert_eq!((own.count, own.ratio, own.mode, own.limits.max), (3, 1.0, Mode::Slow, 1_000));
    assert_eq!(own.max_size, 8, "a variable finds the key whatever its case");
    let message = config::<Own>("config.token = 12345", &[MEMORY]).unwrap_err();
    assert_eq!(message, "config.token (p.toml:1): expected a string, found a whole number");
    let message = config::<Own>("config.count = '12345'", &[MEMORY]).unwrap_err();
    assert_eq!(message, "config.count (p.toml:1): expected a whole number from 0 to 255, found a string");
}

#[test]
fn a_missing_table_is_an_empty_one() {
    config::<()>("", &[MEMORY]).unwrap();
    config::<Own>("", &[MEMORY]).unwrap();
    config::<Option<Own>>("", &[MEMORY]).unwrap();
    assert_eq!(config::<BTreeMap<String, String>>("", &[MEMORY]), Ok(BTreeMap::new()));
    let message = refused("config = 's3cret'", &[MEMORY], &[]);
    assert_eq!(message, ["config (p.toml:1): expected a table"]);
}

#[test]
fn a_mistake_names_key_place_and_type_but_no_value() {
    let limit = |value: &str| {
        let env = [MEMORY, ("POSTBACK_CONFIG__LIMITS__MAX", value)];
        config::<Own>("", &env).unwrap_err()
    };
    let place = "config.limits.max (environment variable POSTBACK_CONFIG__LIMITS__MAX)";
    for value in ["s3cret", "", "-1", "4294967296", "1.5"] {
        assert_eq!(limit(value), format!("{place}: expected a whole number from 0 to 4294967295"));
    }
    let message = |file: &str| config::<Own>(file, &[MEMORY]).unwrap_err();
    assert_eq!(
        message("[config.limits]\nmin = 1"),
        "config.limits.max is not set; set it in the settings file, \
         or the environment variable POSTBACK_CONFIG__LIMITS__MAX"
    );
    assert_eq!(
        message("[config]\nwebhok_url = 's3cret'"),
        "unknown key config.webhok_url (p.toml:2); did you mean webhook_url?"
    );
    assert_eq!(message("config.mode = 's3cret'"), "config.mode (p.toml:1): expected one of fast, slow, paced");
    assert_eq!(
        message("[config]\nnumbers = [\n1,\n's3cret']"),
        "config.numbers[1] (p.toml:4): expected a whole number from 0 to 65535, found a string"
    );
    assert_eq!(message("config.address = 's3cret'"), "config.address (p.toml:1): invalid IP address syntax");
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Loud;

impl TryFrom<String> for Loud {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Err(format!("`{text}` is no good, {text:?} neither"))
    }
}

#[derive(Debug, Deserialize)]
struct Shouting {
    #[expect(dead_code, reason = "never made")]
    loud: Loud,
}

#[test]
fn what_the_users_type_says_is_told_without_the_value() {
    let message = config::<Shouting>("config.loud = 's3cret'", &[MEMORY]).unwrap_err();
    assert_eq!(message, "config.loud (p.toml:1): `…` is no good, \"…\" neither");
    let message = config::<Shouting>("config.loud = \"s3\\ncret\"", &[MEMORY]).unwrap_err();
    assert!(!message.contains("cret"), "{message}");
    let message = config::<Shouting>("config.loud = 'no'", &[MEMORY]).unwrap_err();
    assert_eq!(message, "config.loud (p.toml:1): `…` is … good, \"…\" neither");
}

#[derive(Debug, Deserialize)]
struct Flat {
    webhook_url: String,
    #[serde(flatten)]
    limits: Limits,
}

#[test]
fn numbers_reach_a_flattened_type() {
    let env = [MEMORY, ("POSTBACK_CONFIG__MAX", "7"), ("POSTBACK_CONFIG__WEBHOOK_URL", "http://a/")];
    let flat: Flat = config("", &env).unwrap();
    assert_eq!((flat.limits.max, flat.webhook_url.as_str()), (7, "http://a/"));
}

#[derive(Deserialize)]
struct Wrapped(#[expect(dead_code, reason = "only asked for its fields")] Own);

#[test]
fn a_type_is_asked_for_its_fields() {
    let mut user = loaded("config.max = 1", &[MEMORY], &[]).config;
    assert!(user.wants::<Own>("webhook_url"));
    assert!(user.wants::<Option<Own>>("webhook_url"));
    assert!(user.wants::<Wrapped>("webhook_url"));
    assert!(user.wants::<Flat>("webhook_url"));
    assert!(!user.wants::<Limits>("webhook_url"));
    assert!(!user.wants::<()>("webhook_url"));
    assert!(!user.wants::<BTreeMap<String, String>>("webhook_url"));
    user.set("webhook_url", "http://127.0.0.1:4000/");
    assert_eq!(user.webhook_url(), Some("http://127.0.0.1:4000/"));
    assert!(user.wants::<Flat>("webhook_url"), "set or not");
    assert_eq!(user.deserialize::<Flat>().unwrap().webhook_url, "http://127.0.0.1:4000/");
    assert!(!format!("{user:?}").contains("127.0.0.1"));
}
