//! State periods of tables, as spans beside the events of a bucket.

use crate::base::id::{BUCKETS, bucket_of};
use crate::base::{IdKind, IdValue};
use crate::event::Tally;
use crate::model::data::ScopeKind;
use crate::source::StatePeriod;
use crate::timeline::bucket::{NO_STATE, StateSpan};
use crate::timeline::scopes::{ScopeNumbers, ScopeValue};
use crate::timeline::timelines::{Question, Timelines};

/// A state period of a consumer who may not have an event.
pub(crate) type OwnedSpan = (IdValue, StateSpan);

/// State periods of tables that reach into the question's days, by bucket.
pub(crate) fn table_spans(
    events: &dyn Timelines,
    question: &Question<'_>,
    scopes: &ScopeNumbers,
    tally: &mut Tally,
) -> Vec<Vec<OwnedSpan>> {
    let mut buckets: Vec<Vec<OwnedSpan>> = std::iter::repeat_with(Vec::new).take(BUCKETS).collect();
    let id_kind = events.id_kind("consumer");
    for table in events.states() {
        // Rejected rows of the table are told with the others; its readable rows are no rows of the source.
        tally.merge(table.tally.clone());
        for period in &table.periods {
            // A state that no rule asks for, or that ended earlier, still proves that the pair exists.
            let place = question.program.states.iter().position(|(name, _)| *name == period.state);
            let matters = question.program.existence || (place.is_some() && period.last >= question.first.number());
            if period.first > question.last.number() || !matters {
                continue;
            }
            let state = place.map_or(NO_STATE, |place| place as u8);
            let Some((consumer, scope)) = convert_period(events, question, period, id_kind) else {
                continue;
            };
            if question
                .consumer
                .is_some_and(|wanted| wanted.to_type(id_kind).as_ref() != Some(&consumer))
            {
                continue;
            }
            let Some(scope) = scopes.number(scope) else {
                continue;
            };
            let span = StateSpan {
                scope,
                first: period.first,
                last: period.last,
                state,
            };
            buckets[bucket_of(consumer.key())].push((consumer, span));
        }
    }
    buckets
}

/// A state row's identifiers in the types of the events; a row that does not convert names nobody among them.
fn convert_period(events: &dyn Timelines, question: &Question<'_>, period: &StatePeriod, id_kind: IdKind) -> Option<(IdValue, ScopeValue)> {
    let main = if question.program.scope == ScopeKind::Store {
        "store"
    } else {
        "brand"
    };
    let (brand, category) = &period.scope;
    let category = match (question.program.scope, category) {
        (ScopeKind::Category, Some(category)) => Some(category.to_type(events.id_kind("category"))?),
        (ScopeKind::Category, None) => return None,
        (ScopeKind::Brand | ScopeKind::Store, _) => None,
    };
    Some((
        period.consumer.to_type(id_kind)?,
        ScopeValue {
            main: brand.to_type(events.id_kind(main))?,
            category,
        },
    ))
}
