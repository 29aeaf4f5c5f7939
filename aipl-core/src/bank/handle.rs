//! The handle of a bank: what it is, its state, and the one way to commit.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::bank::append::{Addition, append};
use crate::bank::catalog::{self, Commit, Contents};
use crate::bank::columns::{Types, canonical, read_schema};
use crate::bank::consumers;
use crate::bank::error::BankError;
use crate::bank::files::{FOLDERS, random_name, sync_directory};
use crate::bank::lock::{ANY_COMMIT, Lease, WriterLock};
use crate::bank::persons::KnownPersons;
use crate::bank::places::{check_catalog, check_folders, make_folders, make_new};
use crate::bank::record::{BankRecord, FileRecord, Record};
use crate::bank::rows::Shape;
use crate::bank::segment::{ParquetFile, Segment};
use crate::bank::state::State;
use crate::base::Zone;
use crate::event::{EventSchema, SchemaError};
use crate::model::StageModel;
use crate::timeline::{Runtime, Universe};

type Result<T> = std::result::Result<T, BankError>;

/// What a bank is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// To ask; any number of handles, beside a writer.
    #[default]
    Read,
    /// To ask and to write; one handle at a time. A second one waits this long before it is refused.
    Write {
        /// How long to wait for the writer before.
        timeout: Duration,
    },
}

impl Mode {
    /// To write, refused at once if there is a writer.
    pub const WRITE: Mode = Mode::Write { timeout: Duration::ZERO };

    /// Reads `r` or `rw`.
    ///
    /// # Errors
    /// [`BankError::Parameter`] with the choices.
    pub fn parse(text: &str, timeout: Duration) -> Result<Mode> {
        match text {
            "r" => Ok(Mode::Read),
            "rw" => Ok(Mode::Write { timeout }),
            _ => Err(BankError::parameter("mode", format!("{text:?} is not one of \"r\", \"rw\""))),
        }
    }
}

/// Optional parameters of [`DataBank::create`].
#[derive(Debug, Clone, Default)]
pub struct CreateParams {
    /// The stage model that kept days are of, unless another is named.
    pub model: Option<StageModel>,
}

/// The durable data bank of a brand: a directory of Parquet segments and bitmaps under a SQLite catalog. Cheap to
/// clone.
///
/// Events go in by batches; every analysis takes a bank as it takes events or a log. A handle that reads sees the state
/// that it opened, whatever is written meanwhile.
#[derive(Clone)]
pub struct DataBank {
    pub(super) shared: Arc<Shared>,
    /// An earlier state, if the handle is of one.
    view: Option<Arc<State>>,
}

pub(super) struct Shared {
    pub path: PathBuf,
    pub process: u32,
    /// The fields as the bank keeps them.
    pub schema: EventSchema,
    /// The mapping of the source's columns, as it was given.
    pub source_schema: EventSchema,
    pub zone: Arc<Zone>,
    pub model: Option<StageModel>,
    /// Whether the handle was opened to write.
    writes: bool,
    writer: Mutex<Option<WriterLock>>,
    pub(super) lease: Mutex<Option<Lease>>,
    pub(super) inside: Mutex<Inside>,
    pub known: Mutex<KnownPersons>,
    closed: AtomicBool,
    /// Held through every operation that writes.
    pub(super) writing: Mutex<()>,
    pub(super) poison: Mutex<Option<String>>,
}

/// What changes while a handle lives.
pub(super) struct Inside {
    pub state: Arc<State>,
    pub commits: Vec<Commit>,
    pub blocks: HashMap<String, Vec<u8>>,
    segments: HashMap<String, Arc<Segment>>,
    universe: Option<Arc<Universe>>,
    /// Every state that somebody may still read.
    states: Vec<Weak<State>>,
}

