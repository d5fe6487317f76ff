use super::*;

fn time(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn window(limit: &Limit, used: i64, now: SystemTime) -> Window {
    Window::new(limit, used, &Calendar::utc(), now)
}

#[test]
fn a_slot_of_a_second_does_not_leave_it_early() {
    let limit = Limit::new(Metric::Requests, Period::Second, 1);
    // Late in its slot, whatever the slots' width: the worst moment.
    for late in 0..40 {
        let first = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + late);
        let mut window = window(&limit, 0, first);
        window.add(1, first);
        assert!(window.room_for(1, 1, first + Duration::from_millis(999)).is_err(), "{late}");
        assert!(window.room_for(1, 1, first + Duration::from_millis(1_040)).is_ok(), "{late}");
    }
}

#[test]
fn a_call_that_outlives_its_window_changes_nothing_of_the_next() {
    let limit = Limit::new(Metric::Tokens, Period::Minute, 100);
    let start = time("2027-02-28T12:00:00Z");
    let mut window = window(&limit, 0, start);
    let old = window.add(90, start);
    let later = start + Duration::from_secs(90);
    window.add(50, later);
    window.settle(old, 90, 5);
    assert_eq!((window.used(later), window.reserved()), (50, 50));
}

#[test]
fn a_clock_that_was_far_ahead_blocks_no_longer_than_a_window() {
    let now = time("2027-02-28T12:00:00Z");
    let mut window = window(&Limit::new(Metric::Requests, Period::Minute, 1), 0, now);
    window.add(1, now + Duration::from_secs(86_400));
    assert!(window.room_for(1, 1, now).is_err());
    assert!(window.room_for(1, 1, now + Duration::from_secs(62)).is_ok());
}

#[test]
fn a_new_day_starts_at_zero_and_late_settlements_do_not_touch_it() {
    let limit = Limit::new(Metric::Tokens, Period::Day, 100);
    let evening = time("2027-02-28T23:59:59Z");
    let mut window = window(&limit, 0, evening);
    let ticket = window.add(90, evening);
    let morning = time("2027-03-01T00:00:01Z");
    assert!(window.room_for(90, 100, morning).is_ok());
    window.settle(ticket, 90, 5);
    assert_eq!(window.used(morning), 0);
}
