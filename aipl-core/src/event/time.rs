//! Event times: from any accepted column type to instants and calendar days.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit as ArrowUnit, UInt64Type};

use crate::base::Zone;
use crate::base::day::{Day, MICROS_PER_DAY};
use crate::event::Reason;
use crate::event::bytes::{checked_text, is_bytes};
use crate::event::schema::TimeUnit;

/// Words for the accepted types, for error messages.
pub const ACCEPTED_TIMES: &str =
    "date32, date64, timestamp of any unit with or without zone, integers with EventSchema time_unit set, ISO 8601 text";

/// A raw value that stands for text which is no time.
const UNREADABLE: i64 = i64::MIN;
/// A raw value that stands for bytes which are no text.
const NOT_UTF8: i64 = i64::MIN + 1;

/// How raw values of a time column are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeKind {
    /// Raw units in a microsecond (nanoseconds: 1000), or microseconds in a raw unit.
    scale: Scale,
    /// Wall-clock times of the source's zone; otherwise instants in UTC.
    wall: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    MicrosPerUnit(i64),
    UnitsPerMicro(i64),
}

impl TimeKind {
    const TEXT: TimeKind = TimeKind {
        scale: Scale::MicrosPerUnit(1),
        wall: false,
    };

    /// The kind of a column; `None` if the type is not accepted.
    #[must_use]
    pub fn of(data_type: &DataType, unit: Option<TimeUnit>) -> Option<TimeKind> {
        let kind = |scale, wall| Some(TimeKind { scale, wall });
        match data_type {
            DataType::Date32 => kind(Scale::MicrosPerUnit(MICROS_PER_DAY), true),
            DataType::Date64 => kind(Scale::MicrosPerUnit(1000), true),
            DataType::Timestamp(unit, zone) => kind(arrow_scale(*unit), zone.is_none()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Some(Self::TEXT),
            DataType::Dictionary(_, values) => Self::of(values, unit),
            other if is_bytes(other) => Some(Self::TEXT),
            other if other.is_integer() => match unit? {
                TimeUnit::Day => kind(Scale::MicrosPerUnit(MICROS_PER_DAY), true),
                TimeUnit::Second => kind(Scale::MicrosPerUnit(1_000_000), false),
                TimeUnit::Millisecond => kind(Scale::MicrosPerUnit(1000), false),
                TimeUnit::Microsecond => kind(Scale::MicrosPerUnit(1), false),
                TimeUnit::Nanosecond => kind(Scale::UnitsPerMicro(1000), false),
            },
            _ => None,
        }
    }

    /// Microseconds of a raw value, on its own clock (wall or UTC).
    fn micros(self, raw: i64) -> Option<i64> {
        match self.scale {
            Scale::MicrosPerUnit(micros) => raw.checked_mul(micros),
            Scale::UnitsPerMicro(units) => Some(raw.div_euclid(units)),
        }
    }

    /// The raw values that can fall on the days `first..=last`; all others certainly do not.
    #[must_use]
    pub fn raw_range(self, first: i32, last: i32, zone: &Zone) -> (i64, i64) {
        let (low, high) = if self.wall {
            let (midnight, close) = (i64::from(first) * MICROS_PER_DAY, (i64::from(last) + 1) * MICROS_PER_DAY - 1);
            // A time that the zone skips is moved forward, perhaps into the next day: then look one day back.
            let before = midnight - MICROS_PER_DAY;
            (if zone.skips_within(before, midnight) { before } else { midnight }, close)
        } else {
            zone.instants_around(first, last)
        };
        match self.scale {
            Scale::MicrosPerUnit(micros) => (low.div_euclid(micros), high.div_euclid(micros)),
            Scale::UnitsPerMicro(units) => (low.saturating_mul(units), high.saturating_mul(units).saturating_add(units - 1)),
        }
    }

    /// Instant (UTC µs) and day number of a raw value; `None` if it is outside the supported range.
    #[must_use]
    pub fn resolve(self, raw: i64, zone: &Zone) -> Option<(i64, i32)> {
        let micros = self.micros(raw)?;
        let instant = if self.wall { zone.instant_of_wall_clock(micros) } else { micros };
        let day = zone.day_of_instant(instant);
        Day::from_number(day).ok().map(|day| (instant, day.number()))
    }

    /// Whether days of these raw values are plain division: a wall clock, nothing skipped between the bounds.
    #[must_use]
    pub fn plain_days(self, low: i64, high: i64, zone: &Zone) -> Option<i64> {
        let Scale::MicrosPerUnit(micros) = self.scale else {
            return None;
        };
        if !self.wall || MICROS_PER_DAY % micros != 0 {
            return None;
        }
        let (first, last) = (low.checked_mul(micros)?, high.checked_mul(micros)?);
        (!zone.skips_within(first, last)).then_some(MICROS_PER_DAY / micros)
    }

    /// How to resolve the raw values between two bounds at once, where they are far from any change of the zone's
    /// offset.
    #[must_use]
    pub fn steady(self, low: i64, high: i64, zone: &Zone) -> Option<SteadyTime> {
        let (first, last) = (self.resolve(low, zone)?.0, self.resolve(high, zone)?.0);
        let offset = zone.offset_at(first - MICROS_PER_DAY);
        zone.is_steady(first - MICROS_PER_DAY, last + MICROS_PER_DAY)
            .then_some(SteadyTime { kind: self, offset })
    }

    /// What is wrong with the text that this raw value stands for; `None` if it was read, or there was none.
    #[must_use]
    pub fn wrong(self, raw: i64) -> Option<Reason> {
        match raw {
            UNREADABLE if self == Self::TEXT => Some(Reason::UnreadableTime),
            NOT_UTF8 if self == Self::TEXT => Some(Reason::NotUtf8),
            _ => None,
        }
    }
}

/// Resolves raw values of a time column between the bounds that it was made for.
#[derive(Debug, Clone, Copy)]
pub struct SteadyTime {
    kind: TimeKind,
    offset: i64,
}

impl SteadyTime {
    /// Instant (UTC µs) and day number.
    #[inline]
    #[must_use]
    pub fn resolve(self, raw: i64) -> (i64, i32) {
        let micros = match self.kind.scale {
            Scale::MicrosPerUnit(micros) => raw * micros,
            Scale::UnitsPerMicro(units) => raw.div_euclid(units),
        };
        let wall = if self.kind.wall { micros } else { micros + self.offset };
        (wall - self.offset, wall.div_euclid(MICROS_PER_DAY) as i32)
    }
}

fn arrow_scale(unit: ArrowUnit) -> Scale {
    match unit {
        ArrowUnit::Second => Scale::MicrosPerUnit(1_000_000),
        ArrowUnit::Millisecond => Scale::MicrosPerUnit(1000),
        ArrowUnit::Microsecond => Scale::MicrosPerUnit(1),
        ArrowUnit::Nanosecond => Scale::UnitsPerMicro(1000),
    }
}

/// One batch of a time column as raw integers.
#[derive(Debug)]
pub struct TimeColumn {
    values: ArrayRef,
    owned: Option<Vec<i64>>,
    kind: TimeKind,
}

impl TimeColumn {
    /// Reads a batch; `None` if the type is not accepted.
    #[must_use]
    pub fn new(column: &ArrayRef, unit: Option<TimeUnit>, zone: &Zone) -> Option<TimeColumn> {
        let kind = TimeKind::of(column.data_type(), unit)?;
        let flat = match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values).ok()?,
            _ => column.clone(),
        };
        let checked = checked_text(&flat);
        let text = checked.as_ref().map_or(&flat, |checked| &checked.text);
        let (values, mut owned) = match text.data_type() {
            DataType::Utf8 => (
                flat.clone(),
                Some(text.as_string::<i32>().iter().map(|text| read_text(text, unit, zone)).collect()),
            ),
            DataType::LargeUtf8 => (
                flat.clone(),
                Some(text.as_string::<i64>().iter().map(|text| read_text(text, unit, zone)).collect()),
            ),
            DataType::Utf8View => (
                flat.clone(),
                Some(text.as_string_view().iter().map(|text| read_text(text, unit, zone)).collect()),
            ),
            DataType::UInt64 => {
                let wide = flat.as_primitive::<UInt64Type>().values();
                (
                    flat.clone(),
                    Some(wide.iter().map(|&value| i64::try_from(value).unwrap_or(i64::MAX)).collect()),
                )
            }
            DataType::Int64 => (flat, None),
            // Timestamps and dates share the representation of plain integers.
            _ => (cast(&flat, &DataType::Int64).ok()?, None),
        };
        let bad = checked.and_then(|checked| checked.bad);
        for row in bad.iter().flat_map(BooleanBuffer::set_indices) {
            owned.iter_mut().for_each(|values: &mut Vec<i64>| values[row] = NOT_UTF8);
        }
        Some(TimeColumn { values, owned, kind })
    }

    /// How the raw values are to be read.
    #[must_use]
    pub fn kind(&self) -> TimeKind {
        self.kind
    }

    /// One raw value a row; arbitrary where null.
    #[must_use]
    pub fn raw(&self) -> &[i64] {
        match &self.owned {
            Some(values) => values,
            None => self.values.as_primitive::<Int64Type>().values(),
        }
    }

    /// Which rows are null.
    #[must_use]
    pub fn nulls(&self) -> Option<&NullBuffer> {
        self.values.nulls().filter(|nulls| nulls.null_count() > 0)
    }
}

