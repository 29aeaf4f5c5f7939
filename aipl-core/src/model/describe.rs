//! A stage model in words, every value that no public source gives marked as such.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::data::{Condition, Count, Leaf, Operand, Rule, StageModel};

/// The mark behind a value that no public source gives.
pub const UNSOURCED: &str = "[unsourced]";

impl StageModel {
    /// The model in words: stages from the highest, their rules, and where each value comes from.
    ///
    /// ```
    /// let text = aipl_core::model::StageModel::preset("o5a")?.describe();
    /// assert!(text.contains("[unsourced]"));
    /// # Ok::<(), aipl_core::model::ModelError>(())
    /// ```
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let title = self.title.as_ref().map_or_else(String::new, |title| format!(" - {title}"));
        let mut line = |content: String| {
            text.push_str(&content);
            text.push('\n');
        };
        line(format!("{} (version {}){title}", self.id, self.version));
        line(format!(
            "scope: {}; the highest stage whose rule holds at the close of a day is the label, else out",
            self.scope.name()
        ));
        for (topic, source) in &self.verified {
            line(format!("{topic}: {source}{}", mark(source)));
        }
        for stage in self.stages.iter().rev() {
            let chinese = stage.name_zh.as_ref().map_or_else(String::new, |name| format!(" {name}"));
            line(format!("{} {}{chinese}", stage.code, stage.name));
            provenance_lines(&stage.provenance, 1, &mut line);
            rule_lines(&stage.rule, 1, &mut line);
        }
        if let Some(notes) = &self.notes {
            line(format!("notes: {}", notes.trim()));
        }
        text
    }
}

fn mark(source: &str) -> String {
    if source.starts_with("unsourced") {
        format!(" {UNSOURCED}")
    } else {
        String::new()
    }
}

fn provenance_lines(provenance: &BTreeMap<String, String>, depth: usize, line: &mut impl FnMut(String)) {
    for (field, source) in provenance {
        line(format!("{}{field}: {source}{}", "  ".repeat(depth + 1), mark(source)));
    }
}

fn rule_lines(rule: &Rule, depth: usize, line: &mut impl FnMut(String)) {
    let indent = "  ".repeat(depth);
    match rule {
        Rule::Any(rules) | Rule::All(rules) => {
            line(format!("{indent}{} of:", if matches!(rule, Rule::Any(_)) { "any" } else { "all" }));
            rules.iter().for_each(|rule| rule_lines(rule, depth + 1, line));
        }
        Rule::Not(rule) => {
            line(format!("{indent}not:"));
            rule_lines(rule, depth + 1, line);
        }
        Rule::State { name, provenance } => {
            line(format!("{indent}is {name} on the day"));
            provenance_lines(provenance, depth, line);
        }
        Rule::Leaf(leaf) => {
            line(format!("{indent}{}", leaf_words(leaf)));
            provenance_lines(&leaf.provenance, depth, line);
        }
    }
}

fn leaf_words(leaf: &Leaf) -> String {
    let unit = match &leaf.count {
        Count::Events => "events".to_owned(),
        Count::DistinctDays => "distinct days".to_owned(),
        Count::DistinctOrders => "distinct orders".to_owned(),
        Count::Sum(column) => format!("sum of {column}"),
    };
    let amount = match &leaf.max {
        None if leaf.min == Operand::Int(1) && leaf.count == Count::Events => String::new(),
        None => format!("{unit} ≥ {}: ", leaf.min),
        Some(max) => format!("{unit} {} to {max}: ", leaf.min),
    };
    let mut words = format!("{amount}{}", leaf.behaviors.join(", "));
    for (column, condition) in &leaf.conditions {
        // Writing to a string cannot fail.
        let _ = match condition {
            Condition::In(values) => write!(
                words,
                ", {column} in [{}]",
                values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            Condition::Bounds(bounds) => bounds
                .iter()
                .try_for_each(|(word, bound)| write!(words, ", {column} {word} {bound}")),
        };
    }
    match leaf.days {
        Some(days) => format!("{words}, within {days} days"),
        None => format!("{words}, at any time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unsourced_value_is_marked() {
        for name in StageModel::presets() {
            let model = StageModel::preset(name).expect(name);
            let written = model.to_toml().matches("= \"unsourced").count();
            assert_eq!(model.describe().matches(UNSOURCED).count(), written, "{name}");
        }
    }
}
