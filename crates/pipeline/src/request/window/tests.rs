use super::*;

const MINUTE_NANOS: i128 = 60 * SECOND_NANOS;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn window(kind: WindowKind, start: &str, end: &str) -> Window {
    Window {
        kind,
        start: at(start),
        end: at(end),
        lead_secs: LEAD_DEFAULT_SECS,
        lag_secs: LAG_DEFAULT_SECS,
    }
}

fn arrival(start: &str, end: &str) -> Window {
    window(WindowKind::Arrival, start, end)
}

fn named(text: &str) -> ObjectTime {
    ObjectTime::Named(at(text))
}

fn foreign(label: &str) -> ObjectTime {
    ObjectTime::Foreign(HourPrefix::parse(label).unwrap())
}

fn is_read(window: &Window, object: &ObjectTime) -> bool {
    let hour = HourPrefix::from_instant(object.earliest());
    window.hours().any(|listed| listed == hour) && window.may_hold(object)
}

#[test]
fn an_arrival_window_lists_its_neighbours_too() {
    let rows: [(&str, Window, &[&str]); 3] = [
        (
            "publish: its own hours",
            window(
                WindowKind::Publish,
                "2024-04-01T01:00:00Z",
                "2024-04-01T03:00:00Z",
            ),
            &["2024-04-01T01", "2024-04-01T02"],
        ),
        (
            "arrival: one before, one after",
            arrival("2024-04-01T01:00:00Z", "2024-04-01T02:00:00Z"),
            &["2024-04-01T00", "2024-04-01T01", "2024-04-01T02"],
        ),
        (
            "arrival: no more than it needs",
            arrival("2024-04-01T01:15:00Z", "2024-04-01T02:00:01Z"),
            &["2024-04-01T01", "2024-04-01T02", "2024-04-01T03"],
        ),
    ];
    for (name, window, expected) in rows {
        let labels: Vec<_> = window.hours().map(HourPrefix::label).collect();
        assert_eq!(labels, expected, "{name}");
    }
}

#[test]
fn objects_that_cannot_hold_the_windows_events_are_pruned() {
    let window = arrival("2024-04-01T01:00:00Z", "2024-04-01T01:30:00Z");
    let rows = [
        (
            "just too early",
            named("2024-04-01T00:44:59.999999999Z"),
            false,
        ),
        ("the lead before", named("2024-04-01T00:45:00Z"), true),
        ("within", named("2024-04-01T01:10:00Z"), true),
        (
            "last second of the lag",
            named("2024-04-01T02:29:59Z"),
            true,
        ),
        (
            "the lag after the end",
            named("2024-04-01T02:30:00Z"),
            false,
        ),
        ("foreign, hour before", foreign("2024-04-01T00"), true),
        ("foreign, hour of the lag", foreign("2024-04-01T02"), true),
        ("foreign, two hours before", foreign("2024-03-31T23"), false),
        (
            "foreign, hour after the lag",
            foreign("2024-04-01T03"),
            false,
        ),
    ];
    for (name, object, kept) in rows {
        assert_eq!(window.may_hold(&object), kept, "{name}");
        let publish = Window {
            kind: WindowKind::Publish,
            ..window
        };
        assert!(publish.may_hold(&object), "{name}");
    }
}

#[test]
fn a_window_contains_its_start_and_not_its_end() {
    let window = arrival("2024-04-01T01:00:00Z", "2024-04-01T02:00:00Z");
    let (start, end) = (epoch_nanos(window.start), epoch_nanos(window.end));
    for (name, nanos, inside) in [
        ("before", start - 1, false),
        ("start", start, true),
        ("last nanosecond", end - 1, true),
        ("end", end, false),
        ("least", i128::MIN, false),
        ("greatest", i128::MAX, false),
    ] {
        assert_eq!(window.contains(nanos), inside, "{name}");
    }
    let publish = Window {
        kind: WindowKind::Publish,
        ..window
    };
    assert!(publish.contains(i128::MIN) && publish.contains(end));
}

