//! Files of consumers that can no longer be read: what of them other files still have, and what is lost with the
//! batches that go.

use arrow::datatypes::UInt32Type;

use crate::bank::consumers;
use crate::bank::error::BankError;
use crate::bank::files::{Published, check_space};
use crate::bank::handle::DataBank;
use crate::bank::merge::primitive;
use crate::bank::origins::Commits;
use crate::bank::record::FileRecord;
use crate::bank::segment::{ParquetFile, Segment, UNIT_BUCKETS, UNITS};
use crate::bank::state::State;
use crate::base::id::{BUCKETS, lost_id};
use crate::base::{ConsumerIdx, IdKind, IdValue};

type Result<T> = std::result::Result<T, BankError>;
type Numbered = Vec<(ConsumerIdx, IdValue)>;

/// All consumers anew, in one file.
pub(super) struct Mended {
    pub file: Published,
    /// Consumers whose identifiers are lost. No event is of them.
    pub lost: u64,
}

impl DataBank {
    /// Writes all consumers anew, if a file of some batches that go cannot be read: numbers stay given. `others` are
    /// the segments that stay.
    pub(super) fn mend_consumers(&self, state: &State, going: &Commits, others: &[Segment]) -> Result<Option<Mended>> {
        let id_kind = state.types.id_kind("consumer");
        let files: Vec<(&FileRecord, Result<Numbered>)> = state
            .of_folder("ids")
            .map(|file| (file, self.read_consumers(file, id_kind)))
            .collect();
        let concerns = |file: &FileRecord| !state.origins.of(&file.name).is_disjoint(going);
        if !files.iter().any(|(file, read)| read.is_err() && concerns(file)) {
            return Ok(None);
        }
        let (mut all, mut lost) = (Numbered::new(), Vec::new());
        for (file, read) in files {
            match read {
                Ok(own) => all.extend(own),
                Err(error) => self.recover(state, file, &error, going, &mut all, &mut lost)?,
            }
        }
        self.check_unused(state, &lost, others)?;
        let placeholders = lost.iter().map(|&idx| (idx, lost_id(idx, id_kind)));
        all.extend(placeholders);
        all.sort_unstable_by_key(|(idx, _)| *idx);
        check_space(self.path(), state.of_folder("ids").map(|file| file.bytes).sum())?;
        Ok(Some(Mended {
            file: consumers::write(self.path(), id_kind, all.into_iter())?,
            lost: lost.len() as u64,
        }))
    }

    fn read_consumers(&self, file: &FileRecord, id_kind: IdKind) -> Result<Numbered> {
        let opened = ParquetFile::open(self.path(), file, &self.blocks(file)?)?;
        consumers::read_file(&opened, file.rows, id_kind)
    }

    /// The consumers of a file that cannot be read, from the files that its batches brought; those of batches that go
    /// may be lost.
    fn recover(
        &self,
        state: &State,
        file: &FileRecord,
        error: &BankError,
        going: &Commits,
        all: &mut Numbered,
        lost: &mut Vec<ConsumerIdx>,
    ) -> Result<()> {
        let (id_kind, origins) = (state.types.id_kind("consumer"), state.origins.of(&file.name));
        let mut before = vec![0; BUCKETS];
        for commit in self.records() {
            let record = &commit.record;
            if origins.contains(&commit.seq) {
                let own = record.add.iter().find(|own| own.folder == "ids" && own.name != file.name);
                match own.map(|own| self.read_consumers(own, id_kind)) {
                    Some(Ok(read)) => all.extend(read),
                    // A batch that was taken out before has left its consumers and no event.
                    _ if going.contains(&commit.seq) || state.batches_of(&Commits::from([commit.seq])).is_empty() => {
                        let of_bucket =
                            |bucket: usize| (before[bucket]..record.consumers[bucket]).map(move |local| ConsumerIdx::new(bucket, local));
                        lost.extend((0..record.consumers.len()).flat_map(of_bucket));
                    }
                    _ => {
                        return Err(BankError::SharedBatches {
                            problem: format!("{error}; it has consumers of more batches, whose identifiers would be lost"),
                            batches: state.batches_of(&origins),
                        });
                    }
                }
            }
            if record.consumers.len() == BUCKETS {
                before.clone_from(&record.consumers);
            }
        }
        Ok(())
    }

    /// Refuses to lose the identifiers of consumers who have events of other batches.
    fn check_unused(&self, state: &State, lost: &[ConsumerIdx], others: &[Segment]) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let mut lost: Vec<u32> = lost.iter().map(|idx| idx.0).collect();
        lost.sort_unstable();
        let mut users = Commits::new();
        for segment in others {
            if has_any(segment, &lost)? {
                let name = segment.file.name().strip_prefix("segments/").unwrap_or_default();
                users.extend(state.origins.of(name).iter());
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        Err(BankError::SharedBatches {
            problem: "the identifiers of its consumers can no longer be read, and other batches have events of these consumers".to_owned(),
            batches: state.batches_of(&users),
        })
    }
}

/// Whether a segment has an event of one of these consumers, who are given in order.
fn has_any(segment: &Segment, consumers: &[u32]) -> Result<bool> {
    for unit in 0..UNITS {
        let range = segment.range(unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS);
        if !range.is_empty() {
            let (batch, _) = segment.file.read(&["consumer_idx"], range)?;
            let own = primitive::<UInt32Type>(segment, &batch, "consumer_idx")?;
            if own.iter().any(|idx| consumers.binary_search(idx).is_ok()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
