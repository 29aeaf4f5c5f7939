//! Shares with their uncertainty, ranks, and the split of a change into the parts of its factors.

/// The quantile of the normal distribution behind 95 % intervals.
pub const Z95: f64 = 1.959_963_984_540_054;

/// `a ÷ b`; nothing where there is nothing to divide by.
#[must_use]
pub fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    // No share is -0.0.
    (denominator != 0.0).then(|| numerator / denominator + 0.0)
}

/// The 95 % Wilson interval of a share of `successes` in `trials`; nothing without trials.
///
/// ```
/// let (low, high) = aipl_core::base::statistics::wilson(10, 100).ok_or("no trials")?;
/// assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn wilson(successes: i64, trials: i64) -> Option<(f64, f64)> {
    if trials <= 0 {
        return None;
    }
    let (n, z2) = (trials as f64, Z95 * Z95);
    let share = successes as f64 / n;
    let center = share + z2 / (2.0 * n);
    let half = Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    let low = if successes == 0 { 0.0 } else { (center - half) / (1.0 + z2 / n) };
    let high = if successes == trials {
        1.0
    } else {
        (center + half) / (1.0 + z2 / n)
    };
    Some((low, high))
}

/// The share of a group beside that of its base: 100 × their ratio with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Index {
    /// 100 is as in the base.
    pub value: f64,
    /// The interval; nothing where nobody of the group is in it.
    pub interval: Option<(f64, f64)>,
}

/// The target group index of `x` of `n` in a group against `base_x` of `base_n`; nothing where one of these is empty.
///
/// The interval is that of two independent samples, on the scale of logarithms; where the group is a part of its base it is
/// wider than need be.
///
/// ```
/// let index = aipl_core::base::statistics::target_group_index((89, 1_000), (660, 10_000)).ok_or("empty")?;
/// assert_eq!((index.value * 10.0).round(), 1348.0);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn target_group_index((x, n): (i64, i64), (base_x, base_n): (i64, i64)) -> Option<Index> {
    if n <= 0 || base_n <= 0 || base_x <= 0 {
        return None;
    }
    let (share, base) = (x as f64 / n as f64, base_x as f64 / base_n as f64);
    let value = 100.0 * share / base;
    let interval = (x > 0).then(|| {
        let error = ((1.0 - share) / x as f64 + (1.0 - base) / base_x as f64).sqrt();
        (value * (-Z95 * error).exp(), value * (Z95 * error).exp())
    });
    Some(Index { value, interval })
}

/// The difference of two shares in units of their mean standard deviation; nothing where both are 0 or both 1.
#[must_use]
pub fn standardized_difference(share: f64, base: f64) -> Option<f64> {
    let deviation = ((share * (1.0 - share) + base * (1.0 - base)) / 2.0).sqrt();
    (deviation > 0.0).then(|| (share - base) / deviation)
}

/// The mid-rank percentile of a value in a panel: 100 × (those below + half of those equal) ÷ all.
///
/// ```
/// assert_eq!(aipl_core::base::statistics::percentile(3.0, &[1.0, 3.0, 3.0, 9.0]), Some(50.0));
/// ```
#[must_use]
pub fn percentile(value: f64, panel: &[f64]) -> Option<f64> {
    let below = panel.iter().filter(|other| **other < value).count();
    let equal = panel.iter().filter(|other| **other == value).count();
    ratio(100.0 * (below as f64 + 0.5 * equal as f64), panel.len() as f64)
}

/// The place of a count between the least (0) and greatest (100) of a panel on the scale of `ln(1 + x)`; nothing where these are the same.
#[must_use]
pub fn log_index(value: f64, panel: &[f64]) -> Option<f64> {
    let least = panel.iter().copied().fold(f64::INFINITY, f64::min).ln_1p();
    let greatest = panel.iter().copied().fold(f64::NEG_INFINITY, f64::max).ln_1p();
    if panel.is_empty() || greatest <= least {
        return None;
    }
    Some((100.0 * (value.ln_1p() - least) / (greatest - least)).clamp(0.0, 100.0))
}

/// How the change of a product is split into parts of its factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Split {
    /// Logarithmic mean Divisia index; where a factor is not positive, [`Split::Shapley`].
    #[default]
    Lmdi,
    /// The mean over all orders in which factors change.
    Shapley,
}

