//! Whole files: what is accepted, and how what is wrong is told.

use proptest::prelude::*;

use super::*;

const LAB: &str = r#"
listen: 127.0.0.1:9300
ops_listen: 127.0.0.1:9301
providers:
  mock: { dialect: openai, base_url: "http://127.0.0.1:9100/v1", api_key: sk-upstream }
models:
  mock: { targets: [{ provider: mock, model: mock }] }
keys:
  - name: lab
    key: tg_lab000000001_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG
    models: ["*"]
    limits: { requests_per_minute: 100000000, tokens_per_minute: 100000000000, concurrent: 100000 }
    budget: { usd: 1000000, per: month }
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "OPENAI_API_KEY" => Some("sk-canary-provider-0123456789".to_owned()),
        "SEARCH_KEY" => Some("canary-caller-0123456789-0123456789".to_owned()),
        "PORT" => Some("7000".to_owned()),
        _ => None,
    }
}

fn read(yaml: &str) -> Result<Config, Problems> {
    let around = Surroundings {
        env: &env,
        dialects: vec!["openai", "echo", "groq"],
        keys_of: |_| &["api"],
        discovered: vec!["openai".to_owned()],
    };
    parse("t.yaml", yaml, &around)
}

fn problems(yaml: &str) -> Vec<String> {
    match read(yaml) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn the_labs_file_is_read() {
    let config = read(LAB).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:9300");
    let key = &config.keys[0];
    let limits = key.allowance().to_contract();
    let shown: Vec<_> =
        limits.iter().map(|limit| format!("{}/{}={}", limit.metric, limit.window, limit.amount)).collect();
    assert_eq!(
        shown,
        [
            "concurrent/=100000",
            "requests/minute=100000000",
            "tokens/minute=100000000000",
            "cost_nanos/month=1000000000000000"
        ]
    );
}

#[test]
fn an_empty_file_is_the_defaults() {
    for yaml in ["", "# nothing\n", "keys:\nmodels: {}\n---\n".split("---").next().unwrap()] {
        let config = read(yaml).unwrap();
        assert_eq!(config.timeouts.first_token.to_string(), "120s");
        assert!(config.echo);
    }
}

#[test]
fn a_mistyped_key_is_told_with_its_place_and_the_nearest_word() {
    assert_eq!(
        problems("listen: 127.0.0.1:1\ntimeouts: { fist_token: 3s }\n"),
        ["t.yaml:2:13: timeouts.fist_token: unknown key; did you mean `first_token`?"]
    );
    assert_eq!(
        problems("keys:\n  - name: a\n    key: ${SEARCH_KEY}\n    limits: { request_per_minute: 1 }\n"),
        ["t.yaml:4:15: keys[0].limits.request_per_minute: unknown key; did you mean `requests_per_minute`?"]
    );
}

#[test]
fn a_mistyped_key_does_not_make_its_right_name_missing() {
    assert_eq!(
        problems("providers:\n  p: { dialct: openai }\n"),
        ["t.yaml:2:8: providers.p.dialct: unknown key; did you mean `dialect`?"]
    );
    // Its value is checked as if the name were right.
    assert_eq!(problems("timeouts: { conect: soon }\n").len(), 2);
}

#[test]
fn an_unset_variable_is_told_with_the_way_out_and_nothing_follows_from_it() {
    assert_eq!(
        problems("keys:\n  - name: a\n    key: ${NOT_SET}\n"),
        [
            "t.yaml:3:10: keys[0].key: the environment variable `NOT_SET` is not set; set it, or write ${NOT_SET:-} to allow it to be empty"
        ]
    );
}

#[test]
fn a_target_without_its_provider_is_told() {
    let yaml = "providers: { mock: { dialect: openai } }\nmodels:\n  m:\n    targets:\n      - { provider: mokc, model: x }\n";
    assert_eq!(
        problems(yaml),
        ["t.yaml:5:21: models.m.targets[0].provider: there is no provider `mokc`; did you mean `mock`?"]
    );
}

#[test]
fn a_provider_that_is_wrong_itself_is_not_also_missing() {
    let yaml = "providers: { mock: { dialect: 1, base_url: [] } }\nmodels: { m: { targets: [{ provider: mock, model: x }] } }\n";
    let told = problems(yaml);
    assert!(told.iter().all(|line| !line.contains("there is no provider")), "{told:?}");
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    let yaml = r#"
listen: localhost
listen: 127.0.0.1:8080
timeouts: { idle: 5 parsecs, total: 0s }
providers:
  a: { dialect: opnai, base_url: "ftp://x" }
  b: { base_url: "https://user:pw@host/v1" }
models:
  empty: { targets: [] }
  "x?": { targets: [{ provider: a, model: "*" }], price: { input_per_million: -1 }, retry: { attempts: many } }
keys:
  - { name: same, key: short, scopes: [chatt], expires: soon }
  - { name: same, key: ${SEARCH_KEY}, models: ["[a]"], budget: { usd: 1, per: fortnight } }
echo: yes
store: mysql://u:p@h/d
shared: http://x
"#;
    let told = problems(yaml);
    let starts: Vec<&str> = told.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "t.yaml:2:9",
            "t.yaml:3:1",
            "t.yaml:4:19",
            "t.yaml:4:37",
            "t.yaml:6:17",
            "t.yaml:6:34",
            "t.yaml:7:6",
            "t.yaml:9:12",
            "t.yaml:10:3",
            "t.yaml:10:43",
            "t.yaml:10:79",
            "t.yaml:10:104",
            "t.yaml:12:24",
            "t.yaml:12:40",
            "t.yaml:12:57",
            "t.yaml:13:13",
            "t.yaml:13:48",
            "t.yaml:13:79",
            "t.yaml:14:7",
            "t.yaml:15:8",
            "t.yaml:16:9",
        ],
        "{told:#?}"
    );
}

