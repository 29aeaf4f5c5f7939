//! Days whose stages are kept as sets: a snapshot of them reads no event.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;
use serde_json::{Value, json};

use crate::bank::error::BankError;
use crate::bank::handle::{DataBank, model_hash};
use crate::bank::record::{KeptRecord, Record};
use crate::bank::sets::{self, Directory, ScopeText, SetFile};
use crate::bank::state::State;
use crate::base::{ConsumerIdx, Day, IdValue};
use crate::model::{Program, StageModel, compile};
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::scan::ScanError;
use crate::timeline::timelines::KeptStages;
use crate::timeline::{Bucket, IdentityCounts, Question, Runtime, ScopeValue, Universe, fold};

type Result<T> = std::result::Result<T, BankError>;

/// What [`DataBank::materialize`] did.
#[derive(Debug, Clone)]
pub struct MaterializeReport {
    /// The day.
    pub day: Day,
    /// The model's id.
    pub model: String,
    /// The commit that holds it.
    pub commit: u64,
    /// Scopes of the day.
    pub scopes: u64,
    /// Consumers in a stage, counted once a scope.
    pub consumers: u64,
    /// Bytes of the sets.
    pub bytes: u64,
    /// Whether the day was kept already, and nothing was done.
    pub replayed: bool,
}

impl MaterializeReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "day": self.day.to_string(),
            "model": self.model,
            "commit": self.commit,
            "scopes": self.scopes,
            "consumers": self.consumers,
            "bytes": self.bytes,
            "replayed": self.replayed,
        })
    }
}

/// A day that a bank keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDay {
    /// The day.
    pub day: Day,
    /// The model's id.
    pub model: String,
    /// Whether a flow that begins on it can tell new consumers from returning ones.
    pub whole: bool,
}

/// The sets of one scope: one a stage, and those in any stage on a day before.
type ScopeSets = Vec<RoaringBitmap>;

impl DataBank {
    /// Keeps the stages of a day, so that snapshots, trends and flows of it need no event - also when its events are
    /// expired. A later batch with events on or before the day drops it. The model is the bank's own unless another is
    /// given.
    ///
    /// # Errors
    /// [`BankError::Parameter`] where neither the bank nor the call has a model, or it does not fit;
    /// [`BankError::ReadOnly`]; [`BankError::Expired`] where the day needs events that are gone.
    pub fn materialize(&self, day: Day, model: Option<&StageModel>, runtime: &Runtime<'_>) -> Result<MaterializeReport> {
        self.write("materialize", || {
            let none = || BankError::parameter("model", "the bank was created without a model; name one");
            let model = model.or(self.model()).ok_or_else(none)?;
            let (state, hash) = (self.state(), model_hash(model));
            let of_model = |kept: &&KeptRecord| kept.model == hash;
            if let Some(kept) = state.kept.iter().filter(of_model).find(|kept| kept.day == day.number()) {
                return self.kept_already(&state, kept, day, model);
            }
            let program = compile(model, &self.shared.schema).map_err(|error| BankError::parameter("model", error.to_string()))?;
            let earlier = state
                .kept
                .iter()
                .filter(of_model)
                .filter(|kept| kept.whole && kept.day < day.number());
            let (scopes, whole) = match earlier.max_by_key(|kept| kept.day) {
                Some(kept) => match self.stages_since(&state, kept, &program, day, runtime) {
                    Err(BankError::Expired { .. }) => (self.stages(&program, day, day, runtime)?, false),
                    found => (found?, true),
                },
                None => match self.stages(&program, Day::MIN, day, runtime) {
                    Err(BankError::Expired { .. }) => (self.stages(&program, day, day, runtime)?, false),
                    found => (found?, true),
                },
            };
            let listed = self.listed(&program, day, runtime)?;
            let directory = Directory {
                scopes: scopes
                    .keys()
                    .map(|scope| (text_of(&scope.main), scope.category.as_ref().map(text_of)))
                    .collect(),
                listed: scopes.keys().map(|scope| listed.binary_search(scope).is_ok()).collect(),
                stages: model.codes().map(str::to_owned).collect(),
                identity: IdentityCounts::of(&*self.consumers_of(&state, runtime)?),
                ..Directory::default()
            };
            let sets: Vec<RoaringBitmap> = scopes.into_values().flatten().collect();
            let file = sets::write(self.path(), directory, &sets)?;
            let from = program.first_days(day.number()).into_iter().min().unwrap_or(i32::MAX);
            let kept = KeptRecord {
                day: day.number(),
                model: hash,
                model_id: model.id.clone(),
                file: file.record.name.clone(),
                from,
                whole,
                arrived: 0,
                made: 0,
            };
            let (bytes, width) = (file.record.bytes, model.stages.len() + 1);
            let record = Record {
                kept: Some(kept),
                ..Record::of("materialize")
            };
            let commit = self.commit(record, &[file], &[])?;
            let in_stages = sets.chunks(width).flat_map(|sets| &sets[..width - 1]);
            Ok(MaterializeReport {
                day,
                model: model.id.clone(),
                commit,
                scopes: (sets.len() / width) as u64,
                consumers: in_stages.map(RoaringBitmap::len).sum(),
                bytes,
                replayed: false,
            })
        })
    }

