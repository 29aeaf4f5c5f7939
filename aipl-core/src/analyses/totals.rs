//! What analyses of counts and money share: totals by scope in one pass, the people behind a cell, columns of figures.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use roaring::RoaringBitmap;

use crate::analyses::asked::{AnalysisError, Asked, arrow_fault, find_scope};
use crate::audience::Audience;
use crate::base::statistics::ratio;
use crate::base::suggest::some_of;
use crate::base::{ConsumerIdx, Day, Decimal6, IdValue};
use crate::model::StageModel;
use crate::stage::Line;
use crate::timeline::{Bucket, Folded, History, Question, Runtime, ScopeValue, Visited, fold};

/// The most cells of one answer.
pub(crate) const MAX_CELLS: usize = 20_000_000;

/// Fewer people than this are too few to act on (definitions, 6.1).
pub(crate) const SMALL: i64 = 30;

/// Adds up what each bucket holds, into as many totals as there are threads, and then these. The order of addition is arbitrary, so
/// totals are whole numbers.
pub(crate) fn total<T: Default + Send>(
    asked: &Asked<'_>,
    question: &Question<'_>,
    runtime: &Runtime<'_>,
    each: impl Fn(&Bucket<'_>, &mut T) + Sync,
    merge: impl Fn(&mut T, T),
) -> Result<(T, Visited), AnalysisError> {
    let resting: Mutex<Vec<T>> = Mutex::default();
    let Folded { about, .. } = fold(asked.source, question, runtime, |bucket| {
        let own = resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut own = own.unwrap_or_default();
        each(&bucket, &mut own);
        resting.lock().unwrap_or_else(PoisonError::into_inner).push(own);
    })?;
    let mut parts = resting.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let mut all = parts.next().unwrap_or_default();
    parts.for_each(|part| merge(&mut all, part));
    Ok((all, about))
}

/// Adds lists of totals place by place.
pub(crate) fn add_places<T: Copy + Default + std::ops::AddAssign>(all: &mut Vec<T>, more: Vec<T>) {
    if all.len() < more.len() {
        all.resize(more.len(), T::default());
    }
    all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
}

/// What a history is found to be: one bit a group. One a bucket, since it remembers.
pub(crate) type Judge<'b> = Box<dyn FnMut(&History<'_>) -> u32 + 'b>;

/// Sorts consumers of scopes into groups.
pub(crate) trait Grouping: Sync {
    /// What the question looks at.
    fn asked(&self) -> &Asked<'_>;
    /// The first and last day of the question.
    fn days(&self) -> (Day, Day);
    /// A judge for the histories of a bucket.
    fn judge<'b>(&'b self, bucket: Bucket<'b>) -> Judge<'b>;
}

/// Counts consumers by scope and group.
pub(crate) fn count_groups<const N: usize>(
    grouping: &impl Grouping,
    runtime: &Runtime<'_>,
) -> Result<(Vec<[i64; N]>, Visited), AnalysisError> {
    let each = |bucket: &Bucket<'_>, counts: &mut Vec<[i64; N]>| {
        counts.resize(bucket.scopes.len(), [0; N]);
        let mut judge = grouping.judge(*bucket);
        bucket.timelines.for_each_history(|history| {
            let bits = judge(&history);
            for (bit, count) in counts[history.scope as usize].iter_mut().enumerate() {
                *count += i64::from(bits >> bit & 1);
            }
        });
    };
    let merge = |all: &mut Vec<[i64; N]>, more: Vec<[i64; N]>| {
        all.resize(all.len().max(more.len()), [0; N]);
        for (all, more) in all.iter_mut().zip(more) {
            all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
    };
    let (asked, days) = (grouping.asked(), grouping.days());
    let (mut counts, about) = total(asked, &asked.question(days.0, days.1), runtime, each, merge)?;
    counts.resize(about.scopes.len(), [0; N]);
    Ok((counts, about))
}