/// Splits the change of a product of three factors; the parts add up to it.
///
/// ```
/// use aipl_core::base::statistics::{Split, split};
/// let parts = split([1000.0, 1.5, 80.0], [1150.0, 1.6, 90.0], Split::Lmdi);
/// assert_eq!(parts.map(|part| (part * 100.0).round() / 100.0), [19787.24, 9137.25, 16675.51]);
/// let parts = split([1000.0, 1.5, 80.0], [1150.0, 1.6, 90.0], Split::Shapley);
/// assert_eq!(parts.map(f64::round), [19775.0, 9150.0, 16675.0]);
/// ```
#[must_use]
pub fn split(before: [f64; 3], after: [f64; 3], method: Split) -> [f64; 3] {
    let positive = before.iter().chain(&after).all(|factor| *factor > 0.0);
    match method {
        Split::Lmdi if positive => lmdi(before, after),
        _ => shapley(before, after),
    }
}

fn lmdi(before: [f64; 3], after: [f64; 3]) -> [f64; 3] {
    let (start, end): (f64, f64) = (before.iter().product(), after.iter().product());
    // Near 1 the logarithm of a ratio is mostly rounding; that of its distance from 1 is not.
    let growth = (end - start) / start;
    let mean = if growth == 0.0 { start } else { start * growth / growth.ln_1p() };
    std::array::from_fn(|factor| mean * (after[factor] / before[factor]).ln())
}

fn shapley(before: [f64; 3], after: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|factor| {
        let (a, b) = ((factor + 1) % 3, (factor + 2) % 3);
        let others = 2.0 * before[a] * before[b] + 2.0 * after[a] * after[b] + before[a] * after[b] + after[a] * before[b];
        (after[factor] - before[factor]) * others / 6.0
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_definitions() {
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 0.06;
        for (group, value, low, high) in [((89, 1000), 134.8, 110.4, 164.6), ((9, 100), 136.4, 73.1, 254.4)] {
            let index = target_group_index(group, (6_600, 100_000)).expect("there");
            let interval = index.interval.expect("there");
            assert!(
                near(index.value, value) && near(interval.0, low) && near(interval.1, high),
                "{index:?}"
            );
        }
    }

    #[test]
    fn nothing_to_divide_by_is_nothing() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(0, 5).map(|(low, _)| low), Some(0.0));
        assert_eq!(wilson(5, 5).map(|(_, high)| high), Some(1.0));
        assert_eq!(target_group_index((1, 1), (0, 5)), None);
        assert_eq!(target_group_index((0, 1), (1, 5)).map(|index| index.interval), Some(None));
        assert_eq!(standardized_difference(0.0, 0.0), None);
        assert_eq!(percentile(1.0, &[]), None);
        assert_eq!((percentile(7.0, &[7.0]), log_index(7.0, &[7.0])), (Some(50.0), None));
    }

    #[test]
    fn an_equal_product_is_split_by_its_logarithmic_mean() {
        let parts = split([1.0, 1.0, 7.100_001], [2.0, 1.5, 7.100_001 / 3.0], Split::Lmdi);
        assert!((parts[0] - 7.100_001 * 2f64.ln()).abs() < 1e-9, "{parts:?}");
        assert!(parts.iter().sum::<f64>().abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn parts_add_up(before in proptest::array::uniform3(0.0..1e4f64), after in proptest::array::uniform3(0.0..1e4f64), lmdi: bool) {
            let method = if lmdi { Split::Lmdi } else { Split::Shapley };
            let change = after.iter().product::<f64>() - before.iter().product::<f64>();
            let parts: f64 = split(before, after, method).iter().sum();
            let scale = after.iter().product::<f64>().max(before.iter().product()).max(1.0);
            proptest::prop_assert!((parts - change).abs() <= 1e-9 * scale, "{} {}", parts, change);
        }

        #[test]
        fn an_unchanged_factor_has_no_part(before in proptest::array::uniform3(0.1..1e4f64), factor in 0.1..1e4f64, lmdi: bool) {
            let method = if lmdi { Split::Lmdi } else { Split::Shapley };
            let parts = split(before, [before[0], factor, before[2]], method);
            proptest::prop_assert!(parts[0].abs() + parts[2].abs() < 1e-9);
        }
    }
}
