//! Movement between two days: who stayed in a stage, moved up, moved down, left, came, or came back.
//!
//! Definitions: `python/docs/definitions/flow.md`. The identity N(t0) = kept + moved + lost is the platforms'; the split of "moved" into
//! advanced and regressed, `returned`, and the mode `peak` are ours.

use std::sync::Arc;
use std::time::Instant;

use roaring::RoaringBitmap;
use serde_json::{Value, json};

use crate::analyses::asked::{AnalysisError, Asked, Within, check_range, find_scope};
use crate::analyses::labels::label_code;
use crate::analyses::outcome::Report;
use crate::audience::Audience;
use crate::base::id::BUCKETS;
use crate::base::{ConsumerIdx, Day, IdKind};
use crate::event::Tally;
use crate::model::data::OUT;
use crate::model::{Program, StageModel};
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::{Bucket, Folded, KeptStages, Runtime, ScopeValue, Timelines, Universe, Visited, fold};

/// Where a flow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowMode {
    /// In the stage at the close of the last day.
    #[default]
    Endpoint,
    /// In the highest stage reached on any day after the first.
    Peak,
}

impl FlowMode {
    /// Reads `endpoint` or `peak`.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<FlowMode, AnalysisError> {
        match text {
            "endpoint" => Ok(FlowMode::Endpoint),
            "peak" => Ok(FlowMode::Peak),
            _ => Err(AnalysisError::parameter(
                "mode",
                format!("{text:?} is not one of \"endpoint\", \"peak\""),
            )),
        }
    }

    /// `endpoint` or `peak`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            FlowMode::Endpoint => "endpoint",
            FlowMode::Peak => "peak",
        }
    }
}

/// What became of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowClass {
    /// In the same stage.
    Kept,
    /// In a higher stage.
    Advanced,
    /// In a lower stage.
    Regressed,
    /// In a stage at first, out at last.
    Lost,
    /// In a stage at last, out at first and on every day before.
    New,
    /// In a stage at last, out at first, but in a stage on some day before.
    Returned,
}

impl FlowClass {
    /// All, in the order of tables.
    pub const ALL: [FlowClass; 6] = [
        FlowClass::Kept,
        FlowClass::Advanced,
        FlowClass::Regressed,
        FlowClass::Lost,
        FlowClass::New,
        FlowClass::Returned,
    ];

    /// The class as it is written.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            FlowClass::Kept => "kept",
            FlowClass::Advanced => "advanced",
            FlowClass::Regressed => "regressed",
            FlowClass::Lost => "lost",
            FlowClass::New => "new",
            FlowClass::Returned => "returned",
        }
    }

    /// Reads a class.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<FlowClass, AnalysisError> {
        FlowClass::ALL.into_iter().find(|class| class.code() == text).ok_or_else(|| {
            let choices = FlowClass::ALL.map(|class| format!("{:?}", class.code())).join(", ");
            AnalysisError::parameter("class", format!("{text:?} is not one of {choices}"))
        })
    }
}

/// One consumer's move in one scope: local number (24 bits), place of the scope (31), whether in a stage on an earlier day (1),
/// label at first (4) and at last (4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Move(u64);

impl Move {
    fn new(consumer: u32, scope: u32, before: bool, from: u8, to: u8) -> Self {
        Move(u64::from(consumer) << 40 | u64::from(scope) << 9 | u64::from(before) << 8 | u64::from(from) << 4 | u64::from(to))
    }

    fn consumer(self) -> u32 {
        (self.0 >> 40) as u32
    }

    fn scope(self) -> usize {
        (self.0 >> 9 & 0x7fff_ffff) as usize
    }

    fn from(self) -> usize {
        (self.0 >> 4 & 0xf) as usize
    }

    fn to(self) -> usize {
        (self.0 & 0xf) as usize
    }

    fn class(self) -> FlowClass {
        match (self.from(), self.to()) {
            (0, _) if self.0 >> 8 & 1 == 1 => FlowClass::Returned,
            (0, _) => FlowClass::New,
            (_, 0) => FlowClass::Lost,
            (from, to) if to > from => FlowClass::Advanced,
            (from, to) if to < from => FlowClass::Regressed,
            _ => FlowClass::Kept,
        }
    }
}

/// Optional parameters of [`flow`].
#[derive(Debug, Clone, Default)]
pub struct FlowParams {
    /// Only these scopes; `None` takes every scope with an event that a rule could count.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Only these consumers.
    pub within: Option<Audience>,
    /// Where the flow ends.
    pub mode: FlowMode,
}