#[test]
fn an_arrival_far_from_its_object_is_measured() {
    let window = arrival("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z");
    let object = named("2024-04-01T10:00:00Z");
    let hour = foreign("2024-04-01T10");
    let time = epoch_nanos(object.earliest());
    let rows = [
        ("same time", object, time, None),
        ("lead", object, time + 15 * MINUTE_NANOS, None),
        ("past lead", object, time + 15 * MINUTE_NANOS + 1, Some(1)),
        ("lag", object, time - 60 * MINUTE_NANOS, None),
        ("past lag", object, time - 60 * MINUTE_NANOS - 1, Some(1)),
        (
            "an hour past",
            object,
            time - 120 * MINUTE_NANOS,
            Some(3_600_000),
        ),
        ("foreign, lag", hour, time - 60 * MINUTE_NANOS, None),
        ("foreign, lead", hour, time + 75 * MINUTE_NANOS - 1, None),
        (
            "foreign, past lead",
            hour,
            time + 75 * MINUTE_NANOS,
            Some(1),
        ),
        (
            "foreign, later",
            hour,
            time + 76 * MINUTE_NANOS,
            Some(60_001),
        ),
        ("least", object, i128::MIN, Some(u64::MAX)),
        ("greatest", hour, i128::MAX, Some(u64::MAX)),
        (
            "64-bit milliseconds",
            object,
            i128::from(i64::MAX) * 1_000_000,
            Some(i64::MAX as u64 - (time / 1_000_000) as u64 - 900_000),
        ),
    ];
    for (name, object, arrival_nanos, expected) in rows {
        let distance = window.distance_outside_tolerance(&object, arrival_nanos);
        assert_eq!(distance, expected, "{name}");
        let publish = Window {
            kind: WindowKind::Publish,
            ..window
        };
        let distance = publish.distance_outside_tolerance(&object, arrival_nanos);
        assert_eq!(distance, None, "{name}");
    }
}

#[test]
fn a_window_is_open_until_lead_and_lag_are_over() {
    let window = arrival("2024-04-01T00:00:00Z", "2024-04-01T06:00:00Z");
    for (name, now, open) in [
        ("before its end", "2024-04-01T05:00:00Z", true),
        ("soon after", "2024-04-01T07:14:59.999999999Z", true),
        ("lead and lag after", "2024-04-01T07:15:00Z", false),
    ] {
        for kind in [WindowKind::Arrival, WindowKind::Publish] {
            assert_eq!(Window { kind, ..window }.is_open(at(now)), open, "{name}");
        }
    }
}

/// Offsets in nanoseconds at, around and between every edge that the rules have.
fn edges() -> Vec<i128> {
    let minutes = [
        -1500, -135, -120, -75, -61, -60, -15, 0, 14, 15, 30, 59, 60, 75,
    ];
    let around = |minute: i128| [-1, 0, 1].map(|n| minute * MINUTE_NANOS + n);
    minutes.into_iter().flat_map(around).collect()
}

fn instant(nanos: i128) -> DateTime<Utc> {
    let secs = i64::try_from(nanos.div_euclid(SECOND_NANOS)).unwrap();
    DateTime::from_timestamp(secs, nanos.rem_euclid(SECOND_NANOS) as u32).unwrap()
}

