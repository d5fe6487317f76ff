//! Money as people read it.

/// Nano-USD of one USD.
pub const NANOS_PER_USD: i64 = 1_000_000_000;

/// Writes nano-USD as dollars, exact, with at least two places: `$0.0522`.
pub fn dollars(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, part) = ((nanos / NANOS_PER_USD).unsigned_abs(), (nanos % NANOS_PER_USD).unsigned_abs());
    let part = format!("{part:09}");
    let places = part.trim_end_matches('0').len().max(2);
    format!("{sign}${whole}.{}", &part[..places])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact_and_have_two_places_at_least() {
        for (nanos, shown) in [
            (0, "$0.00"),
            (1, "$0.000000001"),
            (52_200_000, "$0.0522"),
            (1_000_000_000, "$1.00"),
            (-1_479_000_000, "-$1.479"),
            (i64::MIN, "-$9223372036.854775808"),
        ] {
            assert_eq!(dollars(nanos), shown);
        }
    }
}
