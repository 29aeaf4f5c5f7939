//! Checking every row of the events, whatever a question would look at.

use crate::analyses::outcome::Report;
use crate::base::Day;
use crate::event::EventSchema;
use crate::model::{Count, Leaf, ModelError, Operand, Rule, ScopeKind, Stage, StageModel, compile};
use crate::source::Events;
use crate::timeline::scan::ScanError;
use crate::timeline::{Question, Runtime, scan};

/// Checks every row: behavior, time, consumer, brand and measures. Nothing is kept but the account.
///
/// A question looks only at rows that can matter to it, so its report may count fewer rejected rows than this one.
///
/// # Errors
/// What the source refuses; a rejected row under `on_error = "raise"`; cancellation.
pub fn validate(events: &Events, runtime: &Runtime<'_>) -> Result<Report, ScanError> {
    let unreadable = |error: ModelError| ScanError::Source(crate::source::SourceError::Sink(error.to_string()));
    let program = compile(&everything(events.schema()), events.schema()).map_err(unreadable)?;
    let question = Question {
        program: &program,
        first: Day::MIN,
        last: Day::MAX,
        scopes: None,
        keep: false,
    };
    let scanned = scan(events, &question, runtime, |_, _| ())?;
    Ok(Report {
        tally: scanned.tally,
        notes: Vec::new(),
        elapsed: scanned.elapsed,
        threads: runtime.threads(),
    })
}

/// A model to which every event matters.
fn everything(schema: &EventSchema) -> StageModel {
    let leaf = |min| {
        Rule::Any(vec![Rule::Leaf(Leaf {
            behaviors: schema.vocabulary(),
            days: None,
            count: Count::Events,
            min: Operand::Int(min),
            max: None,
            conditions: Vec::new(),
            provenance: Default::default(),
        })])
    };
    let stage = |code: &str, min| Stage {
        code: code.to_owned(),
        name: code.to_owned(),
        name_zh: None,
        rule: leaf(min),
        provenance: Default::default(),
    };
    StageModel {
        id: "everything".to_owned(),
        version: 1,
        title: None,
        title_zh: None,
        notes: None,
        scope: ScopeKind::Brand,
        brand_wide_touchpoints: None,
        verified: Default::default(),
        stages: vec![stage("seen", 1), stage("again", 2)],
    }
}
