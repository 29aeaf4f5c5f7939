//! Exact fixed-point numbers for money and other measures.

use std::fmt;

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
    #[must_use]
    pub fn rescale(value: i128, scale: i8) -> Option<Decimal6> {
        let shift = 6 - i32::from(scale);
        let scaled = if shift >= 0 {
            value.checked_mul(10i128.checked_pow(shift as u32)?)?
        } else {
            let Some(divisor) = 10i128.checked_pow(shift.unsigned_abs()) else {
                return Some(Decimal6(0));
            };
            let (quotient, remainder) = (value.div_euclid(divisor), value.rem_euclid(divisor));
            let twice = remainder * 2;
            quotient + i128::from(twice > divisor || (twice == divisor && quotient & 1 == 1))
        };
        i64::try_from(scaled).ok().map(Decimal6)
    }

    /// Reads decimal text (`-12.5`, `1e3`) without passing through binary floats where it can.
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
        if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 36 {
            let value: f64 = text.parse().ok()?;
            return if value.is_finite() { Self::from_f64(value) } else { None };
        }
        let magnitude: i128 = format!("{whole}{fraction}").parse().ok()?;
        let signed = if negative { -magnitude } else { magnitude };
        Self::rescale(signed, fraction.len() as i8)
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