    fn kept_already(&self, state: &State, kept: &KeptRecord, day: Day, model: &StageModel) -> Result<MaterializeReport> {
        let file = self.set_file(state, &kept.file)?;
        let (sets, width) = (&file.directory.sets, model.stages.len() + 1);
        Ok(MaterializeReport {
            day,
            model: model.id.clone(),
            commit: state.seq,
            scopes: file.directory.scopes.len() as u64,
            consumers: sets.chunks(width).flat_map(|sets| &sets[..width - 1]).map(|entry| entry.2).sum(),
            bytes: state.file(&kept.file).map_or(0, |file| file.bytes),
            replayed: true,
        })
    }

    /// Drops a kept day, of the bank's own model or another.
    ///
    /// # Errors
    /// [`BankError::Unknown`]; [`BankError::ReadOnly`].
    pub fn drop_day(&self, day: Day, model: Option<&StageModel>) -> Result<u64> {
        self.write("drop_day", || {
            let hash = model.or(self.model()).map(model_hash);
            let state = self.state();
            let own = |kept: &&KeptRecord| kept.day == day.number() && hash.as_ref().is_none_or(|hash| kept.model == *hash);
            let files: Vec<String> = state.kept.iter().filter(own).map(|kept| kept.file.clone()).collect();
            if files.is_empty() {
                return Err(BankError::Unknown {
                    what: "kept day",
                    name: day.to_string(),
                    hint: String::new(),
                });
            }
            let record = Record {
                remove: files.clone(),
                dropped: files,
                ..Record::of("drop_day")
            };
            self.commit(record, &[], &[])
        })
    }

    /// The days that are kept, in order.
    #[must_use]
    pub fn kept_days(&self) -> Vec<KeptDay> {
        let state = self.state();
        let mut days: Vec<KeptDay> = state.kept.iter().filter_map(kept_day).collect();
        days.sort_by(|left, right| (left.day, &left.model).cmp(&(right.day, &right.model)));
        days
    }

    /// Scopes that a snapshot of the day lists, in order.
    fn listed(&self, program: &Program, day: Day, runtime: &Runtime<'_>) -> Result<Vec<ScopeValue>> {
        let question = Question::new(program, day, day);
        Ok(fold(self, &question, runtime, |_| ())?.about.scopes)
    }

    /// The stages of a day, and who was in any since the first day, by scope.
    fn stages(&self, program: &Program, first: Day, day: Day, runtime: &Runtime<'_>) -> Result<BTreeMap<ScopeValue, ScopeSets>> {
        let question = Question::new(program, first, day);
        let found = fold(self, &question, runtime, |bucket| {
            members(&bucket, program, first.number(), day.number())
        })?;
        let width = program.stages + 1;
        let mut sets = vec![RoaringBitmap::new(); found.about.scopes.len() * width];
        for (set, consumer) in found.buckets.into_iter().flatten() {
            sets[set as usize].insert(consumer);
        }
        let mut sets = sets.into_iter();
        let own = |scope| (scope, sets.by_ref().take(width).collect());
        Ok(found.about.scopes.into_iter().map(own).collect())
    }

    /// The same from a kept day on: who was in a stage before or on that day is known from its sets.
    fn stages_since(
        &self,
        state: &Arc<State>,
        kept: &KeptRecord,
        program: &Program,
        day: Day,
        runtime: &Runtime<'_>,
    ) -> Result<BTreeMap<ScopeValue, ScopeSets>> {
        let first = Day::from_number(i64::from(kept.day)).unwrap_or(Day::MIN);
        let mut scopes = self.stages(program, first, day, runtime)?;
        let width = program.stages + 1;
        let known = self.open_kept(state, kept)?;
        for (place, scope) in known.scopes.iter().enumerate() {
            let mut before = RoaringBitmap::new();
            for set in 0..width {
                before |= known.file.set(place * width + set, &state.consumers)?;
            }
            let own = scopes.entry(scope.clone()).or_insert_with(|| vec![RoaringBitmap::new(); width]);
            own[width - 1] |= before;
        }
        Ok(scopes)
    }

    pub(super) fn set_file(&self, state: &State, name: &str) -> Result<SetFile> {
        let missing = || BankError::corrupt("catalog.sqlite", format!("{name} is named and not listed"));
        let record = state.file(name).ok_or_else(missing)?;
        SetFile::open(self.path(), record, &self.blocks(record)?)
    }

