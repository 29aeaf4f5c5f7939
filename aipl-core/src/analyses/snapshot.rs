//! Stages of every consumer with every scope at the close of one day.
//!
//! Definition: `python/docs/definitions/stages.md` (sources there). Differences from the source platforms: the snapshot is
//! exact as of any day, not only of yesterday, and a window of N days is the closed range `[D − N + 1, D]`, which no source states.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use crate::analyses::asked::{AnalysisError, Asked, find_scope};
use crate::analyses::labels::{LabelReader, scope_array, stage_array};
use crate::analyses::outcome::Report;
use crate::audience::Audience;
use crate::base::id::BUCKETS;
use crate::base::{ConsumerIdx, Day, IdKind};
use crate::event::Tally;
use crate::model::{Program, StageModel};
use crate::stage::Labeler;
use crate::timeline::scopes::ScopeValue;
use crate::timeline::{Bucket, Folded, KeptStages, Runtime, Timelines, Universe, fold};

/// Optional parameters of [`snapshot`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotParams {
    /// Only these scopes; `None` takes every scope that an event or state could still count for on the day.
    pub scopes: Option<Vec<ScopeValue>>,
}

/// A label of one consumer with one scope: local number (24 bits), place of the scope (32), stage + 1 (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackedLabel(u64);

impl PackedLabel {
    fn new(consumer: u32, scope: u32, label: u8) -> Self {
        PackedLabel(u64::from(consumer) << 40 | u64::from(scope) << 8 | u64::from(label))
    }

    pub fn consumer(self) -> u32 {
        (self.0 >> 40) as u32
    }

    pub fn scope(self) -> usize {
        (self.0 >> 8) as u32 as usize
    }

    pub fn stage(self) -> usize {
        (self.0 as u8).saturating_sub(1) as usize
    }
}

/// Labels by bucket, in order of consumer and scope; only consumers in a stage.
pub(crate) type Labels = Vec<Vec<PackedLabel>>;

/// Where the consumers of each stage are found.
#[derive(Debug, Clone)]
enum Found {
    /// In labels that were made of events.
    Labeled { universe: Arc<Universe>, labels: Arc<Labels> },
    /// In sets that a home keeps, by the place there of each scope; a named scope may have none.
    Kept {
        kept: Arc<dyn KeptStages>,
        places: Vec<Option<usize>>,
    },
}

/// The stages of all consumers at the close of a day.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) model: Arc<StageModel>,
    pub(crate) scopes: Arc<Vec<ScopeValue>>,
    found: Found,
    /// Consumers by scope and stage.
    counts: Vec<i64>,
    /// What the scope column holds.
    pub(crate) scope_type: IdKind,
    as_of: Day,
    report: Report,
    recipe: Value,
}

/// Labels every consumer with every scope at the close of `as_of`.
///
/// # Units and shape
/// Distinct consumers per scope and stage; each consumer is in one stage of a scope or out. Days are in the events' zone.
///
/// # Errors
/// [`AnalysisError::Model`] if the model and schema do not fit, [`AnalysisError::Scan`] for what the source refuses,
/// [`AnalysisError::ScopeType`] for scopes of another type than the data's.
///
/// # Cost
/// One pass over the source; memory grows with the rows that can still count on the day.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use aipl_core::analyses::{SnapshotParams, snapshot};
/// use aipl_core::event::EventSchema;
/// use aipl_core::model::StageModel;
/// use aipl_core::source::Events;
/// use aipl_core::timeline::{Runtime, ScopeValue};
/// use arrow::array::{RecordBatch, StringArray};
///
/// let column = |values: [&'static str; 3]| Arc::new(StringArray::from(values.to_vec())) as _;
/// let batch = RecordBatch::try_from_iter([
///     ("user", column(["u1", "u1", "u2"])),
///     ("brand", column(["b", "b", "b"])),
///     ("action", column(["purchase", "purchase", "view"])),
///     ("at", column(["2024-01-01", "2024-06-30", "2024-06-29 12:00:00"])),
/// ])?;
/// let events = Events::from_batches(batch.schema(), vec![batch], EventSchema::new("user", "brand", "action", "at"), "Asia/Shanghai")?;
/// let model = StageModel::preset("databank")?;
/// let snap = snapshot(&events, &model, "2024-06-30".parse()?, &SnapshotParams::default(), &Runtime::default())?;
/// let brand = ScopeValue::of("b");
/// assert_eq!(snap.count(&brand, "loyalty")?, 1);
/// assert_eq!(snap.audience(&brand, "A")?.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn snapshot(
    source: &dyn Timelines,
    model: &StageModel,
    as_of: Day,
    params: &SnapshotParams,
    runtime: &Runtime<'_>,
) -> Result<Snapshot, AnalysisError> {
    let asked = Asked::new(source, model, params.scopes.as_deref())?;
    if let Some(kept) = asked.kept(as_of)? {
        return Ok(of_kept(&asked, model, as_of, kept, runtime));
    }
    let program = &asked.program;
    let Folded { buckets, about } = fold(source, &asked.question(as_of, as_of), runtime, |bucket| {
        label_bucket(&bucket, program, as_of)
    })?;
    let counts = count(&buckets, about.scopes.len(), program.stages);
    let nobody = |place: usize| {
        counts[place * program.stages..(place + 1) * program.stages]
            .iter()
            .all(|count| *count == 0)
    };
    let notes = asked.empty_scopes(&about.scopes, nobody, "nobody is in a stage on the day");
    let report = asked.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime);
    Ok(Snapshot {
        model: Arc::new(model.clone()),
        scopes: Arc::new(about.scopes),
        found: Found::Labeled {
            universe: about.universe,
            labels: Arc::new(buckets),
        },
        counts,
        scope_type: asked.scope_type(),
        as_of,
        report,
        recipe: recipe(&asked, as_of),
    })
}

