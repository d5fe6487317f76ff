//! How tokens are chosen, as far as the generation of the model lets callers choose.

use tollgate_api::v1::Sampling;

use super::{
    model::Generation,
    translate::{Lost, finite},
    write::Object,
};
use crate::provider::Error;

/// The most that the API takes.
const MOST_TEMPERATURE: f64 = 1.0;
/// The least `top_p` beside which a model may think.
const LEAST_THINKING_TOP_P: f64 = 0.95;

/// Writes the sampling parameters. `thinking` rules some of them out.
pub(super) fn write(
    body: &mut Object<'_>,
    sampling: Option<&Sampling>,
    generation: Generation,
    thinking: bool,
    lost: &mut Lost,
) -> Result<(), Error> {
    let Some(sampling) = sampling else { return Ok(()) };
    if sampling.seed.is_some() {
        lost.parameter("input.sampling.seed", "Anthropic's API has no such parameter")?;
    }
    let temperature = finite(sampling.temperature, "input.sampling.temperature")?;
    let top_p = finite(sampling.top_p, "input.sampling.top_p")?;
    if let Some(value) = temperature {
        let why = refuses_temperature(value, generation, thinking);
        if allowed("temperature", why, lost)? {
            body.double("temperature", Some(value));
        }
    }
    if let Some(value) = top_p {
        let why = match () {
            () if !generation.takes_sampling() => Some(FIXED),
            () if thinking && value < LEAST_THINKING_TOP_P => {
                Some("it must be at least 0.95 where the model thinks")
            }
            () if temperature.is_some() && !generation.takes_both_samplings() => {
                Some("the model takes `temperature` or `top_p`")
            }
            () => None,
        };
        if allowed("top_p", why, lost)? {
            body.double("top_p", Some(value));
        }
    }
    if let Some(value) = sampling.top_k {
        let why = match () {
            () if !generation.takes_sampling() => Some(FIXED),
            () if thinking => Some("the model takes it only where it does not think"),
            () => None,
        };
        if allowed("top_k", why, lost)? {
            body.int("top_k", Some(value.into()));
        }
    }
    Ok(())
}

const FIXED: &str = "the model chooses its tokens itself";

fn refuses_temperature(value: f64, generation: Generation, thinking: bool) -> Option<&'static str> {
    if value > MOST_TEMPERATURE {
        return Some("it must be at most 1");
    }
    // One is the default, which nothing rules out.
    if value >= MOST_TEMPERATURE {
        return None;
    }
    match (generation.takes_sampling(), thinking) {
        (false, _) => Some(FIXED),
        (true, true) => Some("it must be 1 where the model thinks"),
        (true, false) => None,
    }
}

fn allowed(name: &str, why_not: Option<&str>, lost: &mut Lost) -> Result<bool, Error> {
    if let Some(why) = why_not {
        lost.parameter(&format!("input.sampling.{name}"), why)?;
    }
    Ok(why_not.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sampling: &Sampling, model: &str, thinking: bool) -> (String, Vec<String>) {
        let (mut json, mut lost) = (String::new(), Lost::new(false));
        let mut body = Object::begin(&mut json);
        write(&mut body, Some(sampling), Generation::of(model), thinking, &mut lost).unwrap();
        body.end();
        (json, lost.warnings.into_iter().map(|warning| warning.field).collect())
    }

    #[test]
    fn generations_and_thinking_rule_parameters_out() {
        let all =
            Sampling { temperature: Some(0.5), top_p: Some(0.9), top_k: Some(5), ..Sampling::default() };
        const ALL: [&str; 3] = ["input.sampling.temperature", "input.sampling.top_p", "input.sampling.top_k"];
        let cases: &[(&str, bool, &str, &[&str])] = &[
            ("claude-3-7-sonnet", false, r#"{"temperature":0.5,"top_p":0.9,"top_k":5}"#, &[]),
            ("claude-sonnet-4-5", false, r#"{"temperature":0.5,"top_k":5}"#, &ALL[1..2]),
            ("claude-sonnet-4-5", true, "{}", &ALL),
            ("claude-opus-4-7", false, "{}", &ALL),
        ];
        for (model, thinking, json, warned) in cases {
            let (sent, fields) = sent(&all, model, *thinking);
            assert_eq!((sent.as_str(), fields.len()), (*json, warned.len()), "{model} {thinking}");
            assert_eq!(fields, *warned, "{model} {thinking}");
        }
        let one = Sampling { temperature: Some(1.0), ..Sampling::default() };
        assert_eq!(sent(&one, "claude-opus-4-7", true).0, r#"{"temperature":1.0}"#);
    }

    #[test]
    fn what_the_api_lacks_is_told() {
        let sampling = Sampling { seed: Some(1), temperature: Some(1.5), ..Sampling::default() };
        let (json, warned) = sent(&sampling, "claude-haiku-4-5", false);
        assert_eq!(json, "{}");
        assert_eq!(warned, ["input.sampling.seed", "input.sampling.temperature"]);
    }

    #[test]
    fn numbers_must_be_finite() {
        let sampling = Sampling { top_p: Some(f64::NAN), ..Sampling::default() };
        let mut json = String::new();
        let mut body = Object::begin(&mut json);
        let generation = Generation::of("claude-opus-4-5");
        let error = write(&mut body, Some(&sampling), generation, false, &mut Lost::new(false)).unwrap_err();
        assert!(error.caller.is_some());
    }
}
