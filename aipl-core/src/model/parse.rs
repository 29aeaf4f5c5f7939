//! Reading a stage model from plain data, complaining with the path of what is wrong.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::base::suggest::{hint, shown, start};
use crate::model::data::{Bounds, Condition, Count, Leaf, OUT, Operand, Rule, ScopeKind, Stage, StageModel};
use crate::model::error::ModelError;
use crate::model::limits::{MAX_RULES, MAX_TEXT_BYTES, check_size, within};

/// Deepest nesting of rules.
const MAX_DEPTH: usize = 32;

type Result<T> = std::result::Result<T, ModelError>;

impl StageModel {
    /// Reads a model from TOML. A text has at most 1 MiB, and a model at most 4,096 rules, 100,000 values and 32 levels
    /// of rules.
    ///
    /// # Errors
    /// [`ModelError::Syntax`] if it is no TOML, [`ModelError::Invalid`] with a path if it is no model,
    /// [`ModelError::TooLarge`] with the limit if it is beyond one.
    pub fn from_toml(text: &str) -> Result<Self> {
        within("bytes of text", text.len(), MAX_TEXT_BYTES)?;
        let table: toml::Table = toml::from_str(text).map_err(|error| ModelError::Syntax {
            format: "TOML",
            problem: located(text, &error),
        })?;
        let value = serde_json::to_value(table).map_err(|error| ModelError::Syntax {
            format: "TOML",
            problem: error.to_string(),
        })?;
        Self::from_value(&value)
    }

    /// Reads a model from JSON.
    ///
    /// # Errors
    /// As [`StageModel::from_toml`].
    pub fn from_json(text: &str) -> Result<Self> {
        within("bytes of text", text.len(), MAX_TEXT_BYTES)?;
        let value: Value = serde_json::from_str(text).map_err(|error| ModelError::Syntax {
            format: "JSON",
            problem: error.to_string(),
        })?;
        Self::from_value(&value)
    }

    /// Reads a model from plain data.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] with the path of what is wrong.
    ///
    /// ```
    /// use aipl_core::model::StageModel;
    /// let error = StageModel::from_json(r#"{"id": "m", "stage": [
    ///     {"code": "A", "name": "aware", "any": [{"behaviors": ["view"]}]},
    ///     {"code": "I", "name": "interest", "any": [{"behaviors": ["search"], "days": 0}]}]}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "stage[1].any[0].days: 0 is not ≥ 1");
    /// ```
    pub fn from_value(value: &Value) -> Result<Self> {
        check_size(value)?;
        let root = Node::root(value)?;
        root.only(&[
            "id",
            "version",
            "title",
            "title_zh",
            "notes",
            "scope",
            "brand_wide_touchpoints",
            "verified",
            "stage",
        ])?;
        let scope = match root.text("scope")?.as_deref() {
            None | Some("brand") => ScopeKind::Brand,
            Some("category") => ScopeKind::Category,
            Some("store") => ScopeKind::Store,
            Some(other) => {
                return Err(ModelError::at(
                    "scope",
                    format!("{other:?} is not one of \"brand\", \"category\", \"store\""),
                ));
            }
        };
        let version = match root.map.get("version") {
            None => 1,
            Some(version) => version
                .as_i64()
                .filter(|version| *version >= 1)
                .ok_or_else(|| ModelError::at("version", format!("{version} is not a whole number ≥ 1")))?,
        };
        let stages = root.list("stage")?.ok_or_else(|| ModelError::at("stage", "is missing"))?;
        if !(2..=15).contains(&stages.len()) {
            return Err(ModelError::at("stage", format!("{} stages; a model has 2 to 15", stages.len())));
        }
        let model = StageModel {
            id: root.required_text("id")?,
            version,
            title: root.text("title")?,
            title_zh: root.text("title_zh")?,
            notes: root.text("notes")?,
            scope,
            brand_wide_touchpoints: root.texts("brand_wide_touchpoints")?,
            verified: root.text_table("verified")?,
            stages: stages
                .into_iter()
                .map(|(path, value)| read_stage(&path, value))
                .collect::<Result<_>>()?,
        };
        within("rules", count_rules(&model.stages), MAX_RULES)?;
        check_names(&model)?;
        Ok(model)
    }
}

