//! Exact fixed-point numbers for money and other measures.

use std::cmp::Ordering;
use std::fmt;

use arrow::datatypes::i256;

/// A number with six decimals held in an `i64`: the unit of every amount, quantity, rating and cost.
///
/// Sums of these are taken in `i128`, so an answer never depends on the order of addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal6(pub i64);

impl Decimal6 {
    /// One whole unit.
    pub const ONE: i64 = 1_000_000;

    /// Rounds a finite float to six decimals; `None` if it is not finite or too large.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Decimal6> {
        let scaled = (value * Self::ONE as f64).round_ties_even();
        // 2^63 is exactly representable, so the comparison is exact.
        (scaled.abs() < 9_223_372_036_854_775_808.0).then_some(Decimal6(scaled as i64))
    }

    /// A whole number; `None` if it is too large.
    #[must_use]
    pub fn from_i128(value: i128) -> Option<Decimal6> {
        Self::rescale(value, 0)
    }

    /// `value × 10^-scale`, rounded half to even at six decimals; `None` if it is too large.
    ///
    /// ```
    /// use aipl_core::base::Decimal6;
    /// assert_eq!(Decimal6::rescale(1250, 2), Some(Decimal6(12_500_000)));
    /// assert_eq!(Decimal6::rescale(5, 7), Some(Decimal6(0)));
    /// assert_eq!(Decimal6::rescale(1, -13), None);
    /// ```
    #[must_use]
    pub fn rescale(value: i128, scale: i8) -> Option<Decimal6> {
        let shift = 6 - i32::from(scale);
        let power = 10i128.checked_pow(shift.unsigned_abs());
        let scaled = match power {
            // Nothing is too large for no power of ten.
            _ if value == 0 => 0,
            Some(factor) if shift >= 0 => value.checked_mul(factor)?,
            None if shift >= 0 => return None,
            Some(divisor) => {
                let (quotient, remainder) = (value.div_euclid(divisor), value.rem_euclid(divisor));
                quotient + i128::from(rounds_up(&remainder, &(divisor - remainder), quotient & 1 == 1))
            }
            // Ten to that power is more than twice any value.
            None => 0,
        };
        i64::try_from(scaled).ok().map(Decimal6)
    }

    /// As [`Decimal6::rescale`], of a value of 256 bits.
    #[must_use]
    pub fn rescale_wide(value: i256, scale: i8) -> Option<Decimal6> {
        if let Some(value) = value.to_i128() {
            return Self::rescale(value, scale);
        }
        // So large a value fits only if some of its decimals are cut.
        let divisor = i256::from_i128(10).checked_pow(u32::try_from(i32::from(scale) - 6).ok()?)?;
        let size = value.checked_abs()?;
        let (quotient, remainder) = (size.checked_div(divisor)?.to_i128()?, size.checked_rem(divisor)?);
        let up = rounds_up(&remainder, &divisor.checked_sub(remainder)?, quotient & 1 == 1);
        let rounded = quotient.checked_add(i128::from(up))?;
        let signed = if value.is_negative() { -rounded } else { rounded };
        i64::try_from(signed).ok().map(Decimal6)
    }

    /// Reads decimal text (`-12.5`) exactly, however many digits it has; other forms (`1e3`) through a binary float.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Decimal6> {
        let text = text.trim();
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 {
            let value: f64 = text.parse().ok()?;
            return if value.is_finite() { Self::from_f64(value) } else { None };
        }
        let (kept, cut) = fraction.split_at(fraction.len().min(6));
        let whole = whole.trim_start_matches('0');
        // So many digits are too large in any case.
        if whole.len() > 18 {
            return None;
        }
        let units: i128 = format!("{whole}{kept:0<6}").parse().ok()?;
        let half = cut.bytes().next().unwrap_or(b'0');
        let more = cut.bytes().skip(1).any(|digit| digit != b'0');
        let up = half > b'5' || (half == b'5' && (more || units & 1 == 1));
        let rounded = units + i128::from(up);
        i64::try_from(if negative { -rounded } else { rounded }).ok().map(Decimal6)
    }
}

/// Whether half to even rounds up, by what is over the lower number and what is missing to the higher one.
fn rounds_up<T: Ord>(over: &T, missing: &T, odd: bool) -> bool {
    match over.cmp(missing) {
        Ordering::Less => false,
        Ordering::Equal => odd,
        Ordering::Greater => true,
    }
}

impl fmt::Display for Decimal6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.unsigned_abs() / Self::ONE as u64, self.0.unsigned_abs() % Self::ONE as u64);
        let text = format!("{whole}.{fraction:06}");
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_floats_and_decimals_agree() {
        for (text, float, raw) in [
            ("0.1", 0.1, 100_000),
            ("-12.345678", -12.345_678, -12_345_678),
            ("33.33", 33.33, 33_330_000),
        ] {
            assert_eq!(Decimal6::from_text(text), Some(Decimal6(raw)));
            assert_eq!(Decimal6::from_f64(float), Some(Decimal6(raw)));
            assert_eq!(Decimal6(raw).to_string(), text);
        }
        assert_eq!(Decimal6::from_text("1e3"), Some(Decimal6(1_000_000_000)));
        assert_eq!(Decimal6::from_text(".5"), Some(Decimal6(500_000)));
    }

    #[test]
    fn rounds_half_to_even_and_refuses_what_does_not_fit() {
        assert_eq!(Decimal6::rescale(5, 7), Some(Decimal6(0)));
        assert_eq!(Decimal6::rescale(15, 7), Some(Decimal6(2)));
        assert_eq!(Decimal6::rescale(-5, 7), Some(Decimal6(0)));
        assert_eq!(Decimal6::rescale(i128::MAX, 0), None);
        assert_eq!(Decimal6::from_f64(f64::NAN), None);
        assert_eq!(Decimal6::from_f64(1e13), None);
        for text in ["", "abc", "-", ".", "1,5", "nan", "inf"] {
            assert_eq!(Decimal6::from_text(text), None, "{text}");
        }
    }
}