impl fmt::Debug for DataBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("DataBank")
            .field("path", &self.shared.path)
            .field("commit", &state.seq)
            .field("rows", &state.rows())
            .finish_non_exhaustive()
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataBank {
    /// Makes a bank in a directory that is new or empty (or in which a creation was interrupted), and opens it to
    /// write. `schema` maps the columns that its sources mostly have; the fields that it maps are those that the bank
    /// keeps. Days are in the zone `tz`.
    ///
    /// # Errors
    /// [`BankError::Exists`]; a schema or zone that is wrong; what the disk refuses.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use aipl_core::analyses::{SnapshotParams, snapshot};
    /// use aipl_core::bank::{CreateParams, DataBank, IngestParams, Mode};
    /// use aipl_core::event::EventSchema;
    /// use aipl_core::model::StageModel;
    /// use aipl_core::source::Events;
    /// use aipl_core::timeline::{Runtime, ScopeValue};
    /// use arrow::array::{RecordBatch, StringArray};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let schema = EventSchema::new("user", "brand", "action", "at");
    /// let bank = DataBank::create(folder.path(), schema.clone(), "Asia/Shanghai", CreateParams::default())?;
    /// let column = |value: &'static str| Arc::new(StringArray::from(vec![value])) as _;
    /// let batch = RecordBatch::try_from_iter([
    ///     ("user", column("u1")), ("brand", column("b")), ("action", column("purchase")), ("at", column("2024-06-30 10:00:00")),
    /// ])?;
    /// let events = Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?;
    /// let report = bank.ingest(&events, "2024-06-30", &IngestParams::default(), &Runtime::default())?;
    /// assert_eq!((report.batch.rows_added, report.replayed), (1, false));
    /// drop(bank);
    ///
    /// let bank = DataBank::open(folder.path(), Mode::Read)?;
    /// let snap = snapshot(&bank, &StageModel::preset("databank")?, "2024-07-01".parse()?, &SnapshotParams::default(), &Runtime::default())?;
    /// assert_eq!(snap.count(&ScopeValue::of("b"), "P")?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: &Path, schema: EventSchema, tz: &str, params: CreateParams) -> Result<DataBank> {
        schema.check().map_err(crate::source::SourceError::from)?;
        let zone = read_zone(tz)?;
        if let Some(model) = &params.model {
            // A model that does not fit the fields would only be found out at night.
            let compiled = crate::model::compile(model, &canonical(&schema));
            compiled.map_err(|error| BankError::parameter("model", error.to_string()))?;
        }
        let failed = |error: &std::io::Error| BankError::io(path, error);
        make_new(path, is_unborn)?;
        make_folders(path)?;
        let lock = WriterLock::take(path, Duration::ZERO)?;
        // Somebody else may have made one in between.
        make_new(path, is_unborn)?;
        catalog::create_anew(path)?;
        let record = Record {
            kind: "create".to_owned(),
            bank: Some(BankRecord {
                id: random_name()?,
                schema: schema.to_json(),
                tz: tz.to_owned(),
                zones: format!("{:016x}", zone.fingerprint()),
                model: params.model.as_ref().map(StageModel::to_value),
            }),
            ..Record::new()
        };
        append(path, (0, 0), &record, &Addition::default())?;
        catalog::write_sum(path)?;
        sync_directory(path).map_err(|error| failed(&error))?;
        Self::with_lock(path, Some(lock), Lease::take(path))
    }

    /// Opens a bank. The catalog is proven before anything is said of it; no repair is ever needed.
    ///
    /// # Errors
    /// [`BankError::NotABank`]; [`BankError::Locked`]; [`BankError::Corrupt`]; [`BankError::FormatVersion`].
    pub fn open(path: &Path, mode: Mode) -> Result<DataBank> {
        if std::fs::symlink_metadata(path.join("catalog.sqlite")).is_err() {
            // The catalog says what is wrong, in the words of a bank.
            catalog::read(path)?;
        }
        check_folders(path)?;
        check_catalog(path)?;
        match mode {
            Mode::Write { timeout } => {
                let lock = WriterLock::take(path, timeout)?;
                // Tools that copy trees may leave empty folders behind.
                make_folders(path)?;
                // A writer leaves word of what it reads too: should its lock not be honored, its files stay all the
                // same.
                Self::with_lock(path, Some(lock), Lease::take(path))
            }
            Mode::Read => Self::with_lock(path, None, Lease::take(path)),
        }
    }

    fn with_lock(path: &Path, writer: Option<WriterLock>, mut lease: Option<Lease>) -> Result<DataBank> {
        let contents = catalog::read(path)?;
        let inside = Inside::new(contents)?;
        if let Some(lease) = &mut lease {
            lease.note(&[inside.state.seq]);
        }
        let bank = inside.state.bank.clone();
        let damaged = |what: &str| BankError::corrupt("catalog.sqlite", format!("the first commit has no readable {what}"));
        let source_schema = read_schema(&bank.schema).ok_or_else(|| damaged("schema"))?;
        let model = bank.model.as_ref().map(StageModel::from_value).transpose();
        let shared = Shared {
            path: path.to_owned(),
            process: std::process::id(),
            schema: canonical(&source_schema),
            source_schema,
            zone: Arc::new(read_zone(&bank.tz)?),
            model: model.map_err(|_| damaged("model"))?,
            writes: writer.is_some(),
            writer: Mutex::new(writer),
            lease: Mutex::new(lease),
            inside: Mutex::new(inside),
            known: Mutex::default(),
            closed: AtomicBool::new(false),
            writing: Mutex::new(()),
            poison: Mutex::new(None),
        };
        Ok(DataBank {
            shared: Arc::new(shared),
            view: None,
        })
    }

    /// Moves a handle that reads to the newest commit. Gives its number.
    ///
    /// # Errors
    /// As [`DataBank::open`].
    pub fn refresh(&self) -> Result<u64> {
        self.check_process()?;
        if !self.shared.writes && self.view.is_none() {
            if let Some(lease) = locked(&self.shared.lease).as_mut() {
                // Whatever commit is the newest now, its files stay until it is known.
                lease.note(&[ANY_COMMIT]);
            }
            let contents = catalog::read(&self.shared.path)?;
            let mut inside = locked(&self.shared.inside);
            let mut fresh = Inside::new(contents)?;
            fresh.segments = std::mem::take(&mut inside.segments);
            fresh.states.append(&mut inside.states);
            fresh.universe = inside.universe.take();
            *inside = fresh;
            self.note_commits(&inside);
        }
        Ok(self.state().seq)
    }

    /// Tells writers the commits that somebody may read through this handle.
    pub(super) fn note_commits(&self, inside: &Inside) {
        let commits: Vec<u64> = inside.states.iter().filter_map(Weak::upgrade).map(|state| state.seq).collect();
        if let Some(lease) = locked(&self.shared.lease).as_mut() {
            lease.note(&commits);
        }
    }

    /// The bank as it was after a commit: the same handle, to ask only.
    ///
    /// # Errors
    /// [`BankError::Unknown`] for a commit that is not there; [`BankError::Vacuumed`].
    pub fn as_of_commit(&self, seq: u64) -> Result<DataBank> {
        self.check_process()?;
        let mut inside = locked(&self.shared.inside);
        let newest = inside.commits.last().map_or(0, |commit| commit.seq);
        if seq == 0 || seq > newest {
            return Err(BankError::Unknown {
                what: "commit",
                name: seq.to_string(),
                hint: format!("; commits are 1 to {newest}"),
            });
        }
        let state = Arc::new(State::replay(&inside.commits, seq)?);
        inside.states.push(Arc::downgrade(&state));
        // First the word that the files are needed, then the look whether they are there.
        self.note_commits(&inside);
        let path = &self.shared.path;
        let there = |file: &FileRecord| inside.blocks.contains_key(&file.name) && path.join(&file.folder).join(&file.name).exists();
        // `vacuum` first says in the catalog what goes, then heeds the words of readers, then removes.
        let names = state.files.iter().map(|file| file.name.as_str());
        if !state.files.iter().all(there) || !catalog::has_blocks(path, names)? {
            return Err(BankError::Vacuumed { seq });
        }
        Ok(DataBank {
            shared: self.shared.clone(),
            view: Some(state),
        })
    }

    /// Where the bank is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The number of the commit that this handle sees.
    #[must_use]
    pub fn commit_seq(&self) -> u64 {
        self.state().seq
    }

    /// Whether the handle can write.
    #[must_use]
    pub fn is_writer(&self) -> bool {
        self.shared.writes && self.view.is_none() && locked(&self.shared.writer).is_some()
    }

    /// Lets the next writer in, at once. Answers that were given stay good; the handle, its clones and earlier states
    /// of it answer nothing more. Closing an earlier state closes nothing.
    ///
    /// # Errors
    /// [`BankError::Locked`] while the handle writes.
    pub fn close(&self) -> Result<()> {
        if self.view.is_some() || self.shared.process != std::process::id() {
            return Ok(());
        }
        let _writing = self.begin_writing()?;
        self.shared.closed.store(true, Ordering::Relaxed);
        drop(locked(&self.shared.writer).take());
        drop(locked(&self.shared.lease).take());
        Ok(())
    }

    /// The files of a folder (`segments`, `ids`, `bitmaps`, `links`) that count in this handle's state, for other
    /// tools. They stay in place while the handle is open.
    ///
    /// # Errors
    /// [`BankError::Parameter`] with the choices.
    pub fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        const SHOWN: [&str; 4] = ["segments", "ids", "bitmaps", "links"];
        if !SHOWN.contains(&folder) {
            return Err(BankError::parameter(
                "folder",
                format!("{folder:?} is not one of {}", SHOWN.join(", ")),
            ));
        }
        let state = self.state();
        let place = |file: &FileRecord| self.shared.path.join(folder).join(&file.name);
        Ok(state.of_folder(folder).map(place).collect())
    }

    /// Every commit: its number, and what it did as plain data.
    #[must_use]
    pub fn commits(&self) -> Vec<Value> {
        let about = |commit: &Commit| {
            let record = &commit.record;
            let mut told = json!({
                "commit": commit.seq,
                "at": record.at,
                "kind": record.kind,
                "batch_id": record.batch.as_ref().map(|batch| &batch.id),
                "rows_added": record.batch.as_ref().map(|batch| batch.rows_added),
                "files_added": record.add.len(),
                "files_removed": record.remove.len(),
            });
            if !record.dropped_batches.is_empty() {
                told["dropped_batches"] = json!(record.dropped_batches);
            }
            told
        };
        self.records().iter().map(about).collect()
    }

    /// The mapping of columns that the bank was created with: what its sources are called by.
    #[must_use]
    pub fn source_schema(&self) -> &EventSchema {
        &self.shared.source_schema
    }

    /// The stage model that kept days are of, unless another is named.
    #[must_use]
    pub fn model(&self) -> Option<&StageModel> {
        self.shared.model.as_ref()
    }

    /// The consumers, with their lasting numbers: accounts, or from the first links on persons, each at the number of
    /// its oldest account. Audiences of all states of one bank combine, as long as no links come between.
    ///
    /// # Errors
    /// [`BankError::Corrupt`].
    pub fn consumers(&self, runtime: &Runtime<'_>) -> Result<Arc<Universe>> {
        self.check_process()?;
        self.consumers_of(&self.state(), runtime)
    }

    pub(super) fn accounts_of(&self, state: &State, runtime: Option<&Runtime<'_>>) -> Result<Arc<Universe>> {
        let total = state.accounts() as usize;
        if let Some(universe) = locked(&self.shared.inside)
            .universe
            .clone()
            .filter(|known| known.len() == total && self.has_accounts(known))
        {
            return Ok(universe);
        }
        let read = self.read_accounts(state, runtime);
        let universe = Arc::new(read.map_err(|error| state.explain(error))?);
        // An answer that is older than the newest state brings its own accounts, and must not put these away.
        if total as u64 == self.state().accounts() && self.view.is_none() {
            self.remember(universe.clone());
        }
        Ok(universe)
    }

    /// Reads the accounts of a state from their files.
    pub(super) fn read_accounts(&self, state: &State, runtime: Option<&Runtime<'_>>) -> Result<Universe> {
        let mut files = Vec::new();
        for record in state.of_folder("ids") {
            files.push((
                record.clone(),
                Arc::new(ParquetFile::open(&self.shared.path, record, &self.blocks(record)?)?),
            ));
        }
        let id_kind = state.types.id_kind("consumer");
        consumers::read(&files, id_kind, &state.consumers, state.account_lineage(), runtime)
    }

    /// Whether these are the consumers of this view too: an earlier commit may still have identifiers that are lost since.
    pub(super) fn has_accounts(&self, known: &Universe) -> bool {
        self.view.is_none() || known.lost().is_empty()
    }

    /// Forgets the consumers, whose identifiers are to be read again.
    pub(super) fn forget_consumers(&self) {
        locked(&self.shared.inside).universe = None;
        self.forget_persons();
    }

    pub(super) fn remember(&self, universe: Arc<Universe>) {
        locked(&self.shared.inside).universe = Some(universe);
    }

    pub(super) fn state(&self) -> Arc<State> {
        match &self.view {
            Some(view) => view.clone(),
            None => locked(&self.shared.inside).state.clone(),
        }
    }

    /// Commits that the newest state was made by, with what each says.
    pub(super) fn records(&self) -> Vec<Commit> {
        let upto = self.state().seq;
        let inside = locked(&self.shared.inside);
        inside.commits.iter().take_while(|commit| commit.seq <= upto).cloned().collect()
    }

    /// The block hashes of a file.
    pub(super) fn blocks(&self, file: &FileRecord) -> Result<Vec<u8>> {
        let inside = locked(&self.shared.inside);
        inside.blocks.get(&file.name).cloned().ok_or_else(|| {
            let problem = format!("there are no block hashes of {}/{}", file.folder, file.name);
            BankError::corrupt("catalog.sqlite", problem)
        })
    }

    /// Opens a segment, or gives it as it was opened before.
    pub(super) fn segment(&self, record: &FileRecord) -> Result<Arc<Segment>> {
        if let Some(open) = locked(&self.shared.inside).segments.get(&record.name) {
            return Ok(open.clone());
        }
        let opened = Arc::new(Segment::open(&self.shared.path, record, &self.blocks(record)?)?);
        locked(&self.shared.inside).segments.insert(record.name.clone(), opened.clone());
        Ok(opened)
    }

    /// The columns of a segment that is written now.
    pub(super) fn shape(&self, types: &Types) -> Shape {
        let fields = crate::bank::columns::optional_fields(&self.shared.schema);
        Shape {
            brand: types.id_kind("brand"),
            fields: fields.into_iter().map(|name| (name.clone(), types.kind(&name))).collect(),
            vocabulary: Arc::new(self.shared.schema.vocabulary()),
            millis: false,
        }
    }

    pub(super) fn check_process(&self) -> Result<()> {
        self.check_fork()?;
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(BankError::Closed);
        }
        Ok(())
    }

    /// Refuses a handle that came along with a fork.
    pub(super) fn check_fork(&self) -> Result<()> {
        let here = std::process::id();
        if here == self.shared.process {
            return Ok(());
        }
        Err(BankError::Forked {
            opened: self.shared.process,
            here,
        })
    }

    /// Commits that somebody in this process may still read.
    pub(super) fn states_in_use(&self) -> Vec<Arc<State>> {
        let mut inside = locked(&self.shared.inside);
        inside.states.retain(|state| state.strong_count() > 0);
        inside.states.iter().filter_map(Weak::upgrade).collect()
    }

    /// Forgets open files that the state does not name.
    pub(super) fn forget_closed(&self) {
        let mut inside = locked(&self.shared.inside);
        let state = inside.state.clone();
        inside.segments.retain(|name, _| state.file(name).is_some());
    }
}