/// What a parser complains of, and where, without the line itself: that can be as long as the text.
fn located(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return shown(error.message()).into_owned();
    };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", start(error.message(), 200))
}

/// Combinations and their parts, stages included.
fn count_rules(stages: &[Stage]) -> usize {
    let mut waiting: Vec<&Rule> = stages.iter().map(|stage| &stage.rule).collect();
    let mut rules = 0;
    while let Some(rule) = waiting.pop() {
        rules += 1;
        match rule {
            Rule::Any(parts) | Rule::All(parts) => waiting.extend(parts),
            Rule::Not(part) => waiting.push(part),
            Rule::Leaf(_) | Rule::State { .. } => {}
        }
    }
    rules
}

fn check_names(model: &StageModel) -> Result<()> {
    for (index, stage) in model.stages.iter().enumerate() {
        for (key, name) in [("code", &stage.code), ("name", &stage.name)] {
            let path = format!("stage[{index}].{key}");
            if name == OUT {
                return Err(ModelError::at(path, "\"out\" is the word for no stage"));
            }
            let twin = model.stages[..index].iter().position(|earlier| {
                if key == "code" {
                    earlier.code == *name
                } else {
                    earlier.name == *name
                }
            });
            if let Some(twin) = twin {
                return Err(ModelError::at(path, format!("{name:?} is also the {key} of stage[{twin}]")));
            }
        }
    }
    Ok(())
}

fn read_stage(path: &str, value: &Value) -> Result<Stage> {
    let node = Node::new(path, value)?;
    node.only(&["code", "name", "name_zh", "any", "all", "not", "provenance"])?;
    let (key, body) = node.one_of(&["any", "all", "not"])?;
    Ok(Stage {
        code: node.required_text("code")?,
        name: node.required_text("name")?,
        name_zh: node.text("name_zh")?,
        rule: read_combination(&format!("{path}.{key}"), key, body, 1)?,
        provenance: node.text_table("provenance")?,
    })
}

fn read_combination(path: &str, key: &str, body: &Value, depth: usize) -> Result<Rule> {
    if depth > MAX_DEPTH {
        return Err(ModelError::at(path, format!("rules nest deeper than {MAX_DEPTH}")));
    }
    if key == "not" {
        return Ok(Rule::Not(Box::new(read_rule(path, body, depth)?)));
    }
    let list = body.as_array().ok_or_else(|| ModelError::at(path, "is not a list of rules"))?;
    if list.is_empty() {
        return Err(ModelError::at(path, "is empty; a combination needs at least one rule"));
    }
    let rules = list
        .iter()
        .enumerate()
        .map(|(index, rule)| read_rule(&format!("{path}[{index}]"), rule, depth))
        .collect::<Result<Vec<_>>>()?;
    Ok(if key == "any" { Rule::Any(rules) } else { Rule::All(rules) })
}

fn read_rule(path: &str, value: &Value, depth: usize) -> Result<Rule> {
    let node = Node::new(path, value)?;
    let (key, body) = node.one_of(&["any", "all", "not", "state", "behaviors"])?;
    match key {
        "behaviors" => read_leaf(&node).map(Rule::Leaf),
        "state" => {
            node.only(&["state", "provenance"])?;
            Ok(Rule::State {
                name: node.required_text("state")?,
                provenance: node.text_table("provenance")?,
            })
        }
        _ => {
            node.only(&[key])?;
            read_combination(&format!("{path}.{key}"), key, body, depth + 1)
        }
    }
}

