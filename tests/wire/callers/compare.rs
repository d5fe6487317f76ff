//! Compares what a caller got with what the recording says.

use super::carries;
use crate::{
    family::Family,
    read::{Choice, Counts, Expected},
};

/// Compares. `family` is the caller's dialect, which may not be able to say everything.
pub fn compare(family: Family, expected: &Expected, got: &Expected) -> Result<(), String> {
    if expected.failed || got.failed {
        return if expected.failed == got.failed {
            Ok(())
        } else {
            Err(format!("failed is {}, not {}", got.failed, expected.failed))
        };
    }
    let expected = carries::reduced(family, expected);
    let numbers = |all: &Expected| all.choices.keys().copied().collect::<Vec<_>>();
    if numbers(&expected) != numbers(got) {
        return Err(format!("choices {:?}, not {:?}", numbers(got), numbers(&expected)));
    }
    for (index, want) in &expected.choices {
        choice(family, want, &got.choices[index]).map_err(|why| format!("choice {index}: {why}"))?;
    }
    counts(&expected.usage, &got.usage)
}

fn choice(family: Family, want: &Choice, got: &Choice) -> Result<(), String> {
    for (what, want, got) in [
        ("text", &want.text, &got.text),
        ("thoughts", &want.thoughts, &got.thoughts),
        ("refusal", &want.refusal, &got.refusal),
    ] {
        if want != got {
            let at = want.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
            let from = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[at..]).chars().take(60).collect::<String>()
            };
            return Err(format!(
                "{what} differs from byte {at}: expected {:?}, got {:?}",
                from(want),
                from(got)
            ));
        }
    }
    if want.calls != got.calls {
        return Err(format!("calls: expected {:?}, got {:?}", want.calls, got.calls));
    }
    if !carries::may_say(family, want.finish, got.finish) {
        return Err(format!("finish: expected {:?}, got {:?}", want.finish, got.finish));
    }
    Ok(())
}

/// Compares counts. What the provider did not tell is not compared; a detail of zero is as good as none. Some tell more
/// cached tokens than there were, which a caller that adds the parts up must not see.
pub fn counts(want: &Counts, got: &Counts) -> Result<(), String> {
    let want_input = want.input;
    for (what, want, got) in [
        ("input", want.input, got.input),
        ("output", want.output, got.output),
        ("cached", want.cache_read.filter(|count| *count > 0), got.cache_read),
        ("reasoning", want.reasoning.filter(|count| *count > 0), got.reasoning),
    ] {
        let capped = what == "cached" && got.is_some() && got == want_input;
        if want.is_some() && want != got && !capped {
            return Err(format!("{what} tokens: expected {want:?}, got {got:?}"));
        }
    }
    Ok(())
}
