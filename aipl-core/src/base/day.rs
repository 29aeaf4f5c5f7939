//! Calendar days.

use std::fmt;
use std::str::FromStr;

/// Microseconds in a calendar day of 24 hours.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A calendar day in the time zone of the data, counted from 1970-01-01.
///
/// The accepted range of event times is [`Day::MIN`] to [`Day::MAX`] (1970-01-01 to 2199-12-31).
///
/// ```
/// use aipl_core::base::Day;
/// let day: Day = "2024-02-29".parse()?;
/// assert_eq!(day.number(), 19782);
/// assert_eq!((day + 1).to_string(), "2024-03-01");
/// assert!("2023-02-29".parse::<Day>().is_err());
/// # Ok::<(), aipl_core::base::DayError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// A day that cannot be read or lies outside 1970-01-01 to 2199-12-31.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// The text is no ISO calendar day.
    #[error("{text:?} is not a day; write it as YYYY-MM-DD")]
    Unreadable {
        /// What was given.
        text: String,
    },
    /// The day lies outside the supported range.
    #[error("day number {number} is outside 1970-01-01 to 2199-12-31")]
    OutOfRange {
        /// Days since 1970-01-01.
        number: i64,
    },
}

impl Day {
    /// 1970-01-01.
    pub const MIN: Day = Day(0);
    /// 2199-12-31.
    pub const MAX: Day = Day(84_005);

    /// The day `number` days after 1970-01-01.
    ///
    /// # Errors
    /// [`DayError::OutOfRange`] outside [`Day::MIN`] to [`Day::MAX`].
    pub fn from_number(number: i64) -> Result<Day, DayError> {
        if (i64::from(Self::MIN.0)..=i64::from(Self::MAX.0)).contains(&number) {
            Ok(Day(number as i32))
        } else {
            Err(DayError::OutOfRange { number })
        }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl std::ops::Add<i32> for Day {
    type Output = Day;
    /// Moves by whole days, stopping at the ends of the supported range.
    fn add(self, days: i32) -> Day {
        Day(self.0.saturating_add(days).clamp(Self::MIN.0, Self::MAX.0))
    }
}

impl FromStr for Day {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Day, DayError> {
        let date: jiff::civil::Date = text.parse().map_err(|_| DayError::Unreadable { text: text.to_owned() })?;
        // A date parser that accepts times as well would hide a mistake in a day argument.
        if text.len() != 10 {
            return Err(DayError::Unreadable { text: text.to_owned() });
        }
        Day::from_number(days_from_civil(date))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = jiff::civil::date(1970, 1, 1);
        match epoch.checked_add(jiff::Span::new().days(self.0)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

/// Days from 1970-01-01 to a civil date.
pub(crate) fn days_from_civil(date: jiff::civil::Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    i64::from(date.duration_since(epoch).as_hours() as i32 / 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_range() {
        assert_eq!("2199-12-31".parse::<Day>(), Ok(Day::MAX));
        assert_eq!("1970-01-01".parse::<Day>(), Ok(Day::MIN));
        assert!(matches!("2200-01-01".parse::<Day>(), Err(DayError::OutOfRange { number: 84_006 })));
        assert!(matches!("1969-12-31".parse::<Day>(), Err(DayError::OutOfRange { number: -1 })));
    }

    #[test]
    fn text_must_be_a_bare_day() {
        for text in ["", "2024-1-1", "2024-01-01T00:00", "yesterday", "2024-13-01"] {
            assert!(matches!(text.parse::<Day>(), Err(DayError::Unreadable { .. })), "{text}");
        }
    }
}