fn read_leaf(node: &Node<'_>) -> Result<Leaf> {
    node.only(&["behaviors", "days", "count", "of", "min", "max", "where", "provenance"])?;
    let behaviors = node.texts("behaviors")?.unwrap_or_default();
    if behaviors.is_empty() {
        return Err(node.error("behaviors", "is empty; name at least one behavior"));
    }
    let days = match node.map.get("days") {
        None => None,
        Some(days) => {
            let number = days
                .as_i64()
                .ok_or_else(|| node.error("days", format!("{days} is not a whole number")))?;
            if number < 1 {
                return Err(node.error("days", format!("{number} is not ≥ 1")));
            }
            Some(
                u32::try_from(number)
                    .ok()
                    .filter(|days| *days <= 84_006)
                    .ok_or_else(|| node.error("days", format!("{number} is not ≤ 84006")))?,
            )
        }
    };
    let count = match (node.text("count")?.as_deref(), node.text("of")?) {
        (Some("sum"), Some(column)) => Count::Sum(column),
        (Some("sum"), None) => return Err(node.error("of", "is missing; a sum names the measure it adds")),
        (_, Some(_)) => return Err(node.error("of", "goes with count = \"sum\" only")),
        (None | Some("events"), None) => Count::Events,
        (Some("distinct_days"), None) => Count::DistinctDays,
        (Some("distinct_orders"), None) => Count::DistinctOrders,
        (Some(other), None) => {
            return Err(node.error(
                "count",
                format!("{other:?} is not one of \"events\", \"distinct_days\", \"distinct_orders\", \"sum\""),
            ));
        }
    };
    let min = node.number("min", &count)?.unwrap_or(Operand::Int(1));
    let max = node.number("max", &count)?;
    if let Some(max) = &max
        && number(max) < number(&min)
    {
        return Err(node.error("max", format!("{max} is not ≥ min ({min})")));
    }
    let conditions = match node.map.get("where") {
        None => Vec::new(),
        Some(table) => read_conditions(&format!("{}.where", node.path), table)?,
    };
    Ok(Leaf {
        behaviors,
        days,
        count,
        min,
        max,
        conditions,
        provenance: node.text_table("provenance")?,
    })
}

/// A number of a rule as a float, for comparing bounds.
fn number(operand: &Operand) -> f64 {
    match operand {
        Operand::Int(value) => *value as f64,
        Operand::Float(value) => *value,
        Operand::Text(_) | Operand::Bool(_) => f64::NAN,
    }
}

fn read_conditions(path: &str, table: &Value) -> Result<Vec<(String, Condition)>> {
    let node = Node::new(path, table)?;
    let read = |(column, value): (&String, &Value)| {
        let path = format!("{path}.{column}");
        let condition = match value {
            Value::Array(list) if list.is_empty() => {
                return Err(ModelError::at(path, "is an empty list; nothing could match"));
            }
            Value::Array(list) => Condition::In(
                list.iter()
                    .enumerate()
                    .map(|(index, value)| read_operand(&format!("{path}[{index}]"), value))
                    .collect::<Result<_>>()?,
            ),
            Value::Object(_) => Condition::Bounds(read_bounds(&path, value)?),
            _ => Condition::In(vec![read_operand(&path, value)?]),
        };
        Ok((column.clone(), condition))
    };
    let mut conditions = node.map.iter().map(read).collect::<Result<Vec<_>>>()?;
    conditions.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(conditions)
}

fn read_bounds(path: &str, value: &Value) -> Result<Bounds> {
    let node = Node::new(path, value)?;
    node.only(&["ge", "gt", "le", "lt", "ne"])?;
    if node.map.is_empty() {
        return Err(ModelError::at(path, "has no bound; give ge, gt, le, lt or ne"));
    }
    let bound = |key: &str| {
        node.map
            .get(key)
            .map(|value| read_operand(&format!("{path}.{key}"), value))
            .transpose()
    };
    Ok(Bounds {
        ge: bound("ge")?,
        gt: bound("gt")?,
        le: bound("le")?,
        lt: bound("lt")?,
        ne: bound("ne")?,
    })
}

fn read_operand(path: &str, value: &Value) -> Result<Operand> {
    match value {
        Value::Bool(value) => Ok(Operand::Bool(*value)),
        Value::String(value) => Ok(Operand::Text(value.clone())),
        Value::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(value), _) => Ok(Operand::Int(value)),
            (None, Some(value)) if value.is_finite() && !matches!(value.abs(), 9e12..) => Ok(Operand::Float(value)),
            _ => Err(ModelError::at(path, format!("{value} is not a number within ±9e12"))),
        },
        other => Err(ModelError::at(path, format!("{other} is not text, a number, or true or false"))),
    }
}

