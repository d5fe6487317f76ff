//! Amounts that both sides tell, as whole numbers: money too, whatever decimals a provider writes.

/// What is compared, in the order in which it is shown.
pub(super) const FIELDS: [&str; 6] =
    ["requests", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "cost_nanos"];
/// The place of the cost, which is held in 1e-18 USD until it is compared.
pub(super) const COST: usize = 5;
/// How many of those are a nano-USD.
const ATTO_OF_NANO: i128 = 1_000_000_000;

/// One side's amounts; absent is what that side does not tell.
pub(super) type Amounts = [Option<i128>; FIELDS.len()];

/// Adds what one tells to another.
pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = match (*sum, *more) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
}

/// Returns nano-USD as amounts hold them.
pub(super) fn cost_of_nanos(nanos: i64) -> i128 {
    i128::from(nanos) * ATTO_OF_NANO
}

/// Rounds a cost to nano-USD.
pub(super) fn nanos_of_cost(atto: i128) -> i128 {
    let half = if atto < 0 { -ATTO_OF_NANO / 2 } else { ATTO_OF_NANO / 2 };
    atto.saturating_add(half) / ATTO_OF_NANO
}

/// Reads a whole number, also one that a spreadsheet wrote as `12.0`.
pub(super) fn count(text: &str) -> Option<i128> {
    let atto = decimal(text, 0)?;
    (atto % ATTO == 0).then_some(atto / ATTO)
}

const ATTO: i128 = 1_000_000_000_000_000_000;

/// Reads a decimal number times a power of ten, in units of 1e-18. Digits beyond that are cut off.
pub(super) fn decimal(text: &str, power: i32) -> Option<i128> {
    let text = text.trim().trim_start_matches('$').replace(',', "");
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, &*text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let mut number: i128 = digits.trim_start_matches('0').parse().or_else(|_| if digits.bytes().all(|b| b == b'0') { Ok(0) } else { Err(()) }).ok()?;
    let shift = 18_i32.checked_add(power)?.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    for _ in 0..shift.unsigned_abs().min(80) {
        number = if shift > 0 { number.checked_mul(10)? } else { number / 10 };
    }
    Some(sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_to_the_last_digit() {
        for (text, power, nanos) in [
            ("0.06", 0, 60_000_000),
            ("123.45", -2, 1_234_500_000),
            ("6.0e-05", 0, 60_000),
            ("1E2", 0, 100_000_000_000),
            ("0", 0, 0),
            ("0.0000000005", 0, 1),
            ("-1.5", 0, -1_500_000_000),
            ("$1,234.5", 0, 1_234_500_000_000),
        ] {
            assert_eq!(decimal(text, power).map(nanos_of_cost), Some(nanos), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "x", "1e", "1e99"] {
            assert_eq!(decimal(text, 0), None, "{text}");
        }
        assert_eq!((count("12"), count("12.0"), count("1.5")), (Some(12), Some(12), None));
        // What would not add up exactly as a floating point number.
        let sum: i128 = std::iter::repeat_n(decimal("0.1", 0).unwrap(), 10).sum();
        assert_eq!(nanos_of_cost(sum), 1_000_000_000);
    }
}
