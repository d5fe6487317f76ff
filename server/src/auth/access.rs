//! What a key may do: scopes and models.

use crate::{
    call::{Caller, Scope},
    error::{Error, Reason},
};

/// Checks that the key may do this.
///
/// # Errors
/// `SCOPE_DENIED` with the scope's name.
pub fn permit(caller: &Caller, scope: Scope) -> Result<(), Error> {
    if caller.scopes.has(scope) {
        return Ok(());
    }
    let name = scope.as_str();
    Err(Error::new(
        Reason::ScopeDenied,
        format!("the key `{}` lacks the scope `{name}`; ask an admin to add it", caller.key_name),
    )
    .with("scope", name))
}

/// Checks that the key and its teams may call this model alias.
///
/// # Errors
/// `MODEL_NOT_ALLOWED` with the alias, saying whose rule it is.
pub fn permit_model(caller: &Caller, model: &str) -> Result<(), Error> {
    let shown = || -> String { model.chars().take(100).collect() };
    let hint = "GET /v1/models lists those it may";
    let message = if !caller.allowed_models.allow(model) {
        format!("the key `{}` may not call the model `{}`; {hint}", caller.key_name, shown())
    } else if let Some(team) = caller.teams.iter().find(|team| team.disabled) {
        format!("the team `{}` is disabled, and so are its keys; ask an admin to enable it", team.id)
    } else if let Some(team) = caller.teams.iter().find(|team| !team.allowed_models.allow(model)) {
        format!("the team `{}` may not call the model `{}`, nor may its keys; {hint}", team.id, shown())
    } else {
        return Ok(());
    };
    Err(Error::new(Reason::ModelNotAllowed, message).with("model", shown()))
}