/// The consumers of a scope in the group of a bit.
pub(crate) fn people_of_group(
    grouping: &impl Grouping,
    scope: &ScopeValue,
    bit: u32,
    made: &str,
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let (asked, days) = (grouping.asked(), grouping.days());
    people(
        asked,
        &asked.question(days.0, days.1),
        Some(scope),
        made,
        runtime,
        |bucket, place, push| {
            let mut judge = grouping.judge(*bucket);
            bucket.timelines.for_each_history(|history| {
                if Some(history.scope as usize) == place && judge(&history) & bit != 0 {
                    push(history.consumer);
                }
            });
        },
    )
}

/// Which value of a dimension a cell is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellValue<'a> {
    /// Any: the cell is a total.
    Any,
    /// That there is none.
    Absent,
    /// This one, as text.
    Is(&'a str),
}

impl std::fmt::Display for CellValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CellValue::Any => "any",
            CellValue::Absent => "none",
            CellValue::Is(value) => value,
        })
    }
}

impl<'a> From<Option<&'a str>> for CellValue<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map_or(CellValue::Absent, CellValue::Is)
    }
}

/// The consumers of a cell, found again: of one scope, if one is named, whose place in the answer is then told.
pub(crate) fn people(
    asked: &Asked<'_>,
    question: &Question<'_>,
    scope: Option<&ScopeValue>,
    made: &str,
    runtime: &Runtime<'_>,
    each: impl Fn(&Bucket<'_>, Option<usize>, &mut dyn FnMut(u32)) + Sync,
) -> Result<Audience, AnalysisError> {
    people_where(asked, question, scope, made, runtime, |_| Ok(()), each)
}

/// As [`people`], of a cell of values: these are looked for among the labels of the answer first.
pub(crate) fn people_where(
    asked: &Asked<'_>,
    question: &Question<'_>,
    scope: Option<&ScopeValue>,
    made: &str,
    runtime: &Runtime<'_>,
    known: impl FnOnce(&[Vec<IdValue>]) -> Result<(), AnalysisError>,
    each: impl Fn(&Bucket<'_>, Option<usize>, &mut dyn FnMut(u32)) + Sync,
) -> Result<Audience, AnalysisError> {
    let Folded { buckets, about } = fold(asked.source, question, runtime, |bucket| {
        let mut found = RoaringBitmap::new();
        let place = scope.map(|scope| find_scope(bucket.scopes, scope));
        if let Some(Err(_)) = place {
            return found;
        }
        each(&bucket, place.and_then(Result::ok), &mut |local| {
            found.insert(ConsumerIdx::new(bucket.number, local).0);
        });
        found
    })?;
    if let Some(scope) = scope {
        find_scope(&about.scopes, scope)?;
    }
    known(&about.labels)?;
    let mut all = RoaringBitmap::new();
    buckets.into_iter().for_each(|bucket| all |= bucket);
    Ok(Audience::new(all, about.universe, made))
}

/// What was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trading {
    /// Distinct consumers with an order.
    pub buyers: i64,
    /// Distinct orders.
    pub orders: i64,
    /// What was paid less what was refunded, in units of [`Decimal6`].
    pub gmv: i128,
}

impl std::ops::AddAssign for Trading {
    fn add_assign(&mut self, more: Trading) {
        self.buyers += more.buyers;
        self.orders += more.orders;
        self.gmv += more.gmv;
    }
}

impl Trading {
    /// What one consumer's purchases and refunds come to.
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l Line>, ids: &mut Vec<(u64, u64)>) -> Trading {
        let mut trading = Trading::default();
        ids.clear();
        for line in lines {
            trading.gmv += line.amount;
            match (line.ordered, line.id) {
                (false, _) => {}
                (true, (0, 0)) => trading.orders += 1,
                (true, id) => ids.push(id),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        trading.orders += ids.len() as i64;
        trading.buyers = i64::from(trading.orders > 0);
        trading
    }

    /// GMV ÷ orders.
    pub fn order_value(&self) -> Option<f64> {
        ratio(amount(self.gmv), self.orders as f64)
    }

    /// Orders ÷ buyers.
    pub fn frequency(&self) -> Option<f64> {
        ratio(self.orders as f64, self.buyers as f64)
    }

    /// Buyers, orders a buyer and GMV an order; their product is the GMV. All 0 without orders.
    pub fn factors(&self) -> [f64; 3] {
        [
            self.buyers as f64,
            self.frequency().unwrap_or_default(),
            self.order_value().unwrap_or_default(),
        ]
    }
}

/// Money as the nearest float to its exact sum.
pub(crate) fn amount(sum: i128) -> f64 {
    // Of 64 bits a processor has a conversion of its own, and few sums are larger.
    let sum = i64::try_from(sum).map_or(sum as f64, |sum| sum as f64);
    sum / Decimal6::ONE as f64
}

/// A table whose columns may hold nulls.
pub(crate) fn table<'c>(columns: impl IntoIterator<Item = (&'c str, ArrayRef)>) -> Result<RecordBatch, AnalysisError> {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(arrow_fault)
}