    pub(super) fn open_kept(&self, state: &Arc<State>, kept: &KeptRecord) -> Result<Kept> {
        let file = self.set_file(state, &kept.file)?;
        let (scopes, width) = (read_scopes(&file.directory), file.directory.stages.len() + 1);
        if file.directory.sets.len() != scopes.len() * width || file.directory.listed.len() != scopes.len() {
            return Err(BankError::corrupt(kept.file.clone(), "its scopes and sets do not go together"));
        }
        let counts = file.directory.sets.chunks(width).flat_map(|sets| &sets[..width - 1]);
        Ok(Kept {
            counts: counts.map(|entry| entry.2 as i64).collect(),
            whole: kept.whole,
            bank: self.clone(),
            state: state.clone(),
            universe: OnceLock::new(),
            scopes,
            file,
        })
    }

    pub(super) fn find_kept(&self, model: &StageModel, day: Day) -> Result<Option<Arc<dyn KeptStages>>> {
        self.check_process()?;
        let (state, hash) = (self.state(), model_hash(model));
        let found = state.kept.iter().find(|kept| kept.day == day.number() && kept.model == hash);
        Ok(match found {
            Some(kept) => Some(Arc::new(self.open_kept(&state, kept)?)),
            None => None,
        })
    }
}

fn kept_day(kept: &KeptRecord) -> Option<KeptDay> {
    Some(KeptDay {
        day: Day::from_number(i64::from(kept.day)).ok()?,
        model: kept.model_id.clone(),
        whole: kept.whole,
    })
}

/// For each consumer the set of the day's stage, and the set of those in any stage on a day before.
fn members(bucket: &Bucket<'_>, program: &Program, first: i32, day: i32) -> Vec<(u32, u32)> {
    let width = program.stages as u32 + 1;
    let mut finder = IntervalFinder::new(program, bucket.masks, bucket.timelines.layout(), first, day);
    let mut members = Vec::new();
    bucket.timelines.for_each_history(|history| {
        let (mut before, mut label) = (false, 0);
        finder.find(&history, |run: Interval| {
            before |= run.label != 0 && run.first < day;
            label = run.label;
        });
        let consumer = ConsumerIdx::new(bucket.number, history.consumer).0;
        if label != 0 {
            members.push((history.scope * width + u32::from(label) - 1, consumer));
        }
        if before {
            members.push((history.scope * width + width - 1, consumer));
        }
    });
    members
}

fn text_of(value: &IdValue) -> ScopeText {
    match value {
        IdValue::Int(value) => ScopeText::Int(*value),
        IdValue::Text(text) => ScopeText::Text(text.clone()),
    }
}

fn read_scopes(directory: &Directory) -> Vec<ScopeValue> {
    let value = |text: &ScopeText| match text {
        ScopeText::Int(value) => IdValue::Int(*value),
        ScopeText::Text(text) => IdValue::Text(text.clone()),
    };
    let scope = |(main, category): &(ScopeText, Option<ScopeText>)| ScopeValue {
        main: value(main),
        category: category.as_ref().map(value),
    };
    directory.scopes.iter().map(scope).collect()
}

/// A kept day, open to read.
#[derive(Debug)]
pub(super) struct Kept {
    bank: DataBank,
    /// The state that the day was found in: what its numbers stand for, whatever comes later.
    state: Arc<State>,
    universe: OnceLock<Arc<Universe>>,
    file: SetFile,
    scopes: Vec<ScopeValue>,
    counts: Vec<i64>,
    whole: bool,
}

impl KeptStages for Kept {
    fn scopes(&self) -> &[ScopeValue] {
        &self.scopes
    }

    fn listed(&self) -> &[bool] {
        &self.file.directory.listed
    }

    fn counts(&self) -> &[i64] {
        &self.counts
    }

    fn whole(&self) -> bool {
        self.whole
    }

    fn set(&self, scope: usize, set: usize) -> std::result::Result<RoaringBitmap, ScanError> {
        let width = self.file.directory.stages.len() + 1;
        Ok(self.file.set(scope * width + set, &self.state.consumers)?)
    }

    fn identity(&self) -> Option<IdentityCounts> {
        // A day that was kept before the first links, none of which moved an account that it knows, has no counts of
        // its own.
        let live = || IdentityCounts::of(&*self.universe().ok()?);
        self.file
            .directory
            .identity
            .clone()
            .or_else(|| self.state.links.as_ref().and_then(|_| live()))
    }

    fn universe(&self) -> std::result::Result<Arc<Universe>, ScanError> {
        if let Some(universe) = self.universe.get() {
            return Ok(universe.clone());
        }
        // An answer that was given stays good when the bank is closed.
        self.bank.check_fork()?;
        let universe = self.bank.consumers_of(&self.state, &Runtime::default())?;
        Ok(self.universe.get_or_init(|| universe).clone())
    }

    fn fingerprint(&self) -> String {
        self.state.fingerprint()
    }
}
