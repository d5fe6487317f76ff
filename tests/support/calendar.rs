//! The turn of the day, at which limits by day and by month begin anew.

use std::{thread::sleep, time::Duration};

use jiff::{Timestamp, tz::TimeZone};

/// Longer than any test that counts by day or month.
const LONG: Duration = Duration::from_secs(60);

/// Lets midnight pass if it would come in the midst of a test of a gateway with this configuration.
pub fn clear_of_midnight(yaml: &str) {
    let windows = ["_per_day:", "_per_month:", "per: day", "per: month"];
    if !windows.iter().any(|window| yaml.contains(window)) {
        return;
    }
    let zone = yaml.lines().find_map(|line| line.strip_prefix("time_zone: "));
    let now = Timestamp::now().to_zoned(TimeZone::get(zone.unwrap_or("UTC")).unwrap());
    let midnight = now.tomorrow().unwrap().start_of_day().unwrap();
    let left = now.duration_until(&midnight).unsigned_abs();
    if left < LONG {
        sleep(left + Duration::from_millis(10));
    }
}
