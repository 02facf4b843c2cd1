//! RFC 3339 times as instants.

/// Nanoseconds since the first instant of the year 0; `None` if the text is no RFC 3339 time.
pub(super) fn read(text: &str) -> Option<i128> {
    let (date, time) = text.split_once(['T', 't'])?;
    let (year, month, day) = match date.split('-').collect::<Vec<_>>()[..] {
        [year, month, day] => (number(year, 4)?, number(month, 2)?, number(day, 2)?),
        _ => return None,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }

    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    let (hour, minute, second) = match clock.split(':').collect::<Vec<_>>()[..] {
        [hour, minute, second] => (number(hour, 2)?, number(minute, 2)?, number(second, 2)?),
        _ => return None,
    };
    // 60 is a leap second. Counted on, it is the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanoseconds = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => number(&format!("{digits:0<9}"), 9)?,
        Some(_) => return None,
    };

    let minutes_ahead = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone[1..].split_once(':')?;
            let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };

    let days =
        days_before_year(year) + (1..month).map(|month| days_of_month(year, month)).sum::<i128>() + (day - 1);
    let minutes = (days * 24 + hour) * 60 + minute - minutes_ahead;
    Some((minutes * 60 + second) * 1_000_000_000 + nanoseconds)
}

fn number(text: &str, digits: usize) -> Option<i128> {
    if text.len() != digits || !text.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn is_leap(year: i128) -> bool {
    year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)
}

/// From the first day of the year 0, which was a leap year.
fn days_before_year(year: i128) -> i128 {
    let years_between = |every: i128| if year == 0 { 0 } else { (year - 1) / every + 1 };
    365 * year + years_between(4) - years_between(100) + years_between(400)
}

fn days_of_month(year: i128, month: i128) -> i128 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn as_a_library_of_times_counts_them() {
        let epoch = read("1970-01-01T00:00:00Z").expect("a time");
        for text in [
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "0400-12-31T23:59:59Z",
            "1900-03-01T00:00:00Z",
            "2000-02-29T12:00:00.5+05:30",
            "2024-02-29t23:59:59.123456789z",
            "2100-12-31T00:00:00-23:59",
        ] {
            let known: Timestamp = text.parse().expect(text);
            assert_eq!(read(text), Some(epoch + known.as_nanosecond()), "{text}");
        }
        assert_eq!(read("2016-12-31T23:59:60Z"), read("2017-01-01T00:00:00Z"));
        for bad in [
            "",
            "2024-02-29",
            "2023-02-29T00:00:00Z",
            "2024-02-29T00:00:00",
            "2024-02-29 00:00:00Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T00:00:61Z",
            "2024-02-29T00:00:00.Z",
            "2024-02-29T00:00:00.1234567890Z",
            "2024-02-29T00:00:00+24:00",
            "2024-02-29T00:00:00+0100",
            "2024-02-29T00:00:00Zx",
            "02024-02-29T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