/// A table of the model and the path that leads to it.
struct Node<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Node<'a> {
    fn root(value: &'a Value) -> Result<Self> {
        Self::new("", value)
    }

    fn new(path: &str, value: &'a Value) -> Result<Self> {
        let map = value
            .as_object()
            .ok_or_else(|| ModelError::at(if path.is_empty() { "model" } else { path }, "is not a table"))?;
        Ok(Node {
            path: path.to_owned(),
            map,
        })
    }

    fn error(&self, key: &str, problem: impl Into<String>) -> ModelError {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        ModelError::at(path, problem)
    }

    fn only(&self, keys: &[&str]) -> Result<()> {
        match self.map.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => Err(self.error(
                key,
                format!("is not a key here{}; keys: {}", hint(key, keys.iter().copied()), keys.join(", ")),
            )),
            None => Ok(()),
        }
    }

    fn one_of(&self, keys: &[&'static str]) -> Result<(&'static str, &'a Value)> {
        let mut found = keys.iter().filter_map(|key| self.map.get(*key).map(|value| (*key, value)));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => {
                let near = self.map.keys().find_map(|key| {
                    crate::base::suggest::nearest(key, keys.iter().copied()).map(|near| format!("; for {key:?} did you mean {near:?}?"))
                });
                Err(self.here(format!("needs one of {}{}", keys.join(", "), near.unwrap_or_default())))
            }
            (Some((first, _)), Some((second, _))) => {
                Err(self.here(format!("has both {first} and {second}; it takes one of {}", keys.join(", "))))
            }
        }
    }

    fn here(&self, problem: String) -> ModelError {
        ModelError::at(self.path.clone(), problem)
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.error(key, format!("{other} is not text"))),
        }
    }

    fn required_text(&self, key: &str) -> Result<String> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.error(key, "is empty")),
            None => Err(self.error(key, "is missing")),
        }
    }

    fn list(&self, key: &str) -> Result<Option<Vec<(String, &'a Value)>>> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(
                list.iter()
                    .enumerate()
                    .map(|(index, value)| (format!("{key}[{index}]"), value))
                    .collect(),
            )),
            Some(_) => Err(self.error(key, "is not a list")),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.map.get(key) else {
            return Ok(None);
        };
        let list = value.as_array().ok_or_else(|| self.error(key, "is not a list of texts"))?;
        let text = |(index, value): (usize, &Value)| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(self.error(&format!("{key}[{index}]"), format!("{value} is not text"))),
        };
        list.iter().enumerate().map(text).collect::<Result<_>>().map(Some)
    }

    fn text_table(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.map.get(key) else {
            return Ok(BTreeMap::new());
        };
        let table = value.as_object().ok_or_else(|| self.error(key, "is not a table"))?;
        let entry = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Bool(_) | Value::Number(_) => Ok((name.clone(), value.to_string())),
            other => Err(self.error(&format!("{key}.{name}"), format!("{other} is not text"))),
        };
        table.iter().map(entry).collect()
    }

    fn number(&self, key: &str, count: &Count) -> Result<Option<Operand>> {
        let Some(value) = self.map.get(key) else {
            return Ok(None);
        };
        let path = self.error(key, "").path();
        let operand = read_operand(&path, value)?;
        match (&operand, count) {
            (Operand::Int(_) | Operand::Float(_), Count::Sum(_)) => {}
            (Operand::Int(number), _) if (0..=i64::from(u32::MAX)).contains(number) => {}
            (Operand::Int(number), _) => {
                return Err(self.error(key, format!("{number} is not between 0 and {}", u32::MAX)));
            }
            _ => return Err(self.error(key, format!("{operand} is not a whole number"))),
        }
        Ok(Some(operand))
    }
}