/// The movement of all consumers between the close of two days.
#[derive(Debug, Clone)]
pub struct Flow {
    pub(crate) model: Arc<StageModel>,
    pub(crate) scopes: Arc<Vec<ScopeValue>>,
    pub(crate) scope_type: IdKind,
    universe: Arc<Universe>,
    /// Moves by bucket, in order of consumer and scope; only of consumers in a stage at first or at last.
    moves: Arc<Vec<Vec<Move>>>,
    /// Consumers by scope, label at first and label at last.
    cells: Vec<i64>,
    /// Consumers by scope and label at last who were out at first and in a stage earlier.
    returned: Vec<i64>,
    days: (Day, Day),
    mode: FlowMode,
    report: Report,
    recipe: Value,
}

/// Follows every consumer from the close of `start` to the close of `end`.
///
/// # Units
/// Distinct consumers by scope, stage at first and stage at last. Whoever is out on both days does not appear.
///
/// # Errors
/// A reversed range, or one of a single day; a model that does not fit; an audience without its consumers; what the source refuses.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use aipl_core::analyses::{FlowParams, flow};
/// use aipl_core::event::EventSchema;
/// use aipl_core::model::StageModel;
/// use aipl_core::source::Events;
/// use aipl_core::timeline::{Runtime, ScopeValue};
/// use arrow::array::{RecordBatch, StringArray};
///
/// let column = |values: [&'static str; 2]| Arc::new(StringArray::from(values.to_vec())) as _;
/// let batch = RecordBatch::try_from_iter([
///     ("user", column(["u1", "u1"])), ("brand", column(["b", "b"])),
///     ("action", column(["impression", "purchase"])), ("at", column(["2024-06-01", "2024-06-10"])),
/// ])?;
/// let events = Events::from_batches(batch.schema(), vec![batch], EventSchema::new("user", "brand", "action", "at"), "Asia/Shanghai")?;
/// let model = StageModel::preset("databank")?;
/// let moved = flow(&events, &model, "2024-06-05".parse()?, "2024-06-12".parse()?, &FlowParams::default(), &Runtime::default())?;
/// assert_eq!(moved.count(&ScopeValue::of("b"), "aware", "P")?, 1);
/// assert_eq!(moved.audience(&ScopeValue::of("b"), &["A"], &["P"])?.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn flow(
    source: &dyn Timelines,
    model: &StageModel,
    start: Day,
    end: Day,
    params: &FlowParams,
    runtime: &Runtime<'_>,
) -> Result<Flow, AnalysisError> {
    check_range(start, end)?;
    if start == end {
        return Err(AnalysisError::parameter(
            "end",
            format!("{end} is also start; a flow needs two days"),
        ));
    }
    let mut asked = Asked::new(source, model, params.scopes.as_deref())?;
    let within = params
        .within
        .as_ref()
        .map(|audience| asked.within("within", audience))
        .transpose()?;
    let kept = kept_moves(&asked, (start, end), params)?;
    let of_kept = kept.is_some();
    let Folded { buckets, about } = match kept {
        Some(kept) => kept,
        None => {
            // Whether somebody is new or comes back is decided by all days before.
            let question = asked.question(Day::MIN, end);
            fold(source, &question, runtime, |bucket| {
                moves(&bucket, &asked.program, (start, end), params.mode, within.as_deref())
            })?
        }
    };
    let labels = asked.program.stages + 1;
    let mut cells = vec![0; about.scopes.len() * labels * labels];
    let mut returned = vec![0; about.scopes.len() * labels];
    for one in buckets.iter().flatten() {
        cells[(one.scope() * labels + one.from()) * labels + one.to()] += 1;
        returned[one.scope() * labels + one.to()] += i64::from(one.class() == FlowClass::Returned);
    }
    let per_scope = labels * labels;
    let nobody = |place: usize| cells[place * per_scope..(place + 1) * per_scope].iter().all(|count| *count == 0);
    let mut notes = asked.empty_scopes(&about.scopes, nobody, "nobody is in a stage on either day");
    notes.extend(of_kept.then(|| "both days were materialized; no event was read".to_owned()));
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("mode", json!(params.mode.code())),
        ("within", json!(params.within.as_ref().map(Audience::made))),
    ];
    let unit = "distinct consumers by stage at the close of start and stage at the close of end (mode peak: highest stage in between)";
    Ok(Flow {
        model: Arc::new(model.clone()),
        scope_type: asked.scope_type(),
        universe: about.universe.clone(),
        moves: Arc::new(buckets),
        cells,
        returned,
        days: (start, end),
        mode: params.mode,
        recipe: asked.recipe("flow", unit, &parameters),
        report: asked.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime),
        scopes: Arc::new(about.scopes),
    })
}

