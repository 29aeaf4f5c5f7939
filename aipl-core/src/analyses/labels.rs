//! Labels as an Arrow stream, made batch by batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchReader, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::analyses::asked::AnalysisError;
use crate::analyses::snapshot::{Labels, PackedLabel, Snapshot};
use crate::base::{ConsumerIdx, IdKind, IdValue};
use crate::model::StageModel;
use crate::model::data::OUT;
use crate::timeline::{ScopeValue, Universe};

const BATCH_ROWS: usize = 1 << 16;

/// Streams `consumer, scope, stage` in order of consumer and scope.
#[derive(Debug)]
pub struct LabelReader {
    model: Arc<StageModel>,
    scopes: Arc<Vec<ScopeValue>>,
    scope_type: IdKind,
    universe: Arc<Universe>,
    labels: Arc<Labels>,
    scope: Option<usize>,
    schema: SchemaRef,
    /// The place in the universe's order.
    next: usize,
}

impl LabelReader {
    pub(crate) fn new(snapshot: &Snapshot, universe: Arc<Universe>, labels: Arc<Labels>, scope: Option<usize>) -> Self {
        let schema = Arc::new(Schema::new(vec![
            Field::new("consumer", arrow_type(universe.id_kind()), false),
            Field::new("scope", arrow_type(snapshot.scope_type), false),
            Field::new("stage", DataType::Utf8, false),
        ]));
        LabelReader {
            model: snapshot.model.clone(),
            scopes: snapshot.scopes.clone(),
            scope_type: snapshot.scope_type,
            universe,
            labels,
            scope,
            schema,
            next: 0,
        }
    }

    /// The labels of one consumer.
    fn labels_of(&self, idx: ConsumerIdx) -> &[PackedLabel] {
        let labels = &self.labels[idx.bucket()];
        let start = labels.partition_point(|label| label.consumer() < idx.local());
        let count = labels[start..].iter().take_while(|label| label.consumer() == idx.local()).count();
        &labels[start..start + count]
    }

    fn batch(&self, rows: &[(ConsumerIdx, PackedLabel)]) -> Result<RecordBatch, ArrowError> {
        let universe = &self.universe;
        let consumers: ArrayRef = match universe.id_kind() {
            IdKind::Int64 => Arc::new(Int64Array::from_iter_values(rows.iter().map(|(idx, _)| universe.int(*idx)))),
            IdKind::Text => Arc::new(StringArray::from_iter_values(rows.iter().map(|(idx, _)| universe.text(*idx)))),
        };
        let scopes = scope_array(&self.scopes, self.scope_type, rows.iter().map(|(_, label)| label.scope()));
        let stages = stage_array(&self.model, rows.iter().map(|(_, label)| label.stage()));
        RecordBatch::try_new(self.schema.clone(), vec![consumers, scopes, stages])
    }
}

impl Iterator for LabelReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while let Some(&idx) = self.universe.ordered().get(self.next) {
            let idx = ConsumerIdx(idx);
            let wanted = |label: &&PackedLabel| self.scope.is_none_or(|scope| label.scope() == scope);
            rows.extend(self.labels_of(idx).iter().filter(wanted).map(|label| (idx, *label)));
            self.next += 1;
            if rows.len() >= BATCH_ROWS {
                break;
            }
        }
        (!rows.is_empty()).then(|| self.batch(&rows))
    }
}

impl RecordBatchReader for LabelReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The Arrow type of identifiers.
fn arrow_type(kind: IdKind) -> DataType {
    match kind {
        IdKind::Int64 => DataType::Int64,
        IdKind::Text => DataType::Utf8,
    }
}

/// A column of scopes by their places.
pub(crate) fn scope_array(scopes: &[ScopeValue], kind: IdKind, places: impl ExactSizeIterator<Item = usize>) -> ArrayRef {
    let int = |scope: &ScopeValue| if let IdValue::Int(value) = scope.main { value } else { 0 };
    match kind {
        IdKind::Int64 => Arc::new(Int64Array::from_iter_values(places.map(|place| int(&scopes[place])))),
        IdKind::Text => {
            // Rows of one batch name few pairs over and over; each is written out once.
            let mut texts: HashMap<usize, String> = HashMap::new();
            let mut builder = StringBuilder::with_capacity(places.len(), places.len() * 8);
            places.for_each(|place| match &scopes[place] {
                ScopeValue {
                    main: IdValue::Text(brand),
                    category: None,
                } => builder.append_value(brand),
                scope => builder.append_value(texts.entry(place).or_insert_with(|| scope.to_string())),
            });
            Arc::new(builder.finish())
        }
    }
}

/// Refuses a table whose scope column would be longer than Arrow's 2 GiB of text, each scope standing in so many rows.
pub(crate) fn check_scope_text(scopes: &[ScopeValue], kind: IdKind, rows_each: usize) -> Result<(), AnalysisError> {
    let bytes: usize = match kind {
        IdKind::Int64 => 0,
        IdKind::Text => scopes.iter().map(|scope| scope.to_string().len()).sum(),
    };
    if bytes.saturating_mul(rows_each) > i32::MAX as usize {
        let problem = "the names of the scopes in all rows of the table take over 2 GiB; name fewer scopes, or ask for fewer days";
        return Err(AnalysisError::parameter("scopes", problem));
    }
    Ok(())
}

/// A column of stage codes by their places.
pub(crate) fn stage_array(model: &StageModel, places: impl ExactSizeIterator<Item = usize>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(places.map(|place| model.stages[place].code.as_str())))
}

/// The code of a label: `out`, or a stage's.
pub(crate) fn label_code(model: &StageModel, label: usize) -> &str {
    if label == 0 { OUT } else { &model.stages[label - 1].code }
}

/// A column of stage codes or `out` by label.
pub(crate) fn label_array(model: &StageModel, labels: impl Iterator<Item = usize>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(labels.map(|label| label_code(model, label))))
}

/// A column of counts.
pub(crate) fn counts(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Percents of a base; null where there is none, or nobody is in it.
pub(crate) fn percents(values: impl Iterator<Item = (i64, Option<i64>)>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values.map(|(count, base)| percent(count, base))))
}

/// Percent of a base; nothing where there is none, or nobody is in it.
pub(crate) fn percent(count: i64, base: Option<i64>) -> Option<f64> {
    base.filter(|base| *base > 0).map(|base| 100.0 * count as f64 / base as f64)
}
