//! `tollctl teams`: make, list, show, change and delete teams.

use clap::{Args, Subcommand};
use prost_types::FieldMask;
use tollgate_client::api::admin::{CreateTeamRequest, Limit, ListTeamsResponse, Team, UpdateTeamRequest};

use super::{
    Context, amount,
    changes::{LimitChanges, change},
    failure::Failure,
    json,
    out::Out,
    table::{Column, Table},
    time,
};

/// Full name of a team in the contract.
const TEAM: &str = "tollgate.admin.v1.Team";

/// The commands about teams.
#[derive(Subcommand)]
pub(crate) enum TeamsCommand {
    /// Make a team
    Create(CreateArgs),
    /// List teams
    List {
        /// Only teams that belong directly to this one
        #[arg(long, value_name = "ID", default_value = "")]
        parent: String,
    },
    /// Show one team
    Get {
        /// Id of the team
        id: String,
    },
    /// Change a team: only what is given
    Update(UpdateArgs),
    /// Delete a team that has neither keys nor teams
    Delete {
        /// Id of the team
        id: String,
    },
}

/// Arguments of `teams create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Id: lower-case letters, digits, `.`, `_` and `-`, e.g. search
    id: String,
    /// Name for people [default: the id]
    #[arg(long, default_value = "")]
    name: String,
    /// Team that it belongs to, whose models and limits hold too
    #[arg(long, value_name = "ID", default_value = "")]
    parent: String,
    /// Models its keys may ask for, with * for any characters [default: every model of the parent]
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    model: Vec<String>,
    /// Limit or budget over all its keys and teams: requests/minute=600, usd/month=500
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit)]
    limit: Vec<Limit>,
    /// Limit of a new key of the team that is made without any
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit)]
    key_limit: Vec<Limit>,
}

/// Arguments of `teams update`.
#[derive(Args, Default)]
pub(crate) struct UpdateArgs {
    /// Id of the team
    id: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// Models, in place of all that it has
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    model: Vec<String>,
    /// Model to add
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    add_model: Vec<String>,
    /// Model to remove
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    remove_model: Vec<String>,
    #[command(flatten)]
    limits: LimitChanges,
    /// Limits of new keys that are made without any, in place of all that there are
    #[arg(long, value_name = "LIMIT", value_parser = amount::parse_limit, conflicts_with = "no_key_limits")]
    key_limit: Vec<Limit>,
    /// Give new keys no limits
    #[arg(long)]
    no_key_limits: bool,
    /// Refuse the calls of its keys and of the teams below it for now
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let them call again
    #[arg(long)]
    enable: bool,
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, command: TeamsCommand) -> Result<(), Failure> {
    match command {
        TeamsCommand::Create(args) => {
            let made = context.client.teams().create(args.into_request()).await?;
            show(&mut context.out, context.json, &made)
        }
        TeamsCommand::List { parent } => list(context, parent).await,
        TeamsCommand::Get { id } => {
            let team = context.client.teams().get(id).await?;
            show(&mut context.out, context.json, &team)
        }
        TeamsCommand::Update(args) => update(context, args).await,
        TeamsCommand::Delete { id } => {
            context.client.teams().delete(id.clone()).await?;
            if context.json {
                return Ok(context.out.line(&serde_json::json!({ "deleted": id }).to_string())?);
            }
            Ok(context.out.note(&format!("deleted team {id}"))?)
        }
    }
}

impl CreateArgs {
    fn into_request(self) -> CreateTeamRequest {
        let team = Team {
            id: self.id,
            name: self.name,
            parent_id: self.parent,
            allowed_models: self.model,
            limits: self.limit,
            default_key_limits: self.key_limit,
            ..Team::default()
        };
        CreateTeamRequest { team: Some(team) }
    }
}

