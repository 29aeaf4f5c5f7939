//! The model that checks: every event matters to it.

use crate::event::EventSchema;
use crate::model::data::{Count, Leaf, Operand, Rule, ScopeKind, Stage, StageModel};

/// A model to which every event matters.
#[must_use]
pub fn everything(schema: &EventSchema) -> StageModel {
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
