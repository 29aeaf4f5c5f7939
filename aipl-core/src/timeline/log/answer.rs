//! A log as timelines: one run a bucket.

use std::sync::Arc;

use arrow::array::ArrayRef;

use crate::base::{IdKind, IdValue, Zone};
use crate::event::{EventSchema, Tally};
use crate::source::{OnError, StateTable};
use crate::timeline::log::load::wanted_columns;
use crate::timeline::log::{EventLog, LogBucket};
use crate::timeline::ordered::{Asked, Draft, Ordered, Owners, Run, needed_columns, needed_roles, visit};
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::ScanError;
use crate::timeline::timelines::{Question, Timelines, Visit, Visited};
use crate::timeline::universe::Universe;

impl Timelines for EventLog {
    fn schema(&self) -> &EventSchema {
        &self.inner.schema
    }

    fn zone(&self) -> &Arc<Zone> {
        &self.inner.zone
    }

    fn states(&self) -> &[Arc<StateTable>] {
        &self.inner.states
    }

    fn id_kind(&self, role: &str) -> IdKind {
        let known = self.inner.id_kinds.iter().find(|(known, _)| known == role);
        known.map_or(IdKind::Text, |(_, id_kind)| *id_kind)
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint.clone()
    }

    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, show: Visit<'_>) -> Result<Visited, ScanError> {
        let roles = needed_roles(self, question);
        roles.iter().try_for_each(|role| self.check_loaded(role))?;
        visit(self, &needed_columns(self, &roles), question, runtime, show)
    }

    fn log(&self, fields: Option<&[String]>, _: Option<&IdValue>, _: &Runtime<'_>) -> Result<EventLog, ScanError> {
        wanted_columns(&self.inner.schema, fields)?;
        fields.unwrap_or_default().iter().try_for_each(|field| self.check_loaded(field))?;
        Ok(self.clone())
    }
}

impl Ordered for EventLog {
    fn universe(&self) -> Result<Arc<Universe>, ScanError> {
        Ok(self.inner.universe.clone())
    }

    fn rows(&self) -> u64 {
        EventLog::rows(self) as u64
    }

    fn on_error(&self) -> OnError {
        self.inner.on_error
    }

    fn unit_buckets(&self) -> usize {
        1
    }

    fn drafts(&self, number: usize, asked: &Asked<'_>, tally: &mut Tally) -> Result<Vec<(usize, Draft)>, ScanError> {
        let bucket = &self.inner.buckets[number];
        if asked.wanted(number..number + 1).is_empty() {
            tally.rows_read += bucket.rows() as u64;
            return Ok(Vec::new());
        }
        let run = Run {
            bucket: number,
            moved: &[],
            owners: Owners::Starts(&bucket.starts),
            days: &bucket.days,
            instant: &|row| bucket.instants[row],
            codes: &bucket.codes,
            column: &|name| self.column(bucket, name),
        };
        Ok(vec![(0, asked.draft(&run, tally)?)])
    }
}

impl EventLog {
    /// Refuses a mapped field that the log was loaded without.
    pub(super) fn check_loaded(&self, role: &str) -> Result<(), ScanError> {
        let Some(column) = self.inner.schema.column(role) else {
            return Ok(());
        };
        let required = self.inner.schema.mapped().take(4).any(|(known, _)| known == role);
        if required || Some(column) == self.inner.schema.column("brand") || self.inner.fields.iter().any(|field| field.column == column) {
            return Ok(());
        }
        Err(ScanError::NotLoaded {
            field: role.to_owned(),
            loaded: self.loaded(),
        })
    }

    /// A column of a bucket.
    pub(super) fn column(&self, bucket: &LogBucket, column: &str) -> Option<ArrayRef> {
        if self.inner.schema.column("brand") == Some(column) {
            return Some(bucket.brands.clone());
        }
        let place = self.inner.fields.iter().position(|field| field.column == column)?;
        Some(bucket.fields[place].clone())
    }
}