impl ModelError {
    fn path(self) -> String {
        match self {
            ModelError::Invalid { path, .. } => path,
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model_with(rule: Value) -> Value {
        json!({"id": "m", "stage": [
            {"code": "A", "name": "aware", "any": [{"behaviors": ["view"]}]},
            {"code": "B", "name": "buyer", "any": [{"behaviors": ["purchase"]}, {"behaviors": ["view"]}, rule]},
        ]})
    }

    #[test]
    fn complaints_carry_the_path() {
        let cases = [
            (json!({"behaviors": ["view"], "days": 0}), "stage[1].any[2].days: 0 is not ≥ 1"),
            (
                json!({"behaviors": ["view"], "days": 1.5}),
                "stage[1].any[2].days: 1.5 is not a whole number",
            ),
            (json!({"behaviors": []}), "stage[1].any[2].behaviors: is empty"),
            (
                json!({"behaviors": ["view"], "day": 3}),
                "stage[1].any[2].day: is not a key here; did you mean \"days\"?",
            ),
            (
                json!({"behaviors": ["view"], "min": 3, "max": 2}),
                "stage[1].any[2].max: 2 is not ≥ min (3)",
            ),
            (
                json!({"behaviors": ["view"], "min": -1}),
                "stage[1].any[2].min: -1 is not between 0 and",
            ),
            (json!({"behaviors": ["view"], "count": "sum"}), "stage[1].any[2].of: is missing"),
            (json!({"behaviors": ["view"], "of": "amount"}), "stage[1].any[2].of: goes with"),
            (
                json!({"behaviors": ["view"], "count": "days"}),
                "stage[1].any[2].count: \"days\" is not one of",
            ),
            (
                json!({"behaviors": ["view"], "where": {"rating": {"gte": 4}}}),
                "stage[1].any[2].where.rating.gte: is not a key here",
            ),
            (
                json!({"behaviors": ["view"], "where": {"channel": []}}),
                "stage[1].any[2].where.channel: is an empty list",
            ),
            (
                json!({"all": [{"not": {"behaviors": ["view"], "days": -3}}]}),
                "stage[1].any[2].all[0].not.days: -3 is not ≥ 1",
            ),
            (json!({"any": []}), "stage[1].any[2].any: is empty"),
            (
                json!({"behavior": ["view"]}),
                "stage[1].any[2]: needs one of any, all, not, state, behaviors; for \"behavior\" did you mean \"behaviors\"?",
            ),
            (
                json!({"behaviors": ["view"], "state": "fan"}),
                "stage[1].any[2]: has both state and behaviors",
            ),
            (json!(7), "stage[1].any[2]: is not a table"),
        ];
        for (rule, expected) in cases {
            let message = StageModel::from_value(&model_with(rule)).expect_err(expected).to_string();
            assert!(message.starts_with(expected), "{message} / {expected}");
        }
    }

    #[test]
    fn the_model_itself_is_checked() {
        let stage = |code: &str, name: &str| json!({"code": code, "name": name, "any": [{"behaviors": ["view"]}]});
        let message = |value: Value| StageModel::from_value(&value).expect_err("refused").to_string();
        assert_eq!(
            message(json!({"id": "m", "stage": [stage("A", "a")]})),
            "stage: 1 stages; a model has 2 to 15"
        );
        assert_eq!(
            message(json!({"id": "m", "stage": [stage("A", "a"), stage("A", "b")]})),
            "stage[1].code: \"A\" is also the code of stage[0]"
        );
        assert_eq!(
            message(json!({"id": "m", "stage": [stage("A", "a"), stage("out", "b")]})),
            "stage[1].code: \"out\" is the word for no stage"
        );
        assert_eq!(message(json!({"stage": [stage("A", "a"), stage("B", "b")]})), "id: is missing");
        assert_eq!(
            message(json!({"id": "m", "scope": "shop", "stage": []})),
            "scope: \"shop\" is not one of \"brand\", \"category\", \"store\""
        );
        assert_eq!(message(json!([])), "model: is not a table");
        assert!(
            StageModel::from_toml("id = ")
                .expect_err("syntax")
                .to_string()
                .starts_with("the model is not TOML")
        );
        let long = "x".repeat(200_000);
        for text in [
            format!("id = {long}"),
            format!("{long} = 1\n{long} = 2"),
            format!("id = \"{long}\"\n[\"{long}\"]"),
        ] {
            let error = StageModel::from_toml(&text).expect_err("no model").to_string();
            assert!(error.len() < 2_000, "{} bytes: {}", error.len(), &error[..300]);
        }
        for value in [
            json!({"id": "m", "scope": long, "stage": []}),
            json!({"id": "m", long.clone(): 1}),
            json!(long),
        ] {
            assert!(message(value).len() < 2_000);
        }
        assert!(StageModel::preset(&long).expect_err("no preset").to_string().len() < 2_000);
        let deep = (0..40).fold(json!({"behaviors": ["view"]}), |rule, _| json!({"not": rule}));
        assert!(message(model_with(deep)).contains("nest deeper"));
    }
}
