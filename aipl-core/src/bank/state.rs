//! The state of a bank at a commit: what the records up to it say.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::bank::catalog::Commit;
use crate::bank::columns::Types;
use crate::bank::error::BankError;
use crate::bank::origins::Origins;
use crate::bank::record::{AudienceRecord, BankRecord, BatchRecord, FileRecord, KeptRecord, LinksRecord, Record};
use crate::base::id::BUCKETS;
use crate::base::{ConsumerIdx, Day, IdKind};

/// The state of a bank at a commit.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub seq: u64,
    /// Hash of the commit.
    pub hash: u128,
    pub bank: Arc<BankRecord>,
    /// Files that count, in order of their coming.
    pub files: Vec<FileRecord>,
    /// Batches by id, with the commit that brought them.
    pub batches: HashMap<String, (u64, BatchRecord)>,
    /// Types of columns.
    pub types: Types,
    /// Accounts by bucket.
    pub consumers: Vec<u32>,
    /// The same after each commit that brought some.
    pub arrivals: Vec<Arc<Vec<u32>>>,
    pub expired: Option<Day>,
    pub links: Option<LinksRecord>,
    pub kept: Vec<KeptRecord>,
    /// Every version of every audience that is listed.
    pub audiences: Vec<AudienceRecord>,
    /// The last version given to each audience name, also of dropped ones.
    pub versions: HashMap<String, u32>,
    /// Which batches each file is of.
    pub origins: Origins,
}

impl State {
    /// The state after the first commits of a catalog, up to one of them; its hash is not set.
    pub fn replay(commits: &[Commit], upto: u64) -> Result<State, BankError> {
        let damaged = |problem: String| BankError::corrupt("catalog.sqlite", problem);
        let mut commits = commits.iter();
        let first = commits.next().ok_or_else(|| damaged("there is no commit".to_owned()))?;
        let bank = first
            .record
            .bank
            .clone()
            .ok_or_else(|| damaged("the first commit does not say what the bank is".to_owned()))?;
        let mut state = State {
            seq: first.seq,
            hash: 0,
            bank: Arc::new(bank),
            files: Vec::new(),
            batches: HashMap::new(),
            types: Types::default(),
            consumers: vec![0; BUCKETS],
            arrivals: Vec::new(),
            expired: None,
            links: None,
            kept: Vec::new(),
            audiences: Vec::new(),
            versions: HashMap::new(),
            origins: Origins::default(),
        };
        state.apply(first.seq, &first.record)?;
        for Commit { seq, record } in commits.take_while(|commit| commit.seq <= upto) {
            state.apply(*seq, record)?;
        }
        Ok(state)
    }

    /// Takes in what a commit says.
    pub fn apply(&mut self, seq: u64, record: &Record) -> Result<(), BankError> {
        let damaged = |problem: String| BankError::corrupt("catalog.sqlite", format!("commit {seq}: {problem}"));
        self.seq = seq;
        if let Some(id) = &record.renamed {
            self.bank = Arc::new(BankRecord {
                id: id.clone(),
                ..(*self.bank).clone()
            });
        }
        let mut removed = Vec::with_capacity(record.remove.len());
        for name in &record.remove {
            let place = self.files.iter().position(|file| file.name == *name);
            let place = place.ok_or_else(|| damaged(format!("it removes {name}, which is not there")))?;
            removed.push(self.files.remove(place));
        }
        let gone: Vec<u64> = record
            .dropped_batches
            .iter()
            .filter_map(|id| self.batches.remove(id))
            .map(|(seq, _)| seq)
            .collect();
        if gone.len() != record.dropped_batches.len() {
            return Err(damaged("it takes out a batch that is not there".to_owned()));
        }
        self.files.extend(record.add.iter().cloned());
        self.origins.apply(seq, record, &removed, &gone);
        if let Some(batch) = &record.batch {
            self.batches.insert(batch.id.clone(), (seq, batch.clone()));
        }
        self.types.read(&record.types)?;
        if !record.consumers.is_empty() {
            if record.consumers.len() != BUCKETS {
                return Err(damaged(format!("{} buckets of consumers", record.consumers.len())));
            }
            if self.consumers != record.consumers {
                self.consumers.clone_from(&record.consumers);
                self.arrivals.push(Arc::new(record.consumers.clone()));
            }
        }
        if let Some(day) = &record.expired {
            self.expired = Some(day.parse().map_err(|_| damaged(format!("{day:?} is no day")))?);
        }
        if record.links.is_some() || record.unlinked {
            self.links.clone_from(&record.links);
        }
        self.kept.retain(|kept| !record.dropped.contains(&kept.file));
        let arrived = self.arrivals.len();
        self.kept.extend(record.kept.iter().cloned().map(|kept| KeptRecord {
            arrived,
            made: seq,
            ..kept
        }));
        if let Some(name) = &record.dropped_audience {
            self.audiences.retain(|audience| audience.name != *name);
        }
        if let Some(audience) = &record.audience {
            self.versions.insert(audience.name.clone(), audience.version);
            self.audiences.push(audience.clone());
        }
        Ok(())
    }

    /// The files of a folder that count.
    pub fn of_folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a FileRecord> {
        self.files.iter().filter(move |file| file.folder == folder)
    }

    /// A file by its name.
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.name == name)
    }

    /// All events.
    pub fn rows(&self) -> u64 {
        self.of_folder("segments").map(|file| file.rows).sum()
    }

    /// First and last day number with an event.
    pub fn days(&self) -> Option<(i32, i32)> {
        let days = self.of_folder("segments").filter_map(|file| file.days);
        days.reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)))
    }

    /// What identifiers of a role are. Consumers are persons once links were taken in.
    pub fn id_kind(&self, role: &str) -> IdKind {
        if role == "consumer" && self.links.is_some() {
            return IdKind::Int64;
        }
        self.types.id_kind(role)
    }

    /// What the state is, in words.
    pub fn fingerprint(&self) -> String {
        format!("bank {} at commit {}", self.bank.id, self.seq)
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> u64 {
        self.consumers.iter().map(|&count| u64::from(count)).sum()
    }

    /// When an account came, as a place among the commits that brought accounts.
    pub fn arrival(&self, account: ConsumerIdx) -> usize {
        self.arrivals.partition_point(|counts| counts[account.bucket()] <= account.local())
    }

    /// Identifies the consumers' numbering. Accounts have one for ever; persons one from a batch of links to the next.
    pub(super) fn lineage(&self) -> u128 {
        match &self.links {
            None => self.account_lineage(),
            Some(links) => xxh3_128(format!("bank {} persons {}", self.bank.id, links.file).as_bytes()),
        }
    }

    /// What the persons of a state are known by: the links and the accounts.
    pub(super) fn persons_key(&self) -> u128 {
        self.lineage() ^ u128::from(self.accounts())
    }

    /// Identifies the accounts' numbering: that of one bank, through all its states.
    pub(super) fn account_lineage(&self) -> u128 {
        let kind = if self.types.id_kind("consumer") == IdKind::Text {
            "text"
        } else {
            "int64"
        };
        xxh3_128(format!("bank {} {kind}", self.bank.id).as_bytes())
    }
}