impl Inside {
    fn new(contents: Contents) -> Result<Inside> {
        let mut state = State::replay(&contents.commits, u64::MAX)?;
        state.hash = contents.hash;
        let mut inside = Inside {
            state: Arc::new(state.clone()),
            commits: contents.commits,
            blocks: contents.blocks.into_iter().collect(),
            segments: HashMap::new(),
            universe: None,
            states: Vec::new(),
        };
        inside.put(state);
        Ok(inside)
    }

    pub fn put(&mut self, state: State) {
        self.state = Arc::new(state);
        self.states.push(Arc::downgrade(&self.state));
    }
}

/// What a model is known by: a hash of its JSON.
pub(super) fn model_hash(model: &StageModel) -> String {
    crate::bank::files::hex128(xxh3_128(model.to_json().as_bytes()))
}

/// Whether a directory is empty, or what a creation left that did not come to its end.
fn is_unborn(path: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let begun = name == "writer.lock" || name.starts_with("catalog.sqlite");
        let empty_folder = FOLDERS.contains(&name) && std::fs::read_dir(entry.path())?.next().is_none();
        if !begun && !empty_folder {
            return Ok(false);
        }
    }
    Ok(!catalog::has_commits(path))
}

fn read_zone(name: &str) -> Result<Zone> {
    Zone::named(name).map_err(|error| {
        let problem = error.to_string();
        crate::source::SourceError::from(SchemaError::Field {
            field: "tz".to_owned(),
            problem,
        })
        .into()
    })
}