#[test]
fn text_that_is_not_yaml_is_told_with_its_place() {
    let told = problems("listen: [unclosed\nmodels: {");
    assert!(told[0].starts_with("t.yaml:") && told[0].contains("not YAML"), "{told:?}");
    assert!(problems("- a\n- b\n")[0].contains("expected a mapping"));
    assert!(problems("a: 1\n---\nb: 2\n").iter().any(|line| line.contains("second document")));
}

#[test]
fn variables_reach_every_kind_of_value() {
    let config = read("listen: 127.0.0.1:${PORT}\necho: ${ECHO:-false}\nadmin_key: ${NONE:-}\n").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7000");
    assert!(!config.echo);
    assert!(config.admin_key.as_ref().and_then(Secret::filled).is_none());
}

#[test]
fn a_secrets_file_is_read_without_its_last_newline() {
    use secrecy::ExposeSecret as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "sk-from-file\n").unwrap();
    let config = read(&format!("admin_key: file:{}\n", file.display())).unwrap();
    assert_eq!(config.admin_key.unwrap().filled().unwrap().expose_secret(), "sk-from-file");
    assert!(problems("admin_key: file:/nowhere/at/all\n")[0].contains("`/nowhere/at/all` cannot be read"));
}

#[test]
fn no_secret_is_in_what_is_shown() {
    let yaml = "admin_key: canary-admin\nproviders: { p: { dialect: openai, api_key: \"${OPENAI_API_KEY}\" } }\nkeys: [{ name: k, key: \"${SEARCH_KEY}\" }]\n";
    let config = read(yaml).unwrap();
    assert!(!format!("{config:?}{}", config.to_json()).contains("canary"));
    let config = read("store: postgres://canary:canary@db:1/books?sslmode=require\n").unwrap();
    let shown = format!("{config:?}{}", config.to_json());
    assert!(!shown.contains("canary") && shown.contains("\"postgres://db:1/books\""), "{shown}");
    // Nor where the value of a variable is at fault.
    let wrong = "listen: @\necho: @\nstore: @\nproviders: @\nkeys: @\ncors: [@]\ntimeouts: { idle: @ }\ntelemetry: { log_format: @ }\ntelemetry: { log: @ }\nproviders: { p: { dialect: @, base_url: @ } }\nmodels: { m: { targets: [{ provider: @, model: m }] } }\nkeys: [{ name: a, key: @, scopes: [@], expires: @ }]\n";
    for line in wrong.lines() {
        let told = problems(&line.replace('@', "\"${OPENAI_API_KEY}\"")).join("\n");
        assert!(!told.is_empty() && !told.contains("canary"), "{told}");
    }
}

#[test]
fn the_example_is_sound() {
    let yaml = include_str!("../../../deploy/config.example.yaml");
    assert_eq!(problems(yaml), [""; 0]);
}

#[test]
fn the_schema_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config.schema.json");
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == schema(), "run `cargo run -- schema > deploy/config.schema.json`");
}

proptest! {
    #[test]
    fn a_damaged_file_is_read_or_refused_but_never_a_panic(
        cuts in prop::collection::vec((0..1_500_usize, 0..8_usize, "[-:{}\\[\\]&*!|>'\"%@`$#,\n ~a0]{0,4}"), 1..6)
    ) {
        let mut yaml: Vec<char> = include_str!("../../../deploy/config.example.yaml").chars().collect();
        for (at, length, text) in cuts {
            let at = at.min(yaml.len());
            let end = (at + length).min(yaml.len());
            yaml.splice(at..end, text.chars());
        }
        if let Err(problems) = read(&yaml.iter().collect::<String>()) {
            prop_assert!(!problems.list.is_empty());
        }
    }
}