fn recipe(asked: &Asked<'_>, as_of: Day) -> Value {
    let unit = "distinct consumers per scope and stage at the close of the day";
    asked.recipe("snapshot", unit, &[("as_of", json!(as_of.to_string()))])
}

/// The snapshot of a day that is kept; no event is read.
fn of_kept(asked: &Asked<'_>, model: &StageModel, as_of: Day, kept: Arc<dyn KeptStages>, runtime: &Runtime<'_>) -> Snapshot {
    let started = Instant::now();
    let stages = asked.program.stages;
    let listed = kept.scopes().iter().zip(kept.listed()).filter(|(_, listed)| **listed);
    let scopes: Vec<ScopeValue> = match &asked.named {
        Some(named) => named.clone(),
        None => listed.map(|(scope, _)| scope.clone()).collect(),
    };
    let places: Vec<Option<usize>> = scopes.iter().map(|scope| kept.scopes().binary_search(scope).ok()).collect();
    let own = |place: &Option<usize>| match place {
        Some(place) => kept.counts()[place * stages..(place + 1) * stages].to_vec(),
        None => vec![0; stages],
    };
    let counts: Vec<i64> = places.iter().flat_map(own).collect();
    let nobody = |place: usize| counts[place * stages..(place + 1) * stages].iter().all(|count| *count == 0);
    let mut notes = asked.empty_scopes(&scopes, nobody, "nobody is in a stage on the day");
    notes.push("the day was materialized; no event was read".to_owned());
    let report = Report {
        identity: kept.identity(),
        ..asked.report(Tally::default(), started.elapsed(), None, notes, runtime)
    };
    Snapshot {
        model: Arc::new(model.clone()),
        scopes: Arc::new(scopes),
        counts,
        scope_type: asked.scope_type(),
        as_of,
        report,
        recipe: recipe(asked, as_of),
        found: Found::Kept { kept, places },
    }
}

fn label_bucket(bucket: &Bucket<'_>, program: &Program, as_of: Day) -> Vec<PackedLabel> {
    let mut labeler = Labeler::new(program, bucket.masks, bucket.timelines.layout(), as_of.number());
    let mut labels = Vec::new();
    bucket.timelines.for_each_history(|history| {
        let label = labeler.label(&history);
        if label != 0 {
            labels.push(PackedLabel::new(history.consumer, history.scope, label));
        }
    });
    labels.shrink_to_fit();
    labels
}

fn count(buckets: &[Vec<PackedLabel>], scopes: usize, stages: usize) -> Vec<i64> {
    let mut counts = vec![0; scopes * stages];
    buckets
        .iter()
        .flatten()
        .for_each(|label| counts[label.scope() * stages + label.stage()] += 1);
    counts
}

impl Snapshot {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &StageModel {
        &self.model
    }

    /// The day.
    #[must_use]
    pub fn as_of(&self) -> Day {
        self.as_of
    }

