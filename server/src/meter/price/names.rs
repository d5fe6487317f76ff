//! By which names a model may stand in the price list, when its own is not there.

/// Where Bedrock's inference profiles route to, as their names begin. A profile that is not listed costs what the model
/// does.
const BEDROCK_PROFILES: [&str; 9] = ["us", "eu", "apac", "jp", "au", "ca", "sa", "us-gov", "global"];
/// What OpenRouter takes after a model's name for another way to choose who serves it. `free` is not here: another
/// price must never be taken for it.
const OPENROUTER_VARIANTS: [&str; 6] = ["nitro", "floor", "online", "exacto", "beta", "thinking"];

/// Returns the names to look for, the most exact first: as it is, without what is around it, without its date.
pub(super) fn candidates<'a>(vendor: &str, model: &'a str) -> impl Iterator<Item = &'a str> {
    let bare = bare(vendor, model);
    let base = base(vendor, bare);
    let names = [Some(model), Some(bare), base, undated(bare), base.and_then(undated)];
    let mut seen: [Option<&str>; 5] = [None; 5];
    names.into_iter().enumerate().filter_map(move |(place, name)| {
        let fresh = name.filter(|name| !name.is_empty() && !seen.contains(&Some(*name)));
        seen[place] = fresh;
        fresh
    })
}

/// Takes the name of a model out of a path or an ARN.
fn bare<'a>(vendor: &str, model: &'a str) -> &'a str {
    let last = || model.rsplit('/').next().unwrap_or(model);
    match vendor {
        "bedrock" if model.starts_with("arn:") => last(),
        "gemini" => model.strip_prefix("models/").unwrap_or(model),
        "vertex" if model.contains("publishers/") => last(),
        _ => model,
    }
}

/// Takes away what a vendor's name adds to that of the model that is priced.
fn base<'a>(vendor: &str, model: &'a str) -> Option<&'a str> {
    match vendor {
        "bedrock" => {
            let (profile, name) = model.split_once('.')?;
            BEDROCK_PROFILES.contains(&profile).then_some(name)
        }
        "vertex" => model.strip_suffix("@default").or_else(|| model.strip_suffix("@latest")),
        "openrouter" => {
            let (name, variant) = model.rsplit_once(':')?;
            OPENROUTER_VARIANTS.contains(&variant).then_some(name)
        }
        // A fine-tuned model is `ft:base:organisation::id`; it is priced as `ft:base`, never as the base itself.
        "openai" | "azure" => {
            let rest = model.strip_prefix("ft:")?;
            let end = rest.find(':')?;
            model.get(.."ft:".len() + end)
        }
        _ => None,
    }
}

/// Cuts the date off a snapshot's name (`gpt-4o-2024-08-06`, `claude-x-20250929`, `claude-x@20250929`).
pub(crate) fn undated(model: &str) -> Option<&str> {
    let at = model.rfind(|letter: char| !letter.is_ascii_digit() && letter != '-')?;
    let (name, rest) = model.split_at_checked(at + 1)?;
    let compact = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(name) = name.strip_suffix('@') {
        return compact(rest).then_some(name);
    }
    // The date may follow other numbers: `claude-sonnet-4-5-20250929`.
    for length in [10, 8] {
        let Some((head, date)) = rest.len().checked_sub(length).and_then(|cut| rest.split_at_checked(cut))
        else {
            continue;
        };
        // There are only digits and dashes here.
        let dashed =
            length == 10 && date.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 4 | 7));
        if (dashed || compact(date)) && head.ends_with('-') {
            return model.get(..model.len() - length - 1).filter(|name| !name.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_by_its_forms_the_most_exact_first() {
        for (vendor, model, names) in [
            ("openai", "gpt-4o", &["gpt-4o"][..]),
            ("openai", "gpt-4o-2024-08-06", &["gpt-4o-2024-08-06", "gpt-4o"]),
            (
                "openai",
                "ft:gpt-4o-mini-2024-07-18:org::id",
                &["ft:gpt-4o-mini-2024-07-18:org::id", "ft:gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini"],
            ),
            (
                "bedrock",
                "us.anthropic.claude-x-v1:0",
                &["us.anthropic.claude-x-v1:0", "anthropic.claude-x-v1:0"],
            ),
            (
                "bedrock",
                "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-lite-v1:0",
                &[
                    "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-lite-v1:0",
                    "eu.amazon.nova-lite-v1:0",
                    "amazon.nova-lite-v1:0",
                ],
            ),
            ("bedrock", "amazon.nova-lite-v1:0", &["amazon.nova-lite-v1:0"]),
            ("gemini", "models/gemini-2.5-pro", &["models/gemini-2.5-pro", "gemini-2.5-pro"]),
            ("vertex", "claude-opus-4-6@default", &["claude-opus-4-6@default", "claude-opus-4-6"]),
            ("vertex", "claude-x@20250929", &["claude-x@20250929", "claude-x"]),
            ("openrouter", "x/y:nitro", &["x/y:nitro", "x/y"]),
            ("openrouter", "x/y:free", &["x/y:free"]),
            ("openai", "", &[]),
        ] {
            assert_eq!(candidates(vendor, model).collect::<Vec<_>>(), names, "{vendor} {model}");
        }
    }

    #[test]
    fn only_a_date_is_cut_off() {
        assert_eq!(undated("gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(undated("claude-haiku-4-5@20251001"), Some("claude-haiku-4-5"));
        for name in ["", "gpt-4o", "2024-08-06", "-2024-08-06", "gpt-4-0613", "é2024-08-06", "@20240101"] {
            assert!(undated(name).is_none_or(str::is_empty), "{name}");
        }
    }
}