impl UpdateArgs {
    /// Applies what is given to a team, and returns the paths of the fields that it is about.
    fn apply(&self, team: &mut Team) -> Vec<&'static str> {
        let mut paths = Vec::new();
        if let Some(name) = &self.name {
            team.name.clone_from(name);
            paths.push("name");
        }
        if change(&mut team.allowed_models, &self.model, &self.add_model, &self.remove_model) {
            paths.push("allowed_models");
        }
        if self.limits.apply(&mut team.limits) {
            paths.push("limits");
        }
        if self.no_key_limits || !self.key_limit.is_empty() {
            team.default_key_limits.clone_from(&self.key_limit);
            paths.push("default_key_limits");
        }
        if self.disable || self.enable {
            team.disabled = self.disable;
            paths.push("disabled");
        }
        paths
    }
}

async fn update(context: &mut Context, args: UpdateArgs) -> Result<(), Failure> {
    if args.apply(&mut Team::default()).is_empty() {
        return Err(Failure::Usage("nothing to change: see tollctl teams update --help".to_owned()));
    }
    // The etag that comes with the team makes sure that nobody else's change is overwritten.
    let mut team = context.client.teams().get(args.id.as_str()).await?;
    let paths = args.apply(&mut team).into_iter().map(str::to_owned).collect();
    let request = UpdateTeamRequest { team: Some(team), update_mask: Some(FieldMask { paths }) };
    let updated = context.client.teams().update(request).await?;
    show(&mut context.out, context.json, &updated)
}

async fn list(context: &mut Context, parent: String) -> Result<(), Failure> {
    let teams = context.client.teams().list_all(parent).await?;
    if context.json {
        let all = ListTeamsResponse { teams, next_page_token: String::new() };
        return Ok(context.out.line(&json::encode("tollgate.admin.v1.ListTeamsResponse", &all)?)?);
    }
    if teams.is_empty() {
        return Ok(context.out.note("no teams")?);
    }
    let names = ["id", "name", "parent", "models", "limits", "limits of new keys", "state"];
    let mut table = Table::new(names.map(Column::left));
    for team in &teams {
        table.row([
            team.id.clone(),
            team.name.clone(),
            team.parent_id.clone(),
            team.allowed_models.join(","),
            amount::limits(&team.limits),
            amount::limits(&team.default_key_limits),
            state(team).to_owned(),
        ]);
    }
    for line in table.lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

fn state(team: &Team) -> &'static str {
    match team {
        Team { disabled: true, .. } => "disabled",
        Team { declared: true, .. } => "declared",
        _ => "active",
    }
}

/// Prints one team, one fact a line.
fn show(out: &mut Out, as_json: bool, team: &Team) -> Result<(), Failure> {
    if as_json {
        return Ok(out.line(&json::encode(TEAM, team)?)?);
    }
    let facts = [
        ("id", team.id.clone()),
        ("name", team.name.clone()),
        ("parent", team.parent_id.clone()),
        ("state", state(team).to_owned()),
        ("models", team.allowed_models.join(" ")),
        ("limits", amount::limits(&team.limits)),
        ("new keys", amount::limits(&team.default_key_limits)),
        ("made (UTC)", time::show(team.create_time.as_ref())),
        ("made by", team.created_by.clone()),
    ];
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.line(&format!("{name:<10} {}", value.replace(char::is_control, "\u{fffd}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::out::tests::captured, *};

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        let args = UpdateArgs { enable: true, no_key_limits: true, ..UpdateArgs::default() };
        let limit = amount::parse_limit("requests/minute=60").unwrap();
        let mut team = Team { disabled: true, default_key_limits: vec![limit], ..Team::default() };
        assert_eq!(args.apply(&mut team), ["default_key_limits", "disabled"]);
        assert!(!team.disabled && team.default_key_limits.is_empty());
        assert!(UpdateArgs::default().apply(&mut team).is_empty());
    }

    #[test]
    fn a_team_is_shown_without_what_it_does_not_have() {
        let (mut out, stdout, _) = captured(false);
        let limits = vec![amount::parse_limit("usd/month=500,soft").unwrap()];
        show(&mut out, false, &Team { id: "search".into(), limits, ..Team::default() }).unwrap();
        let text = stdout.text();
        assert!(text.contains("limits     usd/month=500.00,soft\n") && !text.contains("parent"), "{text}");
    }
}
