//! What a call may use at most, and its reservation: what the plan and the price list know, told to the quota room.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use tollgate_api::v1;

use super::Pipeline;
use crate::{
    call::{Call, Caller, Endpoint, ModelGlobs, Operation, Rule, Target, glob_matches},
    config::Unpriced,
    error::Error,
    meter::Open,
    quota::{self, Admitted, Amounts, Applies, Offer, Standing, Wanted},
    route::Plan,
};

/// No tokenizer packs ordinary text tighter than this on average, so the bound holds.
const BYTES_PER_TOKEN_AT_LEAST: usize = 2;
/// What providers' own framing adds to the shortest prompt, with room to spare.
const TEMPLATE_TOKENS: i64 = 16;
/// More than any call can use, and little enough that its price is a number.
const MOST_TOKENS: i64 = 1 << 40;
/// Output reserved, and asked for under a budget, where neither the caller nor the catalog names a cap.
const ASSUMED_OUTPUT_TOKENS: i64 = 4096;

/// What the request itself tells of what will be billed beside tokens, by name.
pub(super) type Units<'u> = &'u [(&'static str, i64)];

impl Pipeline {
    /// Reserves the most the call may use and has it settled with the call. Under a limit on output or cost, targets get
    /// the bound of the answer that is reserved, and those whose price is not known may be left out.
    pub(super) async fn reserve(
        &self,
        open: &mut Open,
        plan: &mut Plan,
        units: Units<'_>,
    ) -> Result<Admitted, Error> {
        let call = &open.call;
        let model = plan.limits.clone();
        let applies = Applies { caller: &call.caller, model: &call.asked.model, tags: &call.tags };
        // A count uses no tokens, only a request.
        let is_count = call.operation == Operation::CountTokens;
        if !is_count {
            self.refuse_unpriced(call, plan, applies, &model)?;
            self.cap(call, plan, applies, &model);
        }
        let most_at = |target: &Target| {
            if is_count { Amounts::default() } else { self.most_at(call, target, units).0 }
        };
        let mut rules = self.quota.rules(applies, &model).peekable();
        // Without limits nobody needs to know.
        let most = rules
            .peek()
            .and_then(|_| plan.all().map(|candidate| most_at(&candidate.target)).reduce(Amounts::at_least));
        let charges = rules.map(|rule| quota::charge(rule, most.unwrap_or_default())).collect();
        let limited = plan.all().filter(|candidate| !candidate.limits.is_empty());
        let offers = limited.map(|candidate| {
            let most = most_at(&candidate.target);
            let charges = applies.of(candidate.limits.iter()).map(|rule| quota::charge(rule, most)).collect();
            Offer { target: candidate.target.name.clone(), charges }
        });
        let (offers, deadline) = (offers.collect(), self.deadline(call).at);
        let wanted = Wanted { call: call.id, caller: &call.caller, charges, offers, deadline };
        let admitted = self.quota.admit(wanted).await?;
        open.call.waited += admitted.waited;
        if let Some(spending) = admitted.spending.clone() {
            let on_abandon = spending.clone();
            open.on_abandon(move || on_abandon.leave());
            open.on_settle(move |settled| spending.settle(settled));
        }
        Ok(admitted)
    }

    /// Leaves out the targets whose price is not known where a budget must hold and the configuration says so.
    ///
    /// # Errors
    /// If none is left.
    fn refuse_unpriced(
        &self,
        call: &Call,
        plan: &mut Plan,
        applies: Applies<'_>,
        model: &[Arc<Rule>],
    ) -> Result<(), Error> {
        if self.unpriced == Unpriced::Allow {
            return Ok(());
        }
        let budget =
            |rules: &[Arc<Rule>]| applies.of(rules.iter()).find(|rule| quota::needs_price(rule)).cloned();
        let of_call = self.quota.rules(applies, model).find(|rule| quota::needs_price(rule)).cloned();
        let mut because = None;
        plan.retain(|candidate| {
            let held = of_call.clone().or_else(|| budget(&candidate.limits));
            let left_out = held.filter(|_| !self.most_at(call, &candidate.target, &[]).1);
            let stays = left_out.is_none();
            because = left_out.or(because.take());
            stays
        });
        match because.filter(|_| plan.candidates.is_empty()) {
            Some(rule) => Err(quota::unpriced(&rule, &call.caller, &call.asked.model)),
            None => Ok(()),
        }
    }

    /// Bounds the answer of targets where a limit, or the cap of the call itself, must know how long it can get and the
    /// caller does not say.
    fn cap(&self, call: &Call, plan: &mut Plan, applies: Applies<'_>, model: &[Arc<Rule>]) {
        if call.operation != Operation::Chat || call.asked.max_output_tokens.is_some() {
            return;
        }
        let of_call = call.options.max_cost_nanos.is_some()
            || self.quota.rules(applies, model).any(|rule| quota::needs_cap(rule));
        for candidate in plan.all_mut() {
            if of_call || applies.of(candidate.limits.iter()).any(|rule| quota::needs_cap(rule)) {
                candidate.output_cap = Some(self.output_cap(&candidate.target));
            }
        }
    }

    fn output_cap(&self, target: &Target) -> i64 {
        let facts = self.meter.catalog().facts(&target.vendor, &target.model);
        facts.and_then(|facts| facts.max_output_tokens).unwrap_or(ASSUMED_OUTPUT_TOKENS)
    }

    /// Returns the upper bound of what a call may use at a target, and whether its price is known.
    pub(super) fn most_at(&self, call: &Call, target: &Target, units: Units<'_>) -> (Amounts, bool) {
        let input_tokens = i64::try_from(call.asked.input_bytes / BYTES_PER_TOKEN_AT_LEAST)
            .unwrap_or(MOST_TOKENS)
            .saturating_add(TEMPLATE_TOKENS)
            .min(MOST_TOKENS);
        let output_tokens = match call.operation {
            Operation::Chat | Operation::PassThrough(Endpoint::Native) => {
                call.asked.max_output_tokens.unwrap_or_else(|| self.output_cap(target))
            }
            Operation::Embeddings | Operation::CountTokens | Operation::PassThrough(_) => 0,
        };
        let output_tokens = output_tokens.saturating_mul(call.asked.choice_count.max(1)).min(MOST_TOKENS);
        let usage = v1::Usage {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            billable_units: units.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ..Default::default()
        };
        let cost_nanos = self.meter.catalog().at_most(target, &usage);
        (Amounts { input_tokens, output_tokens, cost_nanos: cost_nanos.unwrap_or(0) }, cost_nanos.is_some())
    }

    /// Tells how every limit stands that holds for calls of a key: its own, its teams', those of the models that it may
    /// ask for, and the gateway's.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing(&self, caller: &Caller) -> Result<v1::GetQuotaResponse, Error> {
        self.quota.standing(caller, self.limits_of_models(caller)).await
    }

    /// Tells how the limits of targets stand.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing_of_targets(&self) -> Result<Vec<v1::Quota>, Error> {
        let standing = self.quota.standing_of(&self.routes.limits_of_targets()).await?;
        Ok(standing.iter().map(Standing::to_proto).collect())
    }

    /// Tells each time when what is used of one of these limits passes a threshold.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for thresholds that cannot be passed.
    pub fn watch_quota(
        &self,
        caller: &Arc<Caller>,
        request: v1::WatchQuotaRequest,
    ) -> Result<BoxStream<'static, Result<v1::WatchQuotaResponse, Error>>, Error> {
        let models = self.limits_of_models(caller).collect();
        let (auth, caller) = (self.auth.clone(), caller.clone());
        // The configuration's `admin_key` is no key of the store.
        let caller = move || auth.caller(&caller.key_id).unwrap_or_else(|| caller.clone());
        self.quota.watch(caller, models, request)
    }

    /// Returns the limits of the models that a caller may ask for.
    fn limits_of_models<'c>(&'c self, caller: &'c Caller) -> impl Iterator<Item = Arc<Rule>> + 'c {
        let teams = caller.teams.iter().map(|team| &team.allowed_models);
        let may_ask = move |model: &str| {
            // Of a pattern, a caller may ask for some that it matches.
            let within =
                |globs: &[String]| globs.iter().any(|glob| glob_matches(model.as_bytes(), glob.as_bytes()));
            let allows = |globs: &ModelGlobs| globs.allow(model) || within(globs.as_slice());
            allows(&caller.allowed_models) && teams.clone().all(allows)
        };
        self.routes
            .limits()
            .filter(move |(model, _)| may_ask(model))
            .flat_map(|(_, rules)| rules.iter().cloned())
    }
}
