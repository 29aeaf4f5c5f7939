//! What people, goods and places are told apart by: label fields of events, and tags of consumers.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use crate::analyses::asked::{AnalysisError, Asked};
use crate::analyses::totals::CellValue;
use crate::base::suggest::{hint, some_of};
use crate::base::{IdKind, IdValue};
use crate::stage::{Line, OrderReader, Trade};
use crate::timeline::rows::PayloadLayout;
use crate::timeline::{Attributes, Bucket, History};

/// One way of telling apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// A label field, by its place in the payload.
    Label(usize),
    /// A tag of the attributes.
    Tag(usize),
}

/// What a question tells apart by. Values are numbers: 0 for none, else one more than the place among all values.
#[derive(Debug)]
pub(crate) struct Dimensions {
    each: Vec<Dimension>,
    attributes: Option<Attributes>,
    kind: IdKind,
}

impl Dimensions {
    /// Finds names among the tags, and then among the label fields, which are carried from now on.
    pub fn new(
        asked: &mut Asked<'_>,
        parameter: &'static str,
        names: &[String],
        attributes: Option<&Attributes>,
    ) -> Result<Self, AnalysisError> {
        let mut each = Vec::with_capacity(names.len());
        attributes.into_iter().for_each(|attributes| asked.tell_by(attributes));
        for name in names {
            each.push(match attributes.and_then(|attributes| attributes.tag(name)) {
                Some(tag) => Dimension::Tag(tag),
                None => Dimension::Label(
                    asked
                        .carry_label(parameter, name)
                        .map_err(|error| with_tags(error, parameter, name, attributes))?,
                ),
            });
        }
        Ok(Dimensions {
            each,
            attributes: attributes.cloned(),
            kind: asked.source.id_kind("consumer"),
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether one of them is a tag.
    fn has_tags(&self) -> bool {
        self.each.iter().any(|dimension| matches!(dimension, Dimension::Tag(_)))
    }

    /// Whether a dimension is a tag of consumers.
    pub fn is_tag(&self, which: usize) -> bool {
        matches!(self.each[which], Dimension::Tag(_))
    }

    /// Reads the values of a bucket.
    pub fn reader(&self, bucket: &Bucket<'_>) -> DimensionReader<'_> {
        let aligned = match &self.attributes {
            Some(attributes) if self.has_tags() => attributes.align(bucket.number, bucket.ids, self.kind),
            _ => Vec::new(),
        };
        DimensionReader {
            dimensions: self,
            layout: bucket.timelines.layout(),
            aligned,
        }
    }

    /// All values of a dimension, in order.
    pub fn values<'v>(&'v self, labels: &'v [Vec<IdValue>], which: usize) -> &'v [IdValue] {
        match (self.each[which], &self.attributes) {
            (Dimension::Label(place), _) => labels.get(place).map_or(&[], Vec::as_slice),
            (Dimension::Tag(tag), Some(attributes)) => attributes.values(tag),
            (Dimension::Tag(_), None) => &[],
        }
    }

    /// A column of values by their numbers, as text; null where there is none.
    pub fn array(&self, labels: &[Vec<IdValue>], which: usize, numbers: impl Iterator<Item = u64>) -> ArrayRef {
        let values = self.values(labels, which);
        let text = |number: u64| (number > 0).then(|| values[number as usize - 1].to_string());
        Arc::new(StringArray::from_iter(numbers.map(text)))
    }

    /// Refuses a value that is none of the dimension's.
    pub fn check_value(
        &self,
        labels: &[Vec<IdValue>],
        which: usize,
        parameter: &'static str,
        value: CellValue<'_>,
    ) -> Result<(), AnalysisError> {
        let CellValue::Is(text) = value else { return Ok(()) };
        if self.number(labels, which, text).is_some() {
            return Ok(());
        }
        let values: Vec<String> = self.values(labels, which).iter().map(ToString::to_string).collect();
        let tail = hint(text, values.iter().map(String::as_str));
        let choices = some_of(&values);
        let problem = format!("{text:?} is not a value in the events that this question looks at{tail}; values: {choices}");
        Err(AnalysisError::parameter(parameter, problem))
    }

    /// What a cell's value is among the numbers of a dimension; nothing if it is none of these.
    pub fn wanted(&self, labels: &[Vec<IdValue>], which: usize, value: CellValue<'_>) -> Option<Wanted> {
        match value {
            CellValue::Any => Some(Wanted(None)),
            CellValue::Absent => Some(Wanted(Some(0))),
            CellValue::Is(text) => self.number(labels, which, text).map(|number| Wanted(Some(number))),
        }
    }

    /// The number of a value given as text.
    pub fn number(&self, labels: &[Vec<IdValue>], which: usize, text: &str) -> Option<u64> {
        let place = self.values(labels, which).iter().position(|value| value.to_string() == text);
        place.map(|place| place as u64 + 1)
    }
}

/// The number of a value that is asked for; any if nothing is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted(Option<u64>);

impl Wanted {
    /// Whether a number is the one.
    #[inline]
    pub fn is(self, number: u64) -> bool {
        self.0.is_none_or(|wanted| wanted == number)
    }
}

/// Refuses names that are given twice: a table has one column of a name.
pub(crate) fn check_distinct(parameter: &'static str, names: &[String]) -> Result<(), AnalysisError> {
    let repeated = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
    match repeated {
        Some((_, name)) => Err(AnalysisError::parameter(parameter, format!("{name:?} is named twice"))),
        None => Ok(()),
    }
}

/// The choices of a refused name with the tags.
fn with_tags(error: AnalysisError, parameter: &'static str, name: &str, attributes: Option<&Attributes>) -> AnalysisError {
    match (error, attributes) {
        (AnalysisError::Parameter { problem, .. }, Some(attributes)) => {
            let tags = attributes.tags();
            let more = format!(
                "{problem}; tags of the attributes: {}{}",
                tags.join(", "),
                hint(name, tags.iter().copied())
            );
            AnalysisError::parameter(parameter, more)
        }
        (error, _) => error,
    }
}

/// Reads the values of one bucket's rows and consumers.
#[derive(Debug)]
pub(crate) struct DimensionReader<'a> {
    dimensions: &'a Dimensions,
    layout: PayloadLayout,
    aligned: Vec<u32>,
}

impl DimensionReader<'_> {
    /// The number of the value of a row of a history.
    #[inline]
    pub fn value(&self, history: &History<'_>, row: usize, which: usize) -> u64 {
        match self.dimensions.each[which] {
            Dimension::Label(place) => history.payloads[row * self.layout.width() + self.layout.labels_at() + place],
            Dimension::Tag(_) => self.tag(history.consumer, which),
        }
    }

    /// The number of the value of a consumer's tag; 0 for a label field.
    #[inline]
    pub fn tag(&self, consumer: u32, which: usize) -> u64 {
        match (self.dimensions.each[which], &self.dimensions.attributes) {
            (Dimension::Tag(tag), Some(attributes)) => attributes.value(tag, self.aligned[consumer as usize]),
            _ => 0,
        }
    }

    /// Appends the numbers of all values of a row of a history.
    pub fn write_key(&self, history: &History<'_>, row: usize, key: &mut Vec<u64>) {
        key.extend((0..self.dimensions.len()).map(|which| self.value(history, row, which)));
    }
}

/// One purchase or refund of a consumer: with which brand, the numbers of up to two values, and the line itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purchase {
    pub scope: u32,
    pub values: [u64; 2],
    pub line: Line,
}

/// Calls `visit` with each consumer's purchases and refunds of some days, with all brands.
pub(crate) fn each_shopper(
    bucket: &Bucket<'_>,
    trade: Trade,
    dimensions: &Dimensions,
    days: &RangeInclusive<i32>,
    mut visit: impl FnMut(u32, &mut Vec<Purchase>),
) {
    let (mut orders, values) = (OrderReader::new(trade, bucket), dimensions.reader(bucket));
    let (mut shopper, mut purchases) = (0, Vec::new());
    bucket.timelines.for_each_history(|history| {
        if history.consumer != shopper {
            if !purchases.is_empty() {
                visit(shopper, &mut purchases);
                purchases.clear();
            }
            shopper = history.consumer;
        }
        for line in orders.lines(&history).iter().filter(|line| days.contains(&line.day)) {
            let mut purchase = Purchase {
                scope: history.scope,
                values: [0; 2],
                line: *line,
            };
            for which in 0..dimensions.len().min(2) {
                purchase.values[which] = values.value(&history, line.row, which);
            }
            purchases.push(purchase);
        }
    });
    if !purchases.is_empty() {
        visit(shopper, &mut purchases);
    }
}
