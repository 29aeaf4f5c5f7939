//! Writing a stage model as plain data: what [`crate::model::parse`] reads back to an equal model.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::data::{Condition, Count, Leaf, Operand, Rule, Stage, StageModel};

impl StageModel {
    /// The model as plain data; defaults are left out.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("id".into(), json!(self.id));
        map.insert("version".into(), json!(self.version));
        for (key, text) in [("title", &self.title), ("title_zh", &self.title_zh), ("notes", &self.notes)] {
            if let Some(text) = text {
                map.insert(key.into(), json!(text));
            }
        }
        map.insert("scope".into(), json!(self.scope.name()));
        if let Some(touchpoints) = &self.brand_wide_touchpoints {
            map.insert("brand_wide_touchpoints".into(), json!(touchpoints));
        }
        insert_table(&mut map, "verified", &self.verified);
        map.insert("stage".into(), self.stages.iter().map(stage_value).collect());
        Value::Object(map)
    }

    /// The model as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}", self.to_value())
    }

    /// The model as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every value written above has a TOML form (there are no nulls), so this cannot fail.
        toml::to_string(&self.to_value()).unwrap_or_default()
    }
}

fn insert_table(map: &mut Map<String, Value>, key: &str, table: &BTreeMap<String, String>) {
    if !table.is_empty() {
        map.insert(key.into(), json!(table));
    }
}

fn stage_value(stage: &Stage) -> Value {
    let mut map = Map::new();
    map.insert("code".into(), json!(stage.code));
    map.insert("name".into(), json!(stage.name));
    if let Some(name) = &stage.name_zh {
        map.insert("name_zh".into(), json!(name));
    }
    insert_table(&mut map, "provenance", &stage.provenance);
    if let Value::Object(rule) = rule_value(&stage.rule) {
        map.extend(rule);
    }
    Value::Object(map)
}

fn rule_value(rule: &Rule) -> Value {
    match rule {
        Rule::Any(rules) => json!({"any": rules.iter().map(rule_value).collect::<Vec<_>>()}),
        Rule::All(rules) => json!({"all": rules.iter().map(rule_value).collect::<Vec<_>>()}),
        Rule::Not(rule) => json!({"not": rule_value(rule)}),
        Rule::State { name, provenance } => {
            let mut map = Map::new();
            map.insert("state".into(), json!(name));
            insert_table(&mut map, "provenance", provenance);
            Value::Object(map)
        }
        Rule::Leaf(leaf) => leaf_value(leaf),
    }
}

fn leaf_value(leaf: &Leaf) -> Value {
    let mut map = Map::new();
    map.insert("behaviors".into(), json!(leaf.behaviors));
    if let Some(days) = leaf.days {
        map.insert("days".into(), json!(days));
    }
    if leaf.count != Count::Events {
        map.insert("count".into(), json!(leaf.count.name()));
    }
    if let Count::Sum(column) = &leaf.count {
        map.insert("of".into(), json!(column));
    }
    if leaf.min != Operand::Int(1) {
        map.insert("min".into(), operand_value(&leaf.min));
    }
    if let Some(max) = &leaf.max {
        map.insert("max".into(), operand_value(max));
    }
    if !leaf.conditions.is_empty() {
        let conditions: Map<String, Value> = leaf
            .conditions
            .iter()
            .map(|(column, condition)| (column.clone(), condition_value(condition)))
            .collect();
        map.insert("where".into(), Value::Object(conditions));
    }
    insert_table(&mut map, "provenance", &leaf.provenance);
    Value::Object(map)
}

fn condition_value(condition: &Condition) -> Value {
    match condition {
        Condition::In(values) => match values.as_slice() {
            [one] => operand_value(one),
            many => many.iter().map(operand_value).collect(),
        },
        Condition::Bounds(bounds) => Value::Object(bounds.iter().map(|(word, bound)| (word.to_owned(), operand_value(bound))).collect()),
    }
}

fn operand_value(operand: &Operand) -> Value {
    match operand {
        Operand::Int(value) => json!(value),
        Operand::Float(value) => json!(value),
        Operand::Text(value) => json!(value),
        Operand::Bool(value) => json!(value),
    }
}
