//! Top-ups and resets: who may do them is `auth`'s to say, and how the limits stand is `quota`'s.

use tollgate_api::admin;

use super::Pipeline;
use crate::{auth::Measured, call::Caller, error::Error, quota::Standing};

impl Pipeline {
    /// Raises a limit for the window that runs.
    ///
    /// # Errors
    /// As `BudgetService.TopUp`.
    pub async fn top_up(
        &self,
        caller: &Caller,
        request: admin::TopUpRequest,
    ) -> Result<admin::TopUpResponse, Error> {
        let measured = self.measure(caller, &request.subject, &request.metric, &request.window).await?;
        self.auth.top_up(caller, request, measured).await
    }

    /// Sets what was used in the window that runs to zero.
    ///
    /// # Errors
    /// As `BudgetService.ResetUsage`.
    pub async fn reset_usage(
        &self,
        caller: &Caller,
        request: admin::ResetUsageRequest,
    ) -> Result<admin::ResetUsageResponse, Error> {
        let measured = self.measure(caller, &request.subject, &request.metric, &request.window).await?;
        self.auth.reset_usage(caller, request, measured).await
    }

    async fn measure(
        &self,
        caller: &Caller,
        subject: &str,
        metric: &str,
        window: &str,
    ) -> Result<Measured, Error> {
        let about = (subject.to_owned(), metric.to_owned(), window.to_owned());
        let rules = self.auth.limits_of(caller, about.0, about.1, about.2).await?;
        let standing = self.quota.standing_of(&rules).await?;
        let counted = |one: &Standing| (one.rule.counter.to_string(), one.used.saturating_add(one.forgiven));
        Ok(Measured {
            used: standing.iter().map(|one| one.used).max().unwrap_or(0),
            counted: standing.iter().map(counted).collect(),
            end: standing.iter().find_map(|one| one.reset),
        })
    }
}
