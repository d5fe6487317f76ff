//! The leaf values of a configuration: durations, sizes, amounts, money, dates, addresses and secrets.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

/// Declares a leaf: a newtype read from text by `$parse`, written by `Display`, described by `$expected`.
macro_rules! leaf {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $types:tt, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl $name {
            /// Reads the value; `None` if the text is not one.
            pub fn parse(text: &str) -> Option<Self> {
                let parse: fn(&str) -> Option<$inner> = $parse;
                parse(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Leaf;
                impl Visitor<'_> for Leaf {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        // The text is left out: only the reader knows whether it may be shown.
                        $name::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Other("text"), &self))
                    }
                }
                deserializer.deserialize_str(Leaf)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "description": concat!("Write ", $expected, ".") })
            }
        }
    };
}

leaf!(
    /// A span of time.
    #[derive(Copy)]
    Span(Duration),
    "a duration like `500ms`, `2s`, `15m`, `1h30m` or `7d`",
    "string",
    duration
);

leaf!(
    /// A number of days.
    #[derive(Copy)]
    Days(u32),
    "a number of days from `1d` to `36500d`, like `400d`",
    "string",
    |text| {
        let days = exact(text.strip_suffix('d')?, 1)?;
        u32::try_from(days).ok().filter(|days| (1..=36_500).contains(days))
    }
);

leaf!(
    /// A number of bytes.
    #[derive(Copy)]
    Size(usize),
    "a size like `64KiB`, `32MiB`, `32k` (32,000) or a number of bytes",
    ["string", "integer"],
    |text| {
        let (number, unit) = split_unit(text)?;
        let unit = match unit {
            "" | "B" => 1,
            "k" | "kB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        usize::try_from(exact(number, unit)?).ok()
    }
);

leaf!(
    /// A count of requests or tokens.
    #[derive(Copy)]
    Amount(i64),
    "a whole number, not negative, like `60`, `200k`, `10M` or `1G`",
    ["string", "integer"],
    |text| {
        let (number, unit) = split_unit(text)?;
        let unit = match unit {
            "" => 1,
            "k" | "K" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            _ => return None,
        };
        exact(number, unit)
    }
);

leaf!(
    /// Money, in nano-USD (1e-9 USD).
    #[derive(Copy)]
    Usd(i64),
    "an amount in USD, not negative and with at most nine decimals, like `0.15` or `20`",
    ["string", "number"],
    |text| exact(text, 1_000_000_000)
);

leaf!(
    /// A share of something, in millionths.
    #[derive(Copy)]
    Share(u32),
    "a share like `10%`, `2.5%` or `0.1`, not above `100%`",
    ["string", "number"],
    |text| {
        let millionths = match text.strip_suffix('%') {
            Some(percent) => exact(percent.trim_end(), 10_000)?,
            None => exact(text, 1_000_000)?,
        };
        u32::try_from(millionths).ok().filter(|share| *share <= 1_000_000)
    }
);

impl Share {
    /// Makes a share of so many hundredths.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }

    /// Returns the share as a number from 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

leaf!(
    /// A moment.
    #[derive(Copy)]
    Moment(SystemTime),
    "a date like `2027-01-01` (its start in UTC) or a time like `2027-01-01T12:00:00Z`",
    "string",
    |text| {
        let midnight = || {
            let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
            Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        };
        let moment: jiff::Timestamp = midnight().or_else(|| text.parse().ok())?;
        Some(moment.into())
    }
);

leaf!(
    /// An address to listen on.
    Address(String),
    "an address with a port, like `127.0.0.1:8080`, `0.0.0.0:8080` or `[::1]:8080`",
    "string",
    |text| {
        let is_name = |host: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            !host.is_empty() && host.bytes().all(plain) && host.contains(|char: char| char.is_ascii_alphabetic())
        };
        let (host, port) = text.rsplit_once(':')?;
        let named = is_name(host) && port.parse::<u16>().is_ok();
        (named || text.parse::<SocketAddr>().is_ok()).then(|| text.to_owned())
    }
);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}d", self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::try_from(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => f.write_str("never"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Splits `32MiB` into `32` and `MiB`.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|char: char| char.is_ascii_alphabetic()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Reads a decimal number times a unit, exactly: `None` if the result is not whole or too large, never rounded.
fn exact(number: &str, unit: i64) -> Option<i64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !digits(whole) || !digits(decimals) || whole.starts_with('_') || decimals.contains('_') {
        return None;
    }
    let whole: i64 = whole.replace('_', "").parse().ok()?;
    let decimals = decimals.trim_end_matches('0');
    let scale = 10_i128.checked_pow(decimals.len().try_into().ok()?)?;
    let fraction: i128 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    let fraction = fraction.checked_mul(unit.into())?;
    if fraction % scale != 0 {
        return None;
    }
    whole.checked_mul(unit)?.checked_add(i64::try_from(fraction / scale).ok()?)
}