/// The moves between two days that are kept; nothing if they are not, or cannot tell all.
fn kept_moves(asked: &Asked<'_>, days: (Day, Day), params: &FlowParams) -> Result<Option<Folded<Vec<Move>>>, AnalysisError> {
    let started = Instant::now();
    if params.mode != FlowMode::Endpoint {
        return Ok(None);
    }
    let Some(kept) = asked.all_kept(&[days.0, days.1])? else {
        return Ok(None);
    };
    let [first, last] = &kept[..] else { return Ok(None) };
    let universe = last.universe()?;
    let within = params.within.as_ref();
    if !first.whole() || within.is_some_and(|within| within.fingerprint() != universe.fingerprint()) {
        return Ok(None);
    }
    let scopes = asked.named.clone().unwrap_or_else(|| last.scopes().to_vec());
    let stages = asked.program.stages;
    let mut buckets: Vec<Vec<Move>> = vec![Vec::new(); BUCKETS];
    for (place, scope) in (0u32..).zip(&scopes) {
        let sets = |kept: &Arc<dyn KeptStages>, all: usize| -> Result<Vec<RoaringBitmap>, AnalysisError> {
            let Ok(place) = kept.scopes().binary_search(scope) else {
                return Ok(vec![RoaringBitmap::new(); all]);
            };
            Ok((0..all).map(|set| kept.set(place, set)).collect::<Result<_, _>>()?)
        };
        let (from, to) = (sets(first, stages + 1)?, sets(last, stages)?);
        let before = &from[stages];
        let mut found: Vec<(u32, u8, u8)> = Vec::new();
        for stage in 0..stages {
            let label = stage as u8 + 1;
            found.extend(from[stage].iter().map(|idx| (idx, label, 0)));
            found.extend(to[stage].iter().map(|idx| (idx, 0, label)));
        }
        found.sort_unstable();
        for one in found.chunk_by(|left, right| left.0 == right.0) {
            let idx = one[0].0;
            if within.is_none_or(|within| within.bits().contains(idx)) {
                let labels = one.iter().fold((0, 0), |labels, (_, from, to)| (labels.0 | from, labels.1 | to));
                let idx = ConsumerIdx(idx);
                buckets[idx.bucket()].push(Move::new(idx.local(), place, before.contains(idx.0), labels.0, labels.1));
            }
        }
    }
    buckets.iter_mut().for_each(|moves| moves.sort_unstable());
    Ok(Some(Folded {
        buckets,
        about: Visited {
            universe,
            scopes,
            labels: Vec::new(),
            unmet: Vec::new(),
            tally: Tally::default(),
            elapsed: started.elapsed(),
        },
    }))
}

fn moves(bucket: &Bucket<'_>, program: &Program, days: (Day, Day), mode: FlowMode, within: Option<&Within>) -> Vec<Move> {
    let (start, end) = (days.0.number(), days.1.number());
    let members = within.map(|within| within.members(bucket));
    let mut finder = IntervalFinder::new(program, bucket.masks, bucket.timelines.layout(), 0, end);
    let mut moves = Vec::new();
    bucket.timelines.for_each_history(|history| {
        if members.as_ref().is_some_and(|members| !members.contains(history.consumer)) {
            return;
        }
        let (mut before, mut from, mut to) = (false, 0, 0);
        finder.find(&history, |Interval { label, first, last }| {
            before |= label != 0 && first < start;
            if first <= start && start <= last {
                from = label;
            }
            to = match mode {
                FlowMode::Endpoint => label,
                FlowMode::Peak if last > start => to.max(label),
                FlowMode::Peak => to,
            };
        });
        if from != 0 || to != 0 {
            moves.push(Move::new(history.consumer, history.scope, before, from, to));
        }
    });
    moves.shrink_to_fit();
    moves
}

impl Flow {
    /// The scopes, in order.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeValue] {
        &self.scopes
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &StageModel {
        &self.model
    }

    /// First and last day.
    #[must_use]
    pub fn days(&self) -> (Day, Day) {
        self.days
    }

