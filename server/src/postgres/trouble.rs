//! Why PostgreSQL did not do something, by what can be done about it.

use tokio_postgres::error::SqlState;

/// Why PostgreSQL did not do something. The messages are for operators and hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It is away, hangs, ends, or has no connection left. The same can work later. Whether a change that was on its way
    /// was made is not known.
    #[error("PostgreSQL is away: {0}")]
    Away(String),
    /// It refuses what it was asked for, and will again.
    #[error("PostgreSQL refuses: {message}")]
    Refused {
        /// Its code for what is wrong.
        code: Option<SqlState>,
        /// What it says.
        message: String,
    },
    /// The tables are not those that this Tollgate works with.
    #[error("{0}")]
    Schema(String),
}

impl Trouble {
    /// Tells whether it refused because of that.
    pub fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if code == state)
    }

    /// Makes what a task says that ended before its work.
    pub(super) fn aborted() -> Self {
        Self::Away("the work was aborted".to_owned())
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return match std::error::Error::source(&error) {
                _ if error.is_closed() => Self::Away("the connection was closed".to_owned()),
                Some(source) if is_of_the_line(&error) => Self::Away(format!("{error}: {source}")),
                Some(source) => Self::Refused { code: None, message: format!("{error}: {source}") },
                None => Self::Refused { code: None, message: error.to_string() },
            };
        };
        let message = format!("{} ({})", told.message(), told.code().code());
        if may_pass(told.code()) {
            Self::Away(message)
        } else {
            Self::Refused { code: Some(told.code().clone()), message }
        }
    }
}

/// Tells whether the line failed, and not what was said over it.
fn is_of_the_line(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Tells whether the same can work later: no connection left, starting, ending, a lock, another's turn, a primary that
/// has become a standby, a role that is yet to be made.
fn may_pass(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::INVALID_CATALOG_NAME,
    ];
    matches!(class, "08" | "53" | "57" | "58" | "28" | "XX") || passing.contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for code in ["53300", "57P01", "57P03", "57014", "08006", "40P01", "40001", "55P03", "25006", "28P01"]
        {
            assert!(may_pass(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "23505", "22003", "42501", "22021"] {
            assert!(!may_pass(&SqlState::from_code(code)), "{code}");
        }
    }
}
