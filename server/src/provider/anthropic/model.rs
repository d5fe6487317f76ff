//! What a model of Claude's can do, told from its id: ids name their generation on every cloud.

/// The generation of a model: `claude-3-5-sonnet-latest` is 3.5, `claude-sonnet-4@20250514` is 4.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    version: (u32, u32),
    /// Models of these families always think.
    always_thinks: bool,
}

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    /// It cannot.
    Never,
    /// With a budget of tokens.
    ByBudget,
    /// As much as it likes, by effort; a budget is still taken.
    ByEffortOrBudget,
    /// As much as it likes, by effort; a budget is refused.
    ByEffort,
}

/// The most output that models before 3.7 give.
const OLD_MAX_TOKENS: i64 = 4096;
/// What is asked for where the caller sets no bound, which the API demands: the most that every model since 3.7 takes.
const DEFAULT_MAX_TOKENS: i64 = 32_000;

impl Generation {
    /// Reads a model's id. An id that tells no generation counts as the newest.
    pub(super) fn of(model: &str) -> Self {
        let id = model.to_ascii_lowercase();
        let name = id.find("claude").map_or("", |at| &id[at..]);
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        // Longer numbers are dates.
        let number = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
        let major = words.find_map(number);
        let minor = words.next().and_then(number).unwrap_or(0);
        Self {
            version: major.map_or((u32::MAX, 0), |major| (major, minor)),
            always_thinks: name.contains("fable") || name.contains("mythos"),
        }
    }

    pub(super) fn thinks(self) -> Thinks {
        match self.version {
            _ if self.always_thinks => Thinks::ByEffort,
            (..3, _) | (3, ..7) => Thinks::Never,
            (3, _) | (4, ..6) => Thinks::ByBudget,
            (4, 6) => Thinks::ByEffortOrBudget,
            _ => Thinks::ByEffort,
        }
    }

    pub(super) fn always_thinks(self) -> bool {
        self.always_thinks
    }

    /// Tells whether it knows the effort between `high` and `max`.
    pub(super) fn knows_xhigh(self) -> bool {
        self.version >= (4, 7)
    }

    /// Tells whether it takes `temperature`, `top_p` and `top_k`.
    pub(super) fn takes_sampling(self) -> bool {
        self.version < (4, 7)
    }

    /// Tells whether it takes `temperature` and `top_p` in one request.
    pub(super) fn takes_both_samplings(self) -> bool {
        self.version < (4, 1)
    }

    /// Tells whether it can be bound to a JSON Schema.
    pub(super) fn takes_schemas(self) -> bool {
        self.version >= (4, 1)
    }

    /// Tells whether instructions may stand in the middle of a conversation.
    pub(super) fn takes_late_instructions(self) -> bool {
        self.version >= (4, 8)
    }

    /// Tells whether it goes on with a last message of the assistant; newer models refuse one.
    pub(super) fn takes_prefill(self) -> bool {
        self.version < (4, 6)
    }

    pub(super) fn default_max_tokens(self) -> i64 {
        if self.version < (3, 7) { OLD_MAX_TOKENS } else { DEFAULT_MAX_TOKENS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_cloud_tell_their_generation() {
        for (id, version) in [
            ("claude-2.1", (2, 1)),
            ("claude-3-haiku-20240307", (3, 0)),
            ("claude-3-5-sonnet-latest", (3, 5)),
            ("claude-3-7-sonnet-20250219", (3, 7)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-sonnet-4-0", (4, 0)),
            ("claude-opus-4-1@20250805", (4, 1)),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
            ("anthropic.claude-opus-4-6-v1", (4, 6)),
            ("anthropic/claude-sonnet-4.6", (4, 6)),
            ("claude-opus-5", (5, 0)),
            ("my-deployment", (u32::MAX, 0)),
        ] {
            assert_eq!(Generation::of(id).version, version, "{id}");
        }
        assert!(Generation::of("claude-fable-5").always_thinks());
    }

    #[test]
    fn an_answer_is_gone_on_with_by_models_that_are_known_to() {
        for (id, takes) in [
            ("claude-3-5-haiku-latest", true),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", true),
            ("claude-opus-4-6", false),
            ("claude-sonnet-5", false),
            ("my-deployment", false),
        ] {
            assert_eq!(Generation::of(id).takes_prefill(), takes, "{id}");
        }
    }

    #[test]
    fn generations_think_in_their_own_way() {
        for (id, thinks) in [
            ("claude-3-5-haiku-latest", Thinks::Never),
            ("claude-3-7-sonnet-latest", Thinks::ByBudget),
            ("claude-opus-4-5", Thinks::ByBudget),
            ("claude-sonnet-4-6", Thinks::ByEffortOrBudget),
            ("claude-opus-4-7", Thinks::ByEffort),
            ("claude-sonnet-5", Thinks::ByEffort),
            ("claude-mythos-preview", Thinks::ByEffort),
            ("my-deployment", Thinks::ByEffort),
        ] {
            assert_eq!(Generation::of(id).thinks(), thinks, "{id}");
        }
    }
}