/// A column of figures.
pub(crate) fn figures(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

/// A column of shares of one; null where there is nothing to divide by.
pub(crate) fn shares(values: impl Iterator<Item = (i64, i64)>) -> ArrayRef {
    figures(values.map(|(count, base)| ratio(count as f64, base as f64)))
}

/// A note for answers about money where there is none.
pub(crate) fn money_notes(has_amounts: bool) -> Vec<String> {
    let note = || "the schema maps no amount, so columns of money are null".to_owned();
    (!has_amounts).then(note).into_iter().collect()
}

/// The bit of a group by its name.
pub(crate) fn bit_of(parameter: &'static str, name: &str, names: &[&str]) -> Result<u32, AnalysisError> {
    let place = names.iter().position(|known| *known == name);
    place.map(|place| 1 << place).ok_or_else(|| {
        let choices = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        AnalysisError::parameter(parameter, format!("{name:?} is not one of {choices}"))
    })
}

/// The label of a stage by code or name; refused with the words that do besides.
pub(crate) fn stage_named(parameter: &'static str, model: &StageModel, stage: &str, words: &[&str]) -> Result<u8, AnalysisError> {
    let found = model.stage_index(stage).map_err(|error| {
        let more = if words.is_empty() {
            String::new()
        } else {
            format!("; or {}", words.join(", "))
        };
        AnalysisError::parameter(parameter, format!("{error}{more}"))
    });
    Ok(found? as u8 + 1)
}

/// Refuses a model of which a stage has a word of the table itself as its code or name.
pub(crate) fn check_words(model: &StageModel, words: &[&str]) -> Result<(), AnalysisError> {
    match words.iter().find(|word| model.stage_index(word).is_ok()) {
        None => Ok(()),
        Some(word) => {
            let problem = format!("{word:?} is a stage of the model, and a word of its own here; give the stage another code and name");
            Err(AnalysisError::parameter("model", problem))
        }
    }
}

/// Refuses a day that a table does not have.
pub(crate) fn check_day(parameter: &'static str, day: Day, days: &[Day]) -> Result<(), AnalysisError> {
    if days.contains(&day) {
        return Ok(());
    }
    let choices: Vec<String> = days.iter().map(ToString::to_string).collect();
    let problem = format!("{day} is not one of the days of this answer: {}", some_of(&choices));
    Err(AnalysisError::parameter(parameter, problem))
}

/// Truth values as bits, the first the lowest.
pub(crate) fn bits(values: &[bool]) -> u32 {
    values.iter().rev().fold(0, |bits, value| bits << 1 | u32::from(*value))
}

/// A number of days that can be counted back.
pub(crate) fn check_days(parameter: &'static str, days: u32) -> Result<i32, AnalysisError> {
    if (1..=100_000).contains(&days) {
        return Ok(days as i32);
    }
    Err(AnalysisError::parameter(parameter, format!("{days} is not from 1 to 100000 days")))
}