#[test]
fn an_event_within_tolerance_is_in_an_object_that_is_read() {
    let base = epoch_nanos(at("2024-04-01T01:00:00Z"));
    let mut met = [0; 2];
    for start in edges() {
        for length in [1, SECOND_NANOS, 30 * MINUTE_NANOS, 60 * MINUTE_NANOS] {
            let window = Window {
                start: instant(base + start),
                end: instant(base + start + length),
                ..arrival("2024-04-01T00:00:00Z", "2024-04-01T00:00:00Z")
            };
            for event in [0, 1, length - 1].map(|n| base + start + n) {
                if !window.contains(event) {
                    continue;
                }
                for offset in edges() {
                    let time = instant(event + offset);
                    let hour = HourPrefix::from_instant(time);
                    let objects = [ObjectTime::Named(time), ObjectTime::Foreign(hour)];
                    for (kind, object) in objects.iter().enumerate() {
                        if window.distance_outside_tolerance(object, event).is_none() {
                            assert!(is_read(&window, object), "{window:?} {object:?}");
                            met[kind] += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(met.iter().all(|&n| n > 1000), "{met:?}");
}

#[test]
fn no_more_is_read_than_could_hold_an_event() {
    let window = arrival("2024-04-01T01:07:00Z", "2024-04-01T01:30:00Z");
    let (first, last) = (epoch_nanos(window.start), epoch_nanos(window.end) - 1);
    for offset in edges() {
        let object = ObjectTime::Named(instant(first + offset));
        let reachable = [first, last]
            .iter()
            .any(|&event| window.distance_outside_tolerance(&object, event).is_none())
            || window.contains(epoch_nanos(object.earliest()));
        assert_eq!(is_read(&window, &object), reachable, "{object:?}");
    }
}

#[test]
fn adjoining_windows_partition_what_their_union_contains() {
    let whole = arrival("2024-04-01T00:00:00Z", "2024-04-01T03:00:00Z");
    for middle in ["2024-04-01T01:00:00Z", "2024-04-01T01:00:00.000000001Z"] {
        let first = Window {
            end: at(middle),
            ..whole
        };
        let second = Window {
            start: at(middle),
            ..whole
        };
        for edge in edges() {
            let event = epoch_nanos(at(middle)) + edge;
            let parts = u8::from(first.contains(event)) + u8::from(second.contains(event));
            assert_eq!(parts, u8::from(whole.contains(event)), "{edge}");
        }
    }
}

#[test]
fn adjoining_publish_windows_share_no_hour_and_leave_none_out() {
    let of = |start, end| {
        window(WindowKind::Publish, start, end)
            .hours()
            .collect::<Vec<_>>()
    };
    let (start, end) = ("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z");
    for middle in ["2024-04-01T01:00:00Z", "2024-04-01T23:00:00Z"] {
        let parts = [of(start, middle), of(middle, end)].concat();
        assert_eq!(parts, of(start, end));
    }
}

#[test]
fn the_calendars_ends_do_not_overflow() {
    let window = Window {
        start: DateTime::<Utc>::MIN_UTC,
        end: DateTime::<Utc>::MAX_UTC,
        lead_secs: u32::MAX,
        lag_secs: u32::MAX,
        ..arrival("2024-04-01T00:00:00Z", "2024-04-01T00:00:00Z")
    };
    assert!(window.hours().next().is_some());
    assert!(window.is_open(DateTime::<Utc>::MAX_UTC));
    for time in [window.start, window.end] {
        let object = ObjectTime::Named(time);
        window.distance_outside_tolerance(&object, i128::MAX);
        window.distance_outside_tolerance(&object, i128::MIN);
        window.may_hold(&object);
    }
}

#[test]
fn json_holds_the_window_and_a_broken_one_is_refused() {
    let json = r#"{"kind":"publish","start":"2024-04-01T00:00:00Z","end":"2024-04-01T01:00:00Z","lead_secs":900,"lag_secs":3600}"#;
    let window: Window = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&window).unwrap(), json);
    for (name, from, to) in [
        ("reversed", "01T01:00:00Z", "01T00:00:00Z"),
        ("within an hour", "01T01:00:00Z", "01T01:00:01Z"),
        ("unknown kind", "publish", "arrived"),
        ("endless lead", "900", "604801"),
        ("negative lag", "3600", "-1"),
    ] {
        let broken = json.replace(from, to);
        assert_ne!(broken, json, "{name}");
        assert!(serde_json::from_str::<Window>(&broken).is_err(), "{name}");
    }
}

#[test]
fn the_default_tolerance_is_the_documented_one() {
    assert_eq!(Tolerance::new(900, 3600), Ok(Tolerance::default()));
    assert!(Tolerance::new(TOLERANCE_SECS_MAX, TOLERANCE_SECS_MAX).is_ok());
    assert!(Tolerance::new(0, TOLERANCE_SECS_MAX + 1).is_err());
}
