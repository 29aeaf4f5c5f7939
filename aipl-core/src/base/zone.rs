//! Time zones as plain tables, so that turning an event time into its calendar day is arithmetic.
//!
//! The one rule for wall-clock times (also in `python/docs/definitions/time.md`): a time that a spring-forward change skips
//! is moved forward by the length of the gap; a time that a fall-back change repeats means the earlier instant.

use jiff::tz::TimeZone;

use crate::base::day::MICROS_PER_DAY;

/// First instant (UTC, microseconds) of the supported range of event times: 1970-01-01 in any zone, conservatively.
const TABLE_START_SECONDS: i64 = -3 * 86_400;
const TABLE_END_SECONDS: i64 = 84_009 * 86_400;

/// A time zone: every change of its offset between 1970 and 2200.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    /// Instants (UTC µs) from which the offset at the same index holds; the first is `i64::MIN`.
    starts: Vec<i64>,
    /// Offsets from UTC in µs.
    offsets: Vec<i64>,
    /// Wall-clock ranges that the zone skips.
    gaps: Vec<Gap>,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    start: i64,
    end: i64,
}

/// A time zone name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a time zone; use an IANA name such as \"Asia/Shanghai\", \"UTC\" or an offset such as \"+08:00\"")]
pub struct ZoneError {
    /// What was given.
    pub name: String,
}

impl Zone {
    /// Looks up an IANA zone (`Asia/Shanghai`), `UTC`, or a fixed offset (`+08:00`).
    ///
    /// # Errors
    /// [`ZoneError`] if there is no such zone.
    ///
    /// ```
    /// use aipl_core::base::Zone;
    /// let zone = Zone::named("America/New_York")?;
    /// // 2024-03-10 02:30 does not exist there; it is read as 03:30 (UTC-4), 07:30 UTC.
    /// let wall = 1_710_037_800_000_000;
    /// assert_eq!(zone.instant_of_wall_clock(wall), 1_710_055_800_000_000);
    /// # Ok::<(), aipl_core::base::ZoneError>(())
    /// ```
    pub fn named(name: &str) -> Result<Zone, ZoneError> {
        let unknown = || ZoneError { name: name.to_owned() };
        if let Some(seconds) = fixed_offset(name) {
            return Ok(Zone::fixed(name, seconds));
        }
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        let start = jiff::Timestamp::from_second(TABLE_START_SECONDS).map_err(|_| unknown())?;
        let mut starts = vec![i64::MIN];
        let mut offsets = vec![i64::from(zone.to_offset(start).seconds()) * 1_000_000];
        for transition in zone.following(start) {
            let instant = transition.timestamp().as_second();
            if instant > TABLE_END_SECONDS {
                break;
            }
            starts.push(instant * 1_000_000);
            offsets.push(i64::from(transition.offset().seconds()) * 1_000_000);
        }
        Ok(Zone::from_table(name, starts, offsets))
    }

    fn fixed(name: &str, seconds: i64) -> Zone {
        Zone::from_table(name, vec![i64::MIN], vec![seconds * 1_000_000])
    }

    fn from_table(name: &str, starts: Vec<i64>, offsets: Vec<i64>) -> Zone {
        let gaps = (1..starts.len())
            .filter(|&i| offsets[i] > offsets[i - 1])
            .map(|i| Gap {
                start: starts[i] + offsets[i - 1],
                end: starts[i] + offsets[i],
            })
            .collect();
        Zone {
            name: name.to_owned(),
            starts,
            offsets,
            gaps,
        }
    }

    /// The name it was looked up by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Identifies the zone's rules: equal ones give equal days to all times.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let values = self.starts.iter().chain(&self.offsets);
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// Offset from UTC (µs) in force at an instant (UTC µs).
    #[must_use]
    pub fn offset_at(&self, instant: i64) -> i64 {
        // Most zones ask for the last entries; the first comparison settles zones without changes.
        let next = self.starts.partition_point(|&start| start <= instant);
        self.offsets[next - 1]
    }

    /// Day number (days since 1970-01-01) of an instant (UTC µs), on the zone's wall calendar.
    #[must_use]
    pub fn day_of_instant(&self, instant: i64) -> i64 {
        instant.saturating_add(self.offset_at(instant)).div_euclid(MICROS_PER_DAY)
    }

