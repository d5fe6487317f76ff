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

/// Checks that the key may call this model alias.
///
/// # Errors
/// `MODEL_NOT_ALLOWED` with the alias.
pub fn permit_model(caller: &Caller, model: &str) -> Result<(), Error> {
    if caller.allowed_models.allow(model) {
        return Ok(());
    }
    let shown: String = model.chars().take(100).collect();
    Err(Error::new(
        Reason::ModelNotAllowed,
        format!(
            "the key `{}` may not call the model `{shown}`; GET /v1/models lists those it may",
            caller.key_name
        ),
    )
    .with("model", shown))
}
