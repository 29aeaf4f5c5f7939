//! How large a model may be: what is counted before anything is made of it.

use serde_json::Value;

use crate::model::error::ModelError;

/// Bytes of a model as TOML or JSON, and of all texts in one given as plain data.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Values of a model: tables, lists, texts and numbers.
pub const MAX_VALUES: usize = 100_000;
/// Rules of a model, combinations included.
pub const MAX_RULES: usize = 4_096;
/// Levels of tables and lists. Each nested rule takes two.
pub const MAX_LEVELS: usize = 100;

/// Refuses what is too much; the limit is part of the error.
pub(crate) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), ModelError> {
    if found <= limit {
        return Ok(());
    }
    Err(ModelError::TooLarge { what, found, limit })
}

/// Counts a model's values without recursion, and stops at the first limit.
pub(crate) fn check_size(model: &Value) -> Result<(), ModelError> {
    let mut waiting = vec![(model, 1)];
    let (mut values, mut bytes) = (0, 0);
    while let Some((value, level)) = waiting.pop() {
        within("levels of nesting", level, MAX_LEVELS)?;
        match value {
            Value::Array(list) => {
                within("values", values + list.len(), MAX_VALUES)?;
                waiting.extend(list.iter().map(|value| (value, level + 1)));
            }
            Value::Object(table) => {
                within("values", values + table.len(), MAX_VALUES)?;
                bytes += table.keys().map(String::len).sum::<usize>();
                waiting.extend(table.values().map(|value| (value, level + 1)));
            }
            Value::String(text) => bytes += text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        values += 1;
        within("values", values, MAX_VALUES)?;
        within("bytes of text", bytes, MAX_TEXT_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use crate::event::EventSchema;
    use crate::model::{StageModel, compile};
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn model_of(rules: Vec<Value>) -> Value {
        let other = json!({"code": "B", "name": "b", "any": [{"behaviors": ["view"]}]});
        json!({"id": "m", "stage": [{"code": "A", "name": "a", "any": rules}, other]})
    }

    /// What was too much, found within a second.
    fn too_large(read: impl FnOnce() -> Result<StageModel, ModelError>) -> &'static str {
        let started = Instant::now();
        let error = read().expect_err("refused");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert!(error.to_string().len() < 200, "{error}");
        match error {
            ModelError::TooLarge { what, .. } => what,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_limit_is_named() {
        let rule = json!({"behaviors": ["view"]});
        let many = model_of(vec![rule.clone(); 1_000_000]);
        assert_eq!(too_large(|| StageModel::from_value(&many)), "values");
        let some = model_of(vec![rule.clone(); MAX_RULES + 1]);
        assert_eq!(too_large(|| StageModel::from_value(&some)), "rules");
        let long = model_of(vec![json!({"behaviors": ["x".repeat(2 << 20)]})]);
        assert_eq!(too_large(|| StageModel::from_value(&long)), "bytes of text");
        let text = format!("x = {}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(too_large(|| StageModel::from_toml(&text)), "bytes of text");
        assert_eq!(too_large(|| StageModel::from_json(&text)), "bytes of text");
        let deep = (0..120).fold(rule, |rule, _| json!({"not": rule}));
        assert_eq!(too_large(|| StageModel::from_value(&model_of(vec![deep]))), "levels of nesting");
    }

    #[test]
    fn deep_texts_are_refused_by_their_parsers() {
        let deep = [
            format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
            format!("[{}]\n", vec!["a"; 100_000].join(".")),
            format!("a{} = 1\n", ".a".repeat(200_000)),
        ];
        for text in deep {
            let error = StageModel::from_toml(&text).expect_err("refused").to_string();
            assert!(error.len() < 500, "{} bytes", error.len());
        }
        let error = StageModel::from_json(&"[".repeat(1_000_000)).expect_err("refused").to_string();
        assert!(error.len() < 500, "{error}");
    }

    #[test]
    fn equal_rules_are_compiled_once() {
        let rule = |n: usize| json!({"behaviors": ["view"], "days": n % 60 + 1, "where": {"channel": vec!["app"; n % 20 + 1]}});
        let model = StageModel::from_value(&model_of((0..2_000).map(rule).collect())).expect("reads");
        let started = Instant::now();
        let program = compile(&model, &EventSchema::new("c", "b", "a", "t").with_field("channel", "ch")).expect("compiles");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert_eq!(program.leaves.len(), 61);
    }
}