/// ISO text to an instant in microseconds; text without an offset is wall-clock time.
fn read_text(text: Option<&str>, unit: Option<TimeUnit>, zone: &Zone) -> i64 {
    let Some(text) = text.map(str::trim) else { return 0 };
    // Where a unit is declared, text files hold integers of it.
    if let Some(kind) = unit.and_then(|unit| TimeKind::of(&DataType::Int64, Some(unit))) {
        let instant = |raw| {
            kind.micros(raw)
                .map(|micros| if kind.wall { zone.instant_of_wall_clock(micros) } else { micros })
        };
        return text.parse().map_or(UNREADABLE, |raw| instant(raw).unwrap_or(i64::MAX));
    }
    if let Some(wall) = read_plain(text.as_bytes()) {
        return zone.instant_of_wall_clock(wall);
    }
    let time_part = text.get(10..).unwrap_or("");
    if time_part.contains(['Z', 'z', '+', '-']) {
        return text
            .parse::<jiff::Timestamp>()
            .map_or(UNREADABLE, |instant| instant.as_microsecond());
    }
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    match text.parse::<jiff::civil::DateTime>() {
        Ok(at) => zone.instant_of_wall_clock(at.duration_since(epoch).as_micros() as i64),
        Err(_) => UNREADABLE,
    }
}

