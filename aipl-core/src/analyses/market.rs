//! What consumers spend in the categories of a brand, and the brand's share of these.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use hashbrown::HashMap;

use crate::analyses::asked::{AnalysisError, Asked};
use crate::analyses::dimensions::Dimensions;
use crate::analyses::totals::{amount, total};
use crate::base::statistics::ratio;
use crate::stage::{OrderReader, Trade};
use crate::timeline::{Bucket, History, Question, Runtime};

/// The categories of each brand by its purchases in the horizon before the day, and its share of their GMV.
pub(crate) struct Market {
    trade: Trade,
    category: Dimensions,
    categories: Vec<BTreeSet<u64>>,
    shares: Vec<Option<f64>>,
}

/// A consumer's purchases and refunds with all brands: day, category, amount.
pub(crate) type Spending = Vec<(i32, u64, i128)>;

/// Reads the market of a question's purchases in a window of days.
pub(crate) fn read(
    asked: &Asked<'_>,
    question: &Question<'_>,
    (trade, category): (Trade, Dimensions),
    window: &RangeInclusive<i32>,
    runtime: &Runtime<'_>,
) -> Result<Market, AnalysisError> {
    type Sold = HashMap<(u32, u64), i128>;
    let each = |bucket: &Bucket<'_>, sold: &mut Sold| {
        let (mut reader, values) = (OrderReader::new(trade, bucket), category.reader(bucket));
        bucket.timelines.for_each_history(|history| {
            for line in reader.lines(&history).iter().filter(|line| window.contains(&line.day)) {
                *sold.entry((history.scope, values.value(&history, line.row, 0))).or_default() += line.amount;
            }
        });
    };
    let merge = |all: &mut Sold, more: Sold| more.into_iter().for_each(|(key, sum)| *all.entry(key).or_default() += sum);
    let (sold, about) = total(asked, question, runtime, each, merge)?;
    let mut whole: HashMap<u64, i128> = HashMap::new();
    let mut categories = vec![BTreeSet::new(); about.scopes.len()];
    for ((scope, category), sum) in sold.iter().filter(|((_, category), _)| *category > 0) {
        *whole.entry(*category).or_default() += sum;
        categories[*scope as usize].insert(*category);
    }
    let share = |(scope, own): (usize, &BTreeSet<u64>)| {
        let sum = |of: &dyn Fn(&u64) -> i128| amount(own.iter().map(of).sum());
        let sold = sum(&|category| sold.get(&(scope as u32, *category)).copied().unwrap_or(0));
        ratio(sold, sum(&|category| whole.get(category).copied().unwrap_or(0)))
    };
    let shares = categories.iter().enumerate().map(share).collect();
    Ok(Market {
        trade,
        category,
        categories,
        shares,
    })
}

impl Market {
    /// A brand's share of its categories' GMV.
    pub fn share(&self, scope: u32) -> Option<f64> {
        self.shares.get(scope as usize).copied().flatten()
    }

    /// What a consumer spent in the categories of a brand.
    pub fn spent(&self, spending: &Spending, scope: u32, window: &RangeInclusive<i32>) -> i128 {
        let own = &self.categories[scope as usize];
        let counts = |(day, category, _): &&(i32, u64, i128)| window.contains(day) && own.contains(category);
        spending.iter().filter(counts).map(|(.., amount)| amount).sum()
    }

    /// Calls `visit` with every history, and what its consumer spent with all brands.
    pub fn each_consumer(&self, bucket: &Bucket<'_>, mut visit: impl FnMut(&History<'_>, &Spending)) {
        let (mut reader, values) = (OrderReader::new(self.trade, bucket), self.category.reader(bucket));
        let (mut histories, mut spending): (Vec<History<'_>>, Spending) = (Vec::new(), Vec::new());
        let mut finish = |histories: &mut Vec<History<'_>>, spending: &mut Spending| {
            histories.iter().for_each(|history| visit(history, spending));
            histories.clear();
            spending.clear();
        };
        bucket.timelines.for_each_history(|history| {
            if histories.first().is_some_and(|first| first.consumer != history.consumer) {
                finish(&mut histories, &mut spending);
            }
            let lines = reader.lines(&history).iter();
            spending.extend(lines.map(|line| (line.day, values.value(&history, line.row, 0), line.amount)));
            histories.push(history);
        });
        finish(&mut histories, &mut spending);
    }
}