/// Reads `1h30m`: numbers, each with its unit.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum: i64 = 0;
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = split_unit(rest)?;
        let end = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match &after[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(exact(number, unit)?)?;
        rest = &after[end..];
    }
    // A year is longer than anything waits, and keeps every sum with a moment in range.
    (sum <= 366 * 86_400_000).then(|| Duration::from_millis(sum.unsigned_abs()))
}

/// A secret: text, `${NAME}`, or `file:/path` whose content without the trailing newline is taken. Never shown.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Returns the secret, or nothing if it is empty, as `${NAME:-}` may be.
    pub fn filled(&self) -> Option<&SecretString> {
        (!self.0.expose_secret().is_empty()).then_some(&self.0)
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret as text, `${NAME}` or `file:/path`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                let Some(path) = text.strip_prefix("file:") else { return Ok(Secret(text.into())) };
                match std::fs::read_to_string(path) {
                    Ok(content) => Ok(Secret(content.trim_end_matches(['\n', '\r']).into())),
                    Err(error) => {
                        Err(E::custom(format!("the secret's file `{path}` cannot be read: {error}")))
                    }
                }
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Write a secret as text, `${NAME}` or `file:/path`." })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> Option<u128> {
        Span::parse(text).map(|span| span.0.as_millis())
    }

    #[test]
    fn durations_need_a_unit_and_may_be_composed() {
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1.5s"), Some(1_500));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("0s"), Some(0));
        for bad in
            ["", "5", "s", "-1s", "1 s", "5 parsecs", "1s5", "400d", "0.1ms", "9223372036854775807d", "1µs"]
        {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_whole_and_at_least_one() {
        assert_eq!(Days::parse("400d"), Some(Days(400)));
        for bad in ["", "d", "0d", "400", "1.5d", "-1d", "1h", "40000d"] {
            assert_eq!(Days::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_tell_binary_units_from_decimal_ones() {
        let size = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(size("32MiB"), Some(32 << 20));
        assert_eq!(size("32k"), Some(32_000));
        assert_eq!(size("1.5KiB"), Some(1_536));
        assert_eq!(size("65536"), Some(65_536));
        for bad in ["", "MiB", "1TiBx", "-1", "0.3KiB", "1e6", "99999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_and_money_are_exact_or_refused() {
        assert_eq!(Amount::parse("200k"), Some(Amount(200_000)));
        assert_eq!(Amount::parse("1.5M"), Some(Amount(1_500_000)));
        assert_eq!(Amount::parse("100_000"), Some(Amount(100_000)));
        assert_eq!(Amount::parse("0.5"), None);
        assert_eq!(Amount::parse("-5"), None);
        assert_eq!(Usd::parse("0.15"), Some(Usd(150_000_000)));
        assert_eq!(Usd::parse("0.000000001"), Some(Usd(1)));
        assert_eq!(Usd::parse("0.0000000001"), None);
        assert_eq!(Usd::parse("-0.15"), None);
        assert_eq!(Usd::parse("9999999999999"), None);
    }

    #[test]
    fn a_share_is_a_percentage_or_a_part_of_one() {
        for (text, millionths) in [("10%", 100_000), ("2.5 %", 25_000), ("0.1", 100_000), ("1", 1_000_000)] {
            assert_eq!(Share::parse(text), Some(Share(millionths)), "{text}");
        }
        for bad in ["", "%", "-1%", "101%", "2", "0.00001%"] {
            assert_eq!(Share::parse(bad), None, "{bad}");
        }
        assert_eq!(Share(25_000).to_string(), "2.5%");
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8080", "0.0.0.0:0", "[::1]:8080", "localhost:8080", "gate-1.lan:80"] {
            assert!(Address::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "8080",
            ":8080",
            "localhost",
            "127.0.0.1",
            "::1:8080",
            "300.0.0.1:80",
            "a:65536",
            "http://a:1",
        ] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_date_is_its_start_in_utc() {
        let seconds = |text| {
            let moment = Moment::parse(text)?;
            Some(moment.0.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds("2027-01-01"), Some(1_798_761_600));
        assert_eq!(seconds("2027-01-01T01:00:00+01:00"), Some(1_798_761_600));
        assert_eq!(seconds("2027-13-01"), None);
        assert_eq!(seconds("tomorrow"), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(number in 0..31_000_000_000_i64) {
            let span = Span(Duration::from_millis(number.unsigned_abs()));
            prop_assert_eq!(Span::parse(&span.to_string()), Some(span));
            prop_assert_eq!(Usd::parse(&Usd(number).to_string()), Some(Usd(number)));
            prop_assert_eq!(Amount::parse(&Amount(number).to_string()), Some(Amount(number)));
            prop_assert_eq!(Amount::parse(&format!("{number}k")), Some(Amount(number * 1_000)));
        }

        #[test]
        fn any_text_is_a_value_or_not_but_never_a_panic(text in "\\PC{0,40}", numeric in "[0-9._kMGms]{0,40}") {
            for text in [text, numeric] {
                let _ = (Span::parse(&text), Size::parse(&text), Amount::parse(&text), Usd::parse(&text));
                let _ = (Moment::parse(&text), Address::parse(&text));
            }
        }
    }
}