/// `YYYY-MM-DD` and `YYYY-MM-DD HH:MM:SS`: the forms nearly all files hold, without a general parser.
fn read_plain(text: &[u8]) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        text.get(range)?
            .iter()
            .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    if !(text.len() == 10 || text.len() == 19) || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let midnight = crate::base::day::days_from_civil(date) * MICROS_PER_DAY;
    if text.len() == 10 {
        return Some(midnight);
    }
    if !matches!(text[10], b' ' | b'T') || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    (hour < 24 && minute < 60 && second < 60).then_some(midnight + (hour * 3600 + minute * 60 + second) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn resolve(column: ArrayRef, unit: Option<TimeUnit>, zone: &str) -> Vec<Option<(i64, i32)>> {
        let zone = Zone::named(zone).expect("zone");
        let times = TimeColumn::new(&column, unit, &zone).expect("accepted");
        times.raw().iter().map(|&raw| times.kind().resolve(raw, &zone)).collect()
    }

    /// 2024-06-30 23:30 on the wall in Shanghai is 15:30 UTC.
    const INSTANT: i64 = 1_719_761_400_000_000;

    #[test]
    fn every_type_names_the_same_instant() {
        let wall = INSTANT + 8 * 3_600_000_000;
        let day = Some((INSTANT, 19_904));
        let arrays: Vec<(ArrayRef, Option<TimeUnit>)> = vec![
            (Arc::new(TimestampSecondArray::from(vec![wall / 1_000_000])), None),
            (Arc::new(TimestampMillisecondArray::from(vec![wall / 1000])), None),
            (Arc::new(TimestampMicrosecondArray::from(vec![wall])), None),
            (Arc::new(TimestampNanosecondArray::from(vec![wall * 1000])), None),
            (Arc::new(TimestampMicrosecondArray::from(vec![INSTANT]).with_timezone("UTC")), None),
            (
                Arc::new(TimestampMillisecondArray::from(vec![INSTANT / 1000]).with_timezone("America/New_York")),
                None,
            ),
            (Arc::new(Int64Array::from(vec![INSTANT / 1_000_000])), Some(TimeUnit::Second)),
            (
                Arc::new(UInt64Array::from(vec![INSTANT as u64 / 1000])),
                Some(TimeUnit::Millisecond),
            ),
            (
                Arc::new(Int32Array::from(vec![(INSTANT / 1_000_000) as i32])),
                Some(TimeUnit::Second),
            ),
            (Arc::new(StringArray::from(vec!["2024-06-30 23:30:00"])), None),
            (Arc::new(StringViewArray::from(vec!["2024-06-30T23:30"])), None),
            (Arc::new(LargeStringArray::from(vec!["2024-06-30T15:30:00Z"])), None),
            (Arc::new(StringArray::from(vec!["2024-06-30 17:30:00.000+02:00"])), None),
        ];
        for (array, unit) in arrays {
            let name = format!("{:?}", array.data_type());
            assert_eq!(resolve(array, unit, "Asia/Shanghai"), [day], "{name}");
        }
        let midnight = Some((INSTANT - 84_600_000_000, 19_904));
        assert_eq!(
            resolve(Arc::new(Date32Array::from(vec![19_904])), None, "Asia/Shanghai"),
            [midnight]
        );
        assert_eq!(
            resolve(Arc::new(Int16Array::from(vec![19_904])), Some(TimeUnit::Day), "Asia/Shanghai"),
            [midnight]
        );
    }

    #[test]
    fn text_holds_integers_where_a_unit_is_declared() {
        let texts = || Arc::new(StringArray::from(vec!["1719761400", "99999999999999999", "soon"])) as ArrayRef;
        assert_eq!(
            resolve(texts(), Some(TimeUnit::Second), "Asia/Shanghai"),
            [Some((INSTANT, 19_904)), None, None]
        );
    }

    #[test]
    fn out_of_range_and_unreadable_never_wrap() {
        assert_eq!(
            resolve(Arc::new(TimestampSecondArray::from(vec![i64::MAX, i64::MIN, -1])), None, "UTC"),
            [None, None, None]
        );
        assert_eq!(
            resolve(Arc::new(UInt64Array::from(vec![u64::MAX])), Some(TimeUnit::Second), "UTC"),
            [None]
        );
        assert_eq!(
            resolve(Arc::new(Date32Array::from(vec![84_005, 84_006, i32::MAX])), None, "UTC")
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>(),
            [true, false, false]
        );
        let zone = Zone::named("UTC").expect("zone");
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            "2024-02-30",
            "soon",
            "2024-01-01 25:00:00",
            "",
            "2024-01-01T00:00:00Q",
        ]));
        let times = TimeColumn::new(&texts, None, &zone).expect("accepted");
        assert!(
            times
                .raw()
                .iter()
                .all(|&raw| times.kind().wrong(raw) == Some(Reason::UnreadableTime))
        );
        assert!(TimeKind::of(&DataType::Int64, None).is_none());
        assert!(TimeKind::of(&DataType::Float64, Some(TimeUnit::Second)).is_none());
    }

    #[test]
    fn raw_ranges_keep_every_instant_of_the_days() {
        for zone_name in ["Asia/Shanghai", "America/Sao_Paulo", "Pacific/Apia", "UTC"] {
            let zone = Zone::named(zone_name).expect("zone");
            for (data_type, unit) in [
                (DataType::Timestamp(ArrowUnit::Nanosecond, None), 1000.0),
                (DataType::Timestamp(ArrowUnit::Second, Some("UTC".into())), 1e-6),
                (DataType::Timestamp(ArrowUnit::Microsecond, None), 1.0),
            ] {
                let kind = TimeKind::of(&data_type, None).expect("accepted");
                let (low, high) = kind.raw_range(15_338, 15_339, &zone);
                for hours in -60..60 {
                    let raw = ((15_338.0 * 24.0 + f64::from(hours)) * 3.6e9 * unit) as i64;
                    if kind.resolve(raw, &zone).is_some_and(|(_, day)| (15_338..=15_339).contains(&day)) {
                        assert!((low..=high).contains(&raw), "{zone_name} {hours}");
                    }
                }
            }
        }
    }

    #[test]
    fn steady_times_are_those_resolved_one_by_one() {
        let kinds = [
            TimeKind::of(&DataType::Timestamp(ArrowUnit::Microsecond, None), None),
            TimeKind::of(&DataType::Timestamp(ArrowUnit::Nanosecond, Some("UTC".into())), None),
            TimeKind::of(&DataType::Date32, None),
        ];
        let mut steady_ones = 0;
        for zone in ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Apia"].map(|name| Zone::named(name).expect("zone")) {
            for kind in kinds.into_iter().flatten() {
                // Bounds over four years, from hours to months apart.
                for step in 0..400i64 {
                    let micros = 1_290_000_000_000_000 + step * 311_040_000_000;
                    let raw = |micros: i64| match kind.scale {
                        Scale::MicrosPerUnit(unit) => micros / unit,
                        Scale::UnitsPerMicro(units) => micros * units,
                    };
                    let (low, high) = (raw(micros), raw(micros + (step % 7) * 700_000_000_000));
                    let Some(steady) = kind.steady(low, high, &zone) else { continue };
                    steady_ones += 1;
                    for part in 0..=10 {
                        let value = low + (high - low) / 10 * part;
                        assert_eq!(
                            Some(steady.resolve(value)),
                            kind.resolve(value, &zone),
                            "{value} in {}",
                            zone.name()
                        );
                    }
                }
            }
        }
        assert!(steady_ones > 1000);
    }
}
