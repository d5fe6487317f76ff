//! Parameters that a vendor has not, or refuses the whole call for: left out with a warning, by a list of names.

use std::borrow::Cow;

use tollgate_api::v1::ChatInput;

use super::{Error, translate::Lost};

/// A field that can be taken out of a request.
struct Field {
    /// Its name in the list, as in `Vendor::refuses`.
    name: &'static str,
    /// Its path, for the warning.
    path: &'static str,
    is_set: fn(&ChatInput) -> bool,
    clear: fn(&mut ChatInput),
}

/// Writes a row for a field of `Sampling`.
macro_rules! sampling {
    ($name:ident, $is_set:ident) => {
        Field {
            name: stringify!($name),
            path: concat!("input.sampling.", stringify!($name)),
            is_set: |input| input.sampling.as_ref().is_some_and(|sampling| sampling.$name.$is_set()),
            clear: |input| {
                if let Some(sampling) = &mut input.sampling {
                    sampling.$name = Default::default();
                }
            },
        }
    };
}

/// Writes a row for a field of the request.
macro_rules! direct {
    ($name:ident, $is_set:expr) => {
        Field {
            name: stringify!($name),
            path: concat!("input.", stringify!($name)),
            is_set: $is_set,
            clear: |input| input.$name = Default::default(),
        }
    };
}

static FIELDS: &[Field] = &[
    sampling!(frequency_penalty, is_some),
    sampling!(presence_penalty, is_some),
    sampling!(min_p, is_some),
    sampling!(repetition_penalty, is_some),
    Field {
        name: "logit_bias",
        path: "input.sampling.logit_bias",
        is_set: |input| input.sampling.as_ref().is_some_and(|sampling| !sampling.logit_bias.is_empty()),
        clear: |input| {
            if let Some(sampling) = &mut input.sampling {
                sampling.logit_bias.clear();
            }
        },
    },
    direct!(audio, |input| input.audio.is_some()),
    direct!(choice_count, |input| input.choice_count.is_some_and(|count| count > 1)),
    direct!(logprobs, |input| input.logprobs.is_some()),
    direct!(metadata, |input| !input.metadata.is_empty()),
    direct!(end_user_id, |input| !input.end_user_id.is_empty()),
    direct!(output_modalities, |input| input.output_modalities.iter().any(|one| one != "text")),
    direct!(prediction, |input| !input.prediction.is_empty()),
    direct!(prompt_cache, |input| input.prompt_cache.is_some()),
    direct!(service_tier, |input| !input.service_tier.is_empty()),
    direct!(store, |input| input.store.is_some()),
    direct!(verbosity, |input| !input.verbosity.is_empty()),
    Field {
        name: "prompt_cache_options",
        path: "input.prompt_cache.mode",
        is_set: |input| {
            input.prompt_cache.as_ref().is_some_and(|cache| !cache.mode.is_empty() || !cache.ttl.is_empty())
        },
        clear: |input| {
            if let Some(cache) = &mut input.prompt_cache {
                cache.mode.clear();
                cache.ttl.clear();
            }
        },
    },
    Field {
        name: "message_name",
        path: "input.messages.name",
        is_set: |input| input.messages.iter().any(|message| !message.name.is_empty()),
        clear: |input| input.messages.iter_mut().for_each(|message| message.name.clear()),
    },
];

/// Takes out of a request what is in the list. Copies it only if there is something to take out.
///
/// # Errors
/// `Unsupported` if the caller wants that instead of a warning.
pub(in crate::provider) fn without<'a>(
    input: &'a ChatInput,
    names: &[&str],
    lost: &mut Lost,
) -> Result<Cow<'a, ChatInput>, Error> {
    let mut input = Cow::Borrowed(input);
    for field in FIELDS.iter().filter(|field| names.contains(&field.name)) {
        if (field.is_set)(&input) {
            lost.parameter(field.path, "the provider does not take it")?;
            (field.clear)(input.to_mut());
        }
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use tollgate_api::v1::{LogprobOptions, Message, Sampling};

    use super::*;
    use crate::provider::vendors::{VENDORS, find};

    #[test]
    fn every_refusal_of_the_table_has_its_row() {
        for vendor in VENDORS {
            for name in vendor.refuses {
                assert!(FIELDS.iter().any(|field| field.name == *name), "{} of {}", name, vendor.name);
            }
        }
    }

    #[test]
    fn what_a_vendor_refuses_is_left_out_with_its_path() {
        let input = ChatInput {
            sampling: Some(Sampling { presence_penalty: Some(0.5), ..Sampling::default() }),
            logprobs: Some(LogprobOptions::default()),
            choice_count: Some(1),
            messages: vec![Message { name: "ada".into(), ..Message::default() }],
            ..ChatInput::default()
        };
        let mut lost = Lost::new(false);
        let sent = without(&input, find("groq").unwrap().refuses, &mut lost).unwrap();
        let fields: Vec<&str> = lost.warnings.iter().map(|warning| warning.field.as_str()).collect();
        assert_eq!(fields, ["input.logprobs", "input.messages.name"]);
        assert!(sent.logprobs.is_none() && sent.messages[0].name.is_empty() && sent.choice_count.is_some());
        let refused = without(&input, find("cerebras").unwrap().refuses, &mut Lost::new(true)).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("input.sampling.presence_penalty"));
        let untouched = without(&input, find("together").unwrap().refuses, &mut Lost::new(true)).unwrap();
        assert!(matches!(untouched, Cow::Borrowed(_)));
    }
}