    /// The consumers that were seen.
    #[must_use]
    pub fn universe(&self) -> &Arc<Universe> {
        &self.universe
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

    /// The number of labels: the stages and "out".
    pub(crate) fn labels(&self) -> usize {
        self.model.stages.len() + 1
    }

    /// Consumers with a label at first and a label at last; 0 is out.
    pub(crate) fn cell(&self, scope: usize, from: usize, to: usize) -> i64 {
        let labels = self.labels();
        self.cells[(scope * labels + from) * labels + to]
    }

    /// Of those who came into a label, the ones who had been in a stage before.
    pub(crate) fn came_back(&self, scope: usize, to: usize) -> i64 {
        self.returned[scope * self.labels() + to]
    }

    /// The place of a scope.
    ///
    /// # Errors
    /// [`AnalysisError::UnknownScope`] naming the nearest.
    pub fn scope_index(&self, scope: &ScopeValue) -> Result<usize, AnalysisError> {
        find_scope(&self.scopes, scope)
    }

    /// The label of a stage by code or name, or of "out".
    fn label(&self, stage: &str) -> Result<usize, AnalysisError> {
        if stage == OUT {
            return Ok(0);
        }
        Ok(self.model.stage_index(stage)? + 1)
    }

    /// Consumers in `from` at first and `to` at last; each a stage by code or name, or `out`.
    ///
    /// # Errors
    /// An unknown scope or stage.
    pub fn count(&self, scope: &ScopeValue, from: &str, to: &str) -> Result<i64, AnalysisError> {
        Ok(self.cell(self.scope_index(scope)?, self.label(from)?, self.label(to)?))
    }

    /// The consumers of a union of cells: in one of the stages `from` at first and one of the stages `to` at last.
    ///
    /// # Errors
    /// An unknown scope or stage; the cell of those who are out on both days, who are not followed.
    pub fn audience(&self, scope: &ScopeValue, from: &[&str], to: &[&str]) -> Result<Audience, AnalysisError> {
        let place = self.scope_index(scope)?;
        let labels = |stages: &[&str]| stages.iter().map(|stage| self.label(stage)).collect::<Result<Vec<_>, _>>();
        let (from, to) = (labels(from)?, labels(to)?);
        if from.is_empty() || to.is_empty() {
            return Err(AnalysisError::parameter("from_stage, to_stage", "name at least one stage each"));
        }
        if from.iter().chain(&to).all(|label| *label == 0) {
            return Err(AnalysisError::parameter(
                "from_stage, to_stage",
                "who is out on both days is not followed; ask for a stage on one side",
            ));
        }
        let code = |label: &usize| label_code(&self.model, *label);
        let names = |labels: &[usize]| labels.iter().map(code).collect::<Vec<_>>().join("+");
        let what = format!("{} → {}", names(&from), names(&to));
        Ok(self.gather(place, &what, |one| from.contains(&one.from()) && to.contains(&one.to())))
    }

    /// The consumers of a class, of all stages at first or one.
    ///
    /// # Errors
    /// An unknown scope or stage.
    pub fn class_audience(&self, scope: &ScopeValue, class: FlowClass, from: Option<&str>) -> Result<Audience, AnalysisError> {
        let place = self.scope_index(scope)?;
        let label = from.map(|stage| self.label(stage)).transpose()?;
        let what = from.map_or_else(|| class.code().to_owned(), |from| format!("{} of {from}", class.code()));
        Ok(self.gather(place, &what, |one| {
            one.class() == class && label.is_none_or(|label| one.from() == label)
        }))
    }

    fn gather(&self, scope: usize, what: &str, wanted: impl Fn(Move) -> bool) -> Audience {
        let mut bits = RoaringBitmap::new();
        for (bucket, moves) in self.moves.iter().enumerate() {
            // Moves are in order of consumer and buckets are ascending ranges, so numbers only grow.
            for one in moves.iter().filter(|one| one.scope() == scope && wanted(**one)) {
                let _ = bits.try_push(ConsumerIdx::new(bucket, one.consumer()).0);
            }
        }
        let (start, end) = self.days;
        let peak = if self.mode == FlowMode::Peak { ", peak" } else { "" };
        let within = self.recipe["within"]
            .as_str()
            .map_or_else(String::new, |made| format!(", within {made}"));
        let made = format!(
            "{} {what} from {start} to {end} ({}{peak}{within})",
            self.scopes[scope], self.model.id
        );
        Audience::new(bits, self.universe.clone(), &made)
    }
}
