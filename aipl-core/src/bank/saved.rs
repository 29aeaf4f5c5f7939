//! Audiences that the bank keeps, by name and version.

use serde_json::{Value, json};

use crate::audience::Audience;
use crate::bank::error::BankError;
use crate::bank::handle::DataBank;
use crate::bank::merge::is_given;
use crate::bank::record::{AudienceRecord, Record};
use crate::bank::sets::{self, Directory};
use crate::base::suggest::hint;
use crate::timeline::Runtime;

type Result<T> = std::result::Result<T, BankError>;

impl AudienceRecord {
    /// The record as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "size": self.size,
            "note": self.note,
            "made": self.made,
            "of_commit": self.of,
        })
    }
}

impl DataBank {
    /// Keeps an audience under a name, as a new version of it. It must be made from this bank. Of persons all accounts are kept, so that
    /// later links change who they are, and not which accounts they are of.
    ///
    /// # Errors
    /// [`BankError::Parameter`] for an audience of another universe, or a name that is empty or over 256 bytes; [`BankError::ReadOnly`].
    pub fn save_audience(&self, name: &str, audience: &Audience, note: &str, runtime: &Runtime<'_>) -> Result<AudienceRecord> {
        if name.is_empty() || name.len() > 256 {
            return Err(BankError::parameter("name", format!("{} bytes; 1 to 256 are accepted", name.len())));
        }
        self.write("save_audience", || {
            let state = self.state();
            if audience.fingerprint() != state.lineage() {
                let problem = if state.links.is_some() {
                    "the audience was not made from this bank since its newest links; make it again, or by identifiers of an id type, which last"
                } else {
                    "the audience was not made from this bank; make it of the bank's consumers by its identifiers"
                };
                return Err(BankError::parameter("audience", problem));
            }
            if !audience.bits().iter().all(|idx| is_given(idx, &state.consumers)) {
                return Err(BankError::parameter("audience", "it has consumers that this bank does not know"));
            }
            // Persons change, accounts do not.
            let accounts = match self.persons_of(&state, runtime)? {
                Some(persons) => persons.accounts(audience.bits()),
                None => audience.bits().clone(),
            };
            let file = sets::write(self.path(), Directory::default(), &[accounts])?;
            let kept = AudienceRecord {
                name: name.to_owned(),
                version: state.versions.get(name).copied().unwrap_or(0) + 1,
                note: note.to_owned(),
                made: audience.made().to_owned(),
                size: audience.len(),
                file: file.record.name.clone(),
                of: state.seq,
            };
            let record = Record {
                audience: Some(kept.clone()),
                ..Record::of("save_audience")
            };
            self.commit(record, &[file], &[])?;
            Ok(kept)
        })
    }

    /// An audience by name: the newest version, or the one that is named. Under links it is the persons who have one of its accounts.
    ///
    /// # Errors
    /// [`BankError::Unknown`] naming the nearest; [`BankError::Corrupt`].
    pub fn audience(&self, name: &str, version: Option<u32>, runtime: &Runtime<'_>) -> Result<Audience> {
        self.check_process()?;
        let state = self.state();
        let own: Vec<&AudienceRecord> = state.audiences.iter().filter(|known| known.name == name).collect();
        let found = match version {
            None => own.last().copied(),
            Some(version) => own.iter().copied().find(|known| known.version == version),
        };
        let Some(found) = found else {
            let versions: Vec<String> = own.iter().map(|known| known.version.to_string()).collect();
            return Err(match version {
                Some(version) if !own.is_empty() => BankError::Unknown {
                    what: "version",
                    name: version.to_string(),
                    hint: format!(" of audience {name:?}; versions: {}", versions.join(", ")),
                },
                _ => BankError::Unknown {
                    what: "audience",
                    name: name.to_owned(),
                    hint: hint(name, state.audiences.iter().map(|known| known.name.as_str())),
                },
            });
        };
        let accounts = self.set_file(&state, &found.file)?.set(0, &state.consumers)?;
        Ok(match self.persons_of(&state, runtime)? {
            Some(persons) => Audience::new(persons.of_accounts(&accounts), persons.universe.clone(), &found.made),
            None => Audience::new(accounts, self.accounts_of(&state, Some(runtime))?, &found.made),
        })
    }

    /// Every version of every audience, by name and version.
    #[must_use]
    pub fn audiences(&self) -> Vec<AudienceRecord> {
        let mut audiences = self.state().audiences.clone();
        audiences.sort_by(|left, right| (&left.name, left.version).cmp(&(&right.name, right.version)));
        audiences
    }

    /// Takes all versions of an audience off the list. Earlier commits still have them, until [`DataBank::vacuum`].
    ///
    /// # Errors
    /// [`BankError::Unknown`] naming the nearest; [`BankError::ReadOnly`].
    pub fn drop_audience(&self, name: &str) -> Result<u64> {
        self.write("drop_audience", || {
            let state = self.state();
            let files: Vec<String> = state
                .audiences
                .iter()
                .filter(|known| known.name == name)
                .map(|known| known.file.clone())
                .collect();
            if files.is_empty() {
                return Err(BankError::Unknown {
                    what: "audience",
                    name: name.to_owned(),
                    hint: hint(name, state.audiences.iter().map(|known| known.name.as_str())),
                });
            }
            let record = Record {
                remove: files,
                dropped_audience: Some(name.to_owned()),
                ..Record::of("drop_audience")
            };
            self.commit(record, &[], &[])
        })
    }
}
