//! Audiences of persons by the accounts behind them: lists of phones or device numbers out, and in.

use std::sync::Arc;

use crate::audience::{Audience, AudienceError};
use crate::base::IdValue;
use crate::identity::{Matched, Seen};
use crate::timeline::Universe;

/// What became of the values that an audience was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// How the values fared in the identity map.
    pub found: Matched,
    /// Persons that were found but are not in the universe: they have no event in it.
    pub outside: u64,
}

fn people(universe: &Universe) -> Result<&Arc<Seen>, AudienceError> {
    universe.people().ok_or(AudienceError::NoIdentity)
}

impl Audience {
    /// All values of an identifier type that the persons of the audience have, in order, each once. A person may have several, or none.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`]; [`AudienceError::NoIdentity`] if consumers are no persons of an identity map; the map has no
    /// such type.
    pub fn ids_of_type(&self, id_type: &str) -> Result<Vec<String>, AudienceError> {
        let universe = self.universe()?;
        let known = self.known()?;
        let persons = known.iter().map(|idx| universe.int(crate::base::ConsumerIdx(idx)));
        Ok(people(universe)?.values(persons, id_type)?)
    }

    /// The consumers of a universe to whom these values of an identifier type belong, and what became of the values.
    ///
    /// # Errors
    /// As [`Audience::ids_of_type`].
    pub fn of_type<'v>(
        universe: &Arc<Universe>,
        id_type: &str,
        values: impl IntoIterator<Item = Option<&'v str>>,
        made: &str,
    ) -> Result<(Audience, Match), AudienceError> {
        let found = people(universe)?.find(id_type, values)?;
        let audience = Audience::of_ids(universe, found.persons.iter().map(|&person| IdValue::Int(person)), made);
        let outside = found.persons.len() as u64 - audience.len();
        Ok((audience, Match { found, outside }))
    }
}