    /// The instant (UTC µs) that a wall-clock time (µs since 1970-01-01 00:00 on the wall) stands for, by the rule above.
    #[must_use]
    pub fn instant_of_wall_clock(&self, wall: i64) -> i64 {
        // The last offset whose period has begun by this wall time as that period's own clock shows it.
        let begun =
            |i: usize| self.starts[i] == i64::MIN || self.starts[i].saturating_add(self.offsets[i].min(self.offsets[i - 1])) <= wall;
        let mut low = 0;
        let mut high = self.starts.len();
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if begun(middle) { low = middle } else { high = middle }
        }
        // `low` began at or before this wall time on the earlier of its two clocks: decide which side the time is on.
        if low > 0 {
            let (before, after) = (self.offsets[low - 1], self.offsets[low]);
            let change = self.starts[low];
            if before > after && wall < change + before {
                // Repeated hour: the earlier instant still counts by the offset before the change.
                return wall - before;
            }
            if after > before && wall < change + after {
                // Skipped: moved forward by the length of the gap, which is the offset before the change.
                return wall - before;
            }
        }
        wall.saturating_sub(self.offsets[low])
    }

    /// Whether a day needs more than division: some wall-clock time of these bounds is skipped by the zone.
    #[must_use]
    pub fn skips_within(&self, first_wall: i64, last_wall: i64) -> bool {
        let next = self.gaps.partition_point(|gap| gap.end <= first_wall);
        self.gaps.get(next).is_some_and(|gap| gap.start <= last_wall)
    }

    /// Whether one offset is in force from one instant to another (UTC µs).
    #[must_use]
    pub fn is_steady(&self, first: i64, last: i64) -> bool {
        let period = |instant| self.starts.partition_point(|&start| start <= instant);
        period(first) == period(last)
    }

    /// Instants outside `[low, high]` (UTC µs) are certainly not on any of the days `first..=last`.
    #[must_use]
    pub fn instants_around(&self, first: i32, last: i32) -> (i64, i64) {
        let greatest = self.offsets.iter().copied().max().unwrap_or(0);
        let least = self.offsets.iter().copied().min().unwrap_or(0);
        let low = i64::from(first) * MICROS_PER_DAY - greatest;
        let high = (i64::from(last) + 1) * MICROS_PER_DAY - 1 - least;
        (low, high)
    }
}

/// Seconds of `+08:00`, `-0530` or `UTC`.
fn fixed_offset(name: &str) -> Option<i64> {
    if name == "UTC" || name == "Z" {
        return Some(0);
    }
    let sign = match name.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = name[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 15 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> i64 {
        let at: jiff::civil::DateTime = text.parse().expect("a civil time");
        at.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_micros() as i64
    }

    /// jiff's own "compatible" disambiguation is the rule; the table must equal it around every change and away from them.
    #[test]
    fn table_equals_jiff_around_every_change() {
        for name in [
            "Asia/Shanghai",
            "America/New_York",
            "Asia/Kathmandu",
            "Pacific/Apia",
            "America/Sao_Paulo",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
            "Europe/London",
        ] {
            let zone = Zone::named(name).expect("a zone");
            let reference = TimeZone::get(name).expect("a zone");
            for &change in zone.starts.iter().skip(1) {
                for hours in [-30, -25, -3, -2, -1, 0, 1, 2, 3, 25, 30] {
                    for minutes in [-1, 0, 1, 30] {
                        let instant = change + (hours * 60 + minutes) * 60_000_000;
                        let offset = reference.to_offset(jiff::Timestamp::from_microsecond(instant).expect("in range"));
                        assert_eq!(zone.offset_at(instant), i64::from(offset.seconds()) * 1_000_000, "{name} {instant}");
                        let local = instant + zone.offset_at(change - 1);
                        let civil = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0) + jiff::SignedDuration::from_micros(local);
                        let expected = reference.to_timestamp(civil).expect("resolves").as_microsecond();
                        assert_eq!(zone.instant_of_wall_clock(local), expected, "{name} {civil}");
                    }
                }
            }
        }
    }

    #[test]
    fn fixed_offsets_and_unknown_names() {
        assert_eq!(Zone::named("+05:45").expect("fixed").offset_at(0), 20_700_000_000);
        assert_eq!(Zone::named("-0930").expect("fixed").offset_at(0), -34_200_000_000);
        for name in ["Asia/Shangai", "", "+8", "+99:00", "local"] {
            assert!(Zone::named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_skipped_day_is_read_as_the_next() {
        let apia = Zone::named("Pacific/Apia").expect("a zone");
        let instant = apia.instant_of_wall_clock(wall("2011-12-30T10:00"));
        assert_eq!(
            apia.day_of_instant(instant),
            crate::base::day::days_from_civil(jiff::civil::date(2011, 12, 31))
        );
        assert!(apia.skips_within(wall("2011-12-30T10:00"), wall("2011-12-30T10:00")));
        assert!(!apia.skips_within(wall("2012-12-30T10:00"), wall("2012-12-30T11:00")));
    }
}
