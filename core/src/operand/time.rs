//! Points in time, as RFC 3339 writes them.

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Seconds since 1970 UTC, without leap seconds.
    seconds: i64,
    nanoseconds: u32,
}

/// Reads an RFC 3339 date and time, such as `2027-03-01T00:00:00Z`; `None` for a text that is none. A leap second
/// (`:60`) is the first second of the next minute.
pub(crate) fn parse(text: &str) -> Option<Time> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let (time, zone) = rest.split_at_checked(rest.find(['Z', 'z', '+', '-'])?)?;
    let (seconds, nanoseconds) = time_of_day(time)?;
    let seconds = days_since_1970(date)?
        .saturating_mul(SECONDS_PER_DAY)
        .saturating_add(seconds)
        .saturating_sub(offset_seconds(zone)?);
    Some(Time { seconds, nanoseconds })
}

fn digits(text: &str, length: usize, max: u32) -> Option<i64> {
    let well_formed = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&n: &u32| well_formed && n <= max).map(i64::from)
}

fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut parts = text.split(separator);
    let mut found = [""; N];
    for place in &mut found {
        *place = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}

fn days_since_1970(date: &str) -> Option<i64> {
    let [year, month, day] = parts(date, '-')?;
    let (year, month, day) = (digits(year, 4, 9_999)?, digits(month, 2, 12)?, digits(day, 2, 31)?);
    let is_leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let of_month = |month: i64| usize::try_from(month).ok().and_then(|month| before.get(month).copied());
    let (begins, ends) = (of_month(month.checked_sub(1)?)?, of_month(month)?);
    let (days_before, days): (i64, i64) = match month {
        1 => (begins, 31),
        2 => (begins, if is_leap { 29 } else { 28 }),
        _ => (begins.saturating_add(i64::from(is_leap)), ends.saturating_sub(begins)),
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    // Leap days before this year, counted from year 0, which has one.
    let years = year.saturating_sub(1);
    let leap_days = years
        .div_euclid(4)
        .saturating_sub(years.div_euclid(100))
        .saturating_add(years.div_euclid(400))
        .saturating_add(1);
    let since_year_0 = year
        .saturating_mul(365)
        .saturating_add(leap_days)
        .saturating_add(days_before)
        .saturating_add(day.saturating_sub(1));
    const DAYS_OF_1970: i64 = 719_528;
    Some(since_year_0.saturating_sub(DAYS_OF_1970))
}

/// Seconds since midnight, and nanoseconds.
fn time_of_day(time: &str) -> Option<(i64, u32)> {
    let (whole, fraction) =
        time.split_once('.').map_or((time, None), |(whole, fraction)| (whole, Some(fraction)));
    let [hour, minute, second] = parts(whole, ':')?;
    let (hour, minute, second) = (digits(hour, 2, 23)?, digits(minute, 2, 59)?, digits(second, 2, 60)?);
    let seconds = hour.saturating_mul(60).saturating_add(minute).saturating_mul(60).saturating_add(second);
    let nanoseconds = match fraction {
        None => 0,
        Some(fraction) => {
            let is_written =
                (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
            let missing =
                9_usize.checked_sub(fraction.len()).and_then(|missing| u32::try_from(missing).ok())?;
            fraction.parse::<u32>().ok().filter(|_| is_written)?.checked_mul(10_u32.checked_pow(missing)?)?
        }
    };
    Some((seconds, nanoseconds))
}

/// How far the zone's clocks are ahead of UTC, in seconds.
fn offset_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let [hours, minutes] = parts(zone.strip_prefix(['+', '-'])?, ':')?;
    let (hours, minutes) = (digits(hours, 2, 23)?, digits(minutes, 2, 59)?);
    let seconds = hours.saturating_mul(60).saturating_add(minutes).saturating_mul(60);
    Some(if zone.starts_with('-') { seconds.saturating_neg() } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_checked_to_the_day() {
        for good in [
            "2027-03-01T00:00:00Z",
            "2024-02-29t23:59:60.123456789z",
            "2027-03-01T00:00:00.5+05:30",
            "2027-03-01T00:00:00-00:00",
            "0000-02-29T00:00:00Z",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2027-03-01",
            "2027-03-01T00:00:00",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-03-00T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-03-01T24:00:00Z",
            "2027-03-01T00:60:00Z",
            "2027-03-01T00:00:00.Z",
            "2027-03-01T00:00:00.1234567891Z",
            "2027-03-01T00:00:00+5:30",
            "+027-03-01T00:00:00Z",
            "2027-03-01 00:00:00Z",
            "2027-03-01T00:00Z",
            "2027-3-1T00:00:00Z",
            "2027-03-01T00:00:00ZZ",
            "2027-03-01T00:00:00+01:00:00",
            "1900-02-29T00:00:00Z",
            "2027-03-01T00:00:00é",
            "2027-03-01T00:00:00.+1Z",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn seconds_since_1970() {
        // Frozen; from GNU date.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("1600-03-01T00:00:00Z", -11_670_912_000),
            ("1900-03-01T12:00:00Z", -2_203_848_000),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2024-12-31T23:59:60Z", 1_735_689_600),
            ("2026-11-26T02:30:00+05:30", 1_795_640_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text).expect(text).seconds, seconds, "{text}");
        }
    }

    #[test]
    fn instants_are_ordered_whatever_their_zone() {
        let ascending = [
            "2027-03-01T01:59:59.999999999+02:00",
            "2027-03-01T00:00:00Z",
            "2027-03-01T00:00:00.000000001Z",
            "2027-02-28T23:00:00.1-01:00",
            "2027-03-01T05:30:00.11+05:30",
        ];
        for pair in ascending.windows(2) {
            assert!(parse(pair[0]) < parse(pair[1]), "{pair:?}");
        }
        assert_eq!(parse("2027-03-01T00:00:00.10Z"), parse("2027-03-01t02:00:00.1+02:00"));
    }
}