    /// The scopes, in order.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeValue] {
        &self.scopes
    }

    /// The consumers that were seen: those with at least one event or state that could still count; of a bank, all that it knows.
    ///
    /// # Errors
    /// Damage, where the day is kept and its consumers are read now.
    pub fn universe(&self) -> Result<Arc<Universe>, AnalysisError> {
        Ok(match &self.found {
            Found::Labeled { universe, .. } => universe.clone(),
            Found::Kept { kept, .. } => kept.universe()?,
        })
    }

    /// The labels of all consumers.
    fn all_labels(&self) -> Result<Arc<Labels>, AnalysisError> {
        let (kept, places) = match &self.found {
            Found::Labeled { labels, .. } => return Ok(labels.clone()),
            Found::Kept { kept, places } => (kept, places),
        };
        let mut labels: Labels = vec![Vec::new(); BUCKETS];
        for (scope, place) in (0u32..).zip(places) {
            let Some(place) = *place else { continue };
            for stage in 0..self.model.stages.len() {
                for idx in kept.set(place, stage)?.into_iter().map(ConsumerIdx) {
                    labels[idx.bucket()].push(PackedLabel::new(idx.local(), scope, stage as u8 + 1));
                }
            }
        }
        labels.iter_mut().for_each(|bucket| bucket.sort_unstable());
        Ok(Arc::new(labels))
    }

    /// The account of rows.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How to ask again, as plain data.
    #[must_use]
    pub fn recipe(&self) -> &Value {
        &self.recipe
    }

    /// The place of a scope.
    ///
    /// # Errors
    /// [`AnalysisError::UnknownScope`] naming the nearest.
    pub fn scope_index(&self, scope: &ScopeValue) -> Result<usize, AnalysisError> {
        find_scope(&self.scopes, scope)
    }

    /// Consumers in a stage (by code or name) of a scope.
    ///
    /// # Errors
    /// An unknown scope or stage.
    pub fn count(&self, scope: &ScopeValue, stage: &str) -> Result<i64, AnalysisError> {
        let (scope, stage) = (self.scope_index(scope)?, self.model.stage_index(stage)?);
        Ok(self.counts[scope * self.model.stages.len() + stage])
    }

    /// `scope, stage, consumers`: every scope × every stage, zeros included; scopes in order, stages from the lowest.
    ///
    /// `scope` is int64 or utf8 as in the data (utf8 `brand/category` for brand × category), `stage` utf8, `consumers` int64.
    #[must_use]
    pub fn counts(&self) -> RecordBatch {
        let stages = self.model.stages.len();
        let cells = self.scopes.len() * stages;
        let batch = RecordBatch::try_from_iter([
            (
                "scope",
                scope_array(&self.scopes, self.scope_type, (0..cells).map(|cell| cell / stages)),
            ),
            ("stage", stage_array(&self.model, (0..cells).map(|cell| cell % stages))),
            ("consumers", Arc::new(Int64Array::from(self.counts.clone())) as _),
        ]);
        batch.unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())))
    }

    /// `consumer, scope, stage` in order of consumer and scope, streamed batch by batch; only consumers in a stage.
    ///
    /// # Errors
    /// An unknown scope.
    pub fn labels(&self, scope: Option<&ScopeValue>, runtime: &Runtime<'_>) -> Result<LabelReader, AnalysisError> {
        let scope = scope.map(|scope| self.scope_index(scope)).transpose()?;
        let (universe, labels) = (self.universe()?, self.all_labels()?);
        runtime.run(|| {
            universe.ordered();
        });
        Ok(LabelReader::new(self, universe, labels, scope))
    }

    /// The number of labels, of all scopes or one.
    ///
    /// # Errors
    /// An unknown scope.
    pub fn label_count(&self, scope: Option<&ScopeValue>) -> Result<i64, AnalysisError> {
        let stages = self.model.stages.len();
        Ok(match scope {
            None => self.counts.iter().sum(),
            Some(scope) => {
                let at = self.scope_index(scope)? * stages;
                self.counts[at..at + stages].iter().sum()
            }
        })
    }

    /// The consumers in a stage (by code or name) of a scope.
    ///
    /// # Errors
    /// An unknown scope or stage.
    pub fn audience(&self, scope: &ScopeValue, stage: &str) -> Result<Audience, AnalysisError> {
        let (at, stage_at) = (self.scope_index(scope)?, self.model.stage_index(stage)?);
        let bits = match &self.found {
            Found::Labeled { labels, .. } => collect(labels, at, stage_at),
            Found::Kept { kept, places } => places[at].map_or_else(|| Ok(RoaringBitmap::new()), |place| kept.set(place, stage_at))?,
        };
        let made = format!(
            "{} {} on {} ({})",
            self.scopes[at], self.model.stages[stage_at].code, self.as_of, self.model.id
        );
        Ok(Audience::new(bits, self.universe()?, &made))
    }
}

/// The consumers of a scope's stage.
fn collect(labels: &Labels, scope: usize, stage: usize) -> RoaringBitmap {
    let mut bits = RoaringBitmap::new();
    for (bucket, labels) in labels.iter().enumerate() {
        let chosen = labels.iter().filter(|label| label.scope() == scope && label.stage() == stage);
        // Labels are in order of consumer and buckets are ascending ranges, so numbers only grow.
        for label in chosen {
            let _ = bits.try_push(ConsumerIdx::new(bucket, label.consumer()).0);
        }
    }
    bits
}
