//! `tollctl keys`: make, list, show, rotate and revoke keys; changes are in `keys_update`.

use std::{
    io::{BufRead, IsTerminal},
    time::Duration,
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tollgate_client::api::admin::{CreateKeyRequest, Key, Limit, ListKeysResponse, RotateKeyRequest};
use tollgate_client::api::v1::Priority;

use super::{
    Context, amount,
    failure::Failure,
    json,
    keys_update::{self, UpdateArgs},
    out::Out,
    pairs::{self, Pair},
    table::{Column, Table},
    time::{self, When},
};

/// Full name of a key in the contract.
pub(crate) const KEY: &str = "tollgate.admin.v1.Key";

/// The commands about keys.
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print its secret this one time
    Create(CreateArgs),
    /// List keys, oldest first
    List {
        /// Only keys of this team
        #[arg(long, value_name = "ID", default_value = "")]
        team: String,
    },
    /// Show one key
    Get {
        /// Id of the key
        id: String,
    },
    /// Change a key: only what is given
    Update(UpdateArgs),
    /// Give a key a new secret, and print it this one time
    Rotate {
        /// Id of the key
        id: String,
        /// How long the old secret works beside the new one [default: it stops at once]
        #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
        overlap: Option<Duration>,
    },
    /// Revoke a key for good
    Revoke {
        /// Id of the key
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Arguments of `keys create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name for people, e.g. search-prod
    #[arg(long)]
    name: String,
    /// Team that owns the key
    #[arg(long, value_name = "ID", default_value = "")]
    team: String,
    /// What it may do: chat, embed, models, usage, usage:team, route:pin, admin [default: the first four]
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<String>,
    /// Models it may ask for, with * for any characters [default: every model of the team]
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    model: Vec<String>,
    /// When it stops working: 30d, 2027-01-01 [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<When>,
    /// Tag of every call of the key
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    tag: Vec<Pair>,
    /// Limit or budget: requests/minute=60, concurrent=5, usd/month=20, 'tokens/day=2M,model=gpt-*,soft'
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit)]
    limit: Vec<Limit>,
    /// How important its calls are when there is not room for all: low, normal, high [default: normal]
    #[arg(long, value_parser = parse_priority)]
    priority: Option<Priority>,
}

/// Reads how important calls are.
pub(crate) fn parse_priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err("it must be low, normal or high".to_owned()),
    }
}

fn priority(key: &Key) -> &'static str {
    match key.priority() {
        Priority::Low => "low",
        Priority::High => "high",
        Priority::Normal | Priority::Unspecified => "normal",
    }
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create(context, args).await,
        KeysCommand::List { team } => list(context, team).await,
        KeysCommand::Get { id } => {
            let key = context.client.keys().get(id).await?;
            show(&mut context.out, context.json, &key)
        }
        KeysCommand::Update(args) => keys_update::run(context, args).await,
        KeysCommand::Rotate { id, overlap } => rotate(context, id, overlap).await,
        KeysCommand::Revoke { id, yes } => revoke(context, id, yes).await,
    }
}

async fn create(context: &mut Context, args: CreateArgs) -> Result<(), Failure> {
    let expire_time = args.expires.and_then(|when| when.after(Timestamp::now())).map(time::to_proto);
    let key = Key {
        name: args.name,
        team_id: args.team,
        scopes: args.scope,
        allowed_models: args.model,
        limits: args.limit,
        default_tags: pairs::to_map(args.tag),
        expire_time,
        priority: args.priority.unwrap_or_default().into(),
        ..Key::default()
    };
    // An id of its own makes it safe to send the call again when the server asks for it.
    let request = CreateKeyRequest { key: Some(key), request_id: request_id() };
    let response = context.client.keys().create(request).await?;
    if context.json {
        return Ok(context.out.line(&json::encode("tollgate.admin.v1.CreateKeyResponse", &response)?)?);
    }
    context.out.line(&response.secret)?;
    let key = response.key.unwrap_or_default();
    said_once(&mut context.out, &format!("made key {} ({})", key.id, key.name))
}

/// The secret alone goes to standard output, so that it can be piped to where it is kept.
fn said_once(out: &mut Out, what: &str) -> Result<(), Failure> {
    Ok(out.note(&format!("{what}; the line above is its secret and cannot be shown again: keep it now"))?)
}

fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

async fn list(context: &mut Context, team: String) -> Result<(), Failure> {
    let keys = context.client.keys().list_all(team).await?;
    if context.json {
        let all = ListKeysResponse { keys, next_page_token: String::new() };
        return Ok(context.out.line(&json::encode("tollgate.admin.v1.ListKeysResponse", &all)?)?);
    }
    if keys.is_empty() {
        return Ok(context.out.note("no keys")?);
    }
    let names = ["id", "name", "team", "scopes", "models", "limits", "expires (UTC)", "state"];
    let mut table = Table::new(names.map(Column::left));
    for key in &keys {
        table.row([
            key.id.clone(),
            key.name.clone(),
            key.team_id.clone(),
            key.scopes.join(","),
            key.allowed_models.join(","),
            amount::limits(&key.limits),
            time::show(key.expire_time.as_ref()),
            state(key).to_owned(),
        ]);
    }
    for line in table.lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

fn state(key: &Key) -> &'static str {
    match key {
        Key { disabled: true, .. } => "disabled",
        Key { declared: true, .. } => "declared",
        _ => "active",
    }
}

/// Prints one key, one fact a line.
pub(crate) fn show(out: &mut Out, as_json: bool, key: &Key) -> Result<(), Failure> {
    if as_json {
        return Ok(out.line(&json::encode(KEY, key)?)?);
    }
    let facts = [
        ("id", key.id.clone()),
        ("name", key.name.clone()),
        ("hint", key.hint.clone()),
        ("team", key.team_id.clone()),
        ("state", state(key).to_owned()),
        ("scopes", key.scopes.join(" ")),
        ("models", if key.allowed_models.is_empty() { "*".to_owned() } else { key.allowed_models.join(" ") }),
        ("limits", amount::limits(&key.limits)),
        ("tags", pairs::show(&key.default_tags)),
        ("priority", priority(key).to_owned()),
        ("made (UTC)", time::show(key.create_time.as_ref())),
        ("made by", key.created_by.clone()),
        ("expires", key.expire_time.as_ref().map_or("never".to_owned(), |at| time::show(Some(at)))),
        ("last used", time::show(key.last_use_time.as_ref())),
    ];
    for (name, value) in facts {
        if !value.is_empty() {
            out.line(&format!("{name:<10} {}", value.replace(char::is_control, "\u{fffd}")))?;
        }
    }
    Ok(())
}

async fn rotate(context: &mut Context, id: String, overlap: Option<Duration>) -> Result<(), Failure> {
    let until = overlap.and_then(|overlap| When::Span(overlap).after(Timestamp::now()));
    let old_expire_time = until.map(time::to_proto);
    let request = RotateKeyRequest { id, old_expire_time, request_id: request_id() };
    let response = context.client.keys().rotate(request).await?;
    if context.json {
        return Ok(context.out.line(&json::encode("tollgate.admin.v1.RotateKeyResponse", &response)?)?);
    }
    context.out.line(&response.secret)?;
    let key = response.key.unwrap_or_default();
    let old = match until {
        Some(until) => format!("the old secret works until {} UTC", time::show(Some(&time::to_proto(until)))),
        None => "the old secret has stopped".to_owned(),
    };
    said_once(&mut context.out, &format!("rotated key {} ({}), {old}", key.id, key.name))
}

async fn revoke(context: &mut Context, id: String, yes: bool) -> Result<(), Failure> {
    if !yes {
        confirm(context, &id).await?;
    }
    context.client.keys().revoke(id.clone()).await?;
    if context.json {
        return Ok(context.out.line(&serde_json::json!({ "revoked": id }).to_string())?);
    }
    Ok(context.out.note(&format!("revoked key {id}"))?)
}

async fn confirm(context: &mut Context, id: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage("nobody to ask whether to revoke the key: say --yes".to_owned()));
    }
    let key = context.client.keys().get(id).await?;
    context.out.note(&format!("revoke key {id} ({}) for good? [y/N]", key.name))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Words("nothing was revoked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{super::out::tests::captured, *};

    #[test]
    fn a_key_is_shown_without_what_it_does_not_have() {
        let (mut out, stdout, _) = captured(false);
        let limit = amount::parse_limit("usd/day=20").unwrap();
        let key = Key { id: "AAAAAAAAAAAA".into(), limits: vec![limit], ..Key::default() };
        show(&mut out, false, &key).unwrap();
        let text = stdout.text();
        assert!(text.contains("limits     usd/day=20.00\n") && text.contains("expires    never\n"), "{text}");
        assert!(!text.contains("team"), "{text}");
    }

    #[test]
    fn the_secret_stands_alone_on_standard_output() {
        let (mut out, stdout, stderr) = captured(false);
        out.line("tg_id_secret").unwrap();
        said_once(&mut out, "made key id (n)").unwrap();
        assert_eq!(stdout.text(), "tg_id_secret\n");
        assert!(stderr.text().contains("cannot be shown again"));
    }
}
