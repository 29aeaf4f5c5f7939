//! From a stage model and an event schema to a [`Program`].

use std::collections::{HashMap, HashSet};

use crate::base::Decimal6;
use crate::base::suggest::{hint, listed, nearest, shown};
use crate::event::EventSchema;
use crate::event::schema::{LABEL_FIELDS, MEASURE_FIELDS};
use crate::model::data::{Count, Leaf, Operand, Rule, ScopeKind, StageModel};
use crate::model::error::ModelError;
use crate::model::program::{Counter, Expression, Filter, LeafProgram, MAX_LEAVES, Program};

/// Compiles a model for a schema: every leaf becomes a bit, every stage a formula over bits.
///
/// A `where` or `sum` on a column that the schema does not map never matches; [`Program::unmatched`] says so.
///
/// # Errors
/// [`ModelError::Invalid`] with the path: an unknown behavior, more than 64 different leaves, a scope whose column is
/// not mapped.
pub fn compile(model: &StageModel, schema: &EventSchema) -> Result<Program, ModelError> {
    // A model made by hand has not passed the reader's checks.
    StageModel::from_value(&model.to_value())?;
    let vocabulary = schema.vocabulary();
    let (column, scope) = (model.scope.name(), model.scope);
    if schema.column(column).is_none() {
        return Err(ModelError::at(
            "scope",
            format!("model {:?} has scope {column:?}, but the EventSchema maps no {column}", model.id),
        ));
    }
    let brand_wide = if scope == ScopeKind::Category {
        model.brand_wide()
    } else {
        Vec::new()
    };
    let program = Program {
        brand_wide,
        stages: model.stages.len(),
        ..Program::bare(scope, vocabulary.len())
    };
    let mut compiler = Compiler {
        schema,
        vocabulary,
        program,
        sources: HashMap::new(),
    };
    for (index, stage) in model.stages.iter().enumerate() {
        let expression = compiler.rule(&format!("stage[{index}]"), &stage.rule)?;
        compiler.program.expressions.push(expression);
    }
    if scope == ScopeKind::Category && schema.column("touchpoint").is_none() && !compiler.program.brand_wide.is_empty() {
        compiler
            .program
            .unmatched
            .push("brand_wide_touchpoints: the schema maps no touchpoint, so no event is set aside as brand-wide".to_owned());
    }
    Ok(compiler.program.finish())
}

/// Fields that rules look at in other ways.
const NOT_CONDITIONS: [&str; 3] = ["consumer", "behavior", "time"];

struct Compiler<'a> {
    schema: &'a EventSchema,
    vocabulary: Vec<String>,
    program: Program,
    /// The bit of each leaf, by how the leaf is written: equal leaves share one.
    sources: HashMap<String, usize>,
}

impl Compiler<'_> {
    fn rule(&mut self, path: &str, rule: &Rule) -> Result<Expression, ModelError> {
        match rule {
            Rule::Any(rules) => self.parts(&format!("{path}.any"), rules).map(join_any),
            Rule::All(rules) => self.parts(&format!("{path}.all"), rules).map(all_of),
            Rule::Not(rule) => Ok(Expression::Not(Box::new(self.rule(&format!("{path}.not"), rule)?))),
            Rule::State { name, .. } => self.state(path, name).map(|bit| Expression::AnyBit(1 << bit)),
            Rule::Leaf(leaf) => self.leaf(path, leaf).map(|bit| Expression::AnyBit(1 << bit)),
        }
    }

    fn parts(&mut self, path: &str, rules: &[Rule]) -> Result<Vec<Expression>, ModelError> {
        rules
            .iter()
            .enumerate()
            .map(|(index, rule)| self.rule(&format!("{path}[{index}]"), rule))
            .collect()
    }

    /// The bit of an equal leaf compiled before, or a new one.
    fn bit(&mut self, path: &str, source: &Rule, leaf: LeafProgram) -> Result<(usize, bool), ModelError> {
        let (written, bit) = (format!("{source:?}"), self.sources.len());
        if let Some(&known) = self.sources.get(&written) {
            return Ok((known, false));
        }
        if self.sources.len() == MAX_LEAVES {
            return Err(ModelError::at(
                path,
                format!("is the {}th different rule; a model has at most {MAX_LEAVES}", MAX_LEAVES + 1),
            ));
        }
        self.sources.insert(written, bit);
        self.program.leaves.push(leaf);
        Ok((bit, true))
    }

    fn state(&mut self, path: &str, name: &str) -> Result<usize, ModelError> {
        let source = Rule::State {
            name: name.to_owned(),
            provenance: Default::default(),
        };
        let leaf = LeafProgram {
            days: None,
            counter: Counter::State,
            min: 0,
            max: None,
        };
        let (bit, new) = self.bit(path, &source, leaf)?;
        if new {
            self.program.add_state(name, 1 << bit, &self.vocabulary);
        }
        Ok(bit)
    }

    fn leaf(&mut self, path: &str, leaf: &Leaf) -> Result<usize, ModelError> {
        let behaviors = leaf
            .behaviors
            .iter()
            .enumerate()
            .map(|(index, name)| self.behavior(&format!("{path}.behaviors[{index}]"), name))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some((column, _)) = leaf.conditions.iter().find(|(column, _)| NOT_CONDITIONS.contains(&column.as_str())) {
            return Err(ModelError::at(
                format!("{path}.where.{column}"),
                "is no column for conditions; behaviors and days say it",
            ));
        }
        let counter = match &leaf.count {
            Count::Events => Counter::Events,
            Count::DistinctDays => Counter::Days,
            Count::DistinctOrders => Counter::Orders,
            Count::Sum(measure) => Counter::Sum(self.program.carry_sum(measure)),
        };
        let scale = if matches!(counter, Counter::Sum(_)) {
            i128::from(Decimal6::ONE)
        } else {
            1
        };
        let program = LeafProgram {
            days: leaf.days,
            counter,
            min: scaled(&leaf.min, scale),
            max: leaf.max.as_ref().map(|max| scaled(max, scale)),
        };
        let mut plain = leaf.clone();
        plain.provenance.clear();
        plain.behaviors.sort();
        plain.behaviors.dedup();
        let (bit, new) = self.bit(path, &Rule::Leaf(plain), program)?;
        if new && self.can_match(path, leaf) {
            behaviors.iter().for_each(|&code| self.program.behavior_leaves[code] |= 1 << bit);
            self.filter(leaf, 1 << bit);
            self.program.orders |= counter == Counter::Orders;
        }
        Ok(bit)
    }

    fn behavior(&self, path: &str, name: &str) -> Result<usize, ModelError> {
        self.vocabulary.iter().position(|known| known == name).ok_or_else(|| {
            let tail = hint(name, self.vocabulary.iter().map(String::as_str));
            ModelError::at(
                path,
                format!(
                    "{:?} is not a behavior of the EventSchema{tail}; behaviors: {}",
                    shown(name),
                    listed(&self.vocabulary)
                ),
            )
        })
    }

    /// Whether the schema maps every column that the leaf looks at; if not, the leaf counts nothing and that is noted.
    fn can_match(&mut self, path: &str, leaf: &Leaf) -> bool {
        let orders = (leaf.count == Count::DistinctOrders).then_some("order_id");
        let sum = if let Count::Sum(measure) = &leaf.count {
            Some(measure.as_str())
        } else {
            None
        };
        let columns = leaf.conditions.iter().map(|(column, _)| column.as_str()).chain(orders).chain(sum);
        let missing: Vec<&str> = columns.filter(|column| self.schema.column(column).is_none()).collect();
        for column in &missing {
            let choices = LABEL_FIELDS
                .into_iter()
                .chain(MEASURE_FIELDS)
                .chain(self.schema.mapped().map(|(name, _)| name));
            let tail = nearest(column, choices)
                .filter(|near| near != column)
                .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            self.program
                .unmatched
                .push(format!("{path}: the schema maps no {column}, so this rule counts nothing{tail}"));
        }
        missing.is_empty()
    }

    fn filter(&mut self, leaf: &Leaf, bit: u64) {
        if leaf.conditions.is_empty() {
            return;
        }
        match self.program.filters.iter_mut().find(|filter| filter.conditions == leaf.conditions) {
            Some(filter) => filter.leaves |= bit,
            None => self.program.filters.push(Filter {
                conditions: leaf.conditions.clone(),
                leaves: bit,
            }),
        }
    }
}

/// Equal parts of an `all` over bits are tested once.
fn all_of(mut parts: Vec<Expression>) -> Expression {
    let mut met = HashSet::new();
    parts.retain(|part| !matches!(part, Expression::AnyBit(bits) if !met.insert(*bits)));
    Expression::All(parts)
}

/// `any` over plain bits is one test.
fn join_any(parts: Vec<Expression>) -> Expression {
    let bits = parts.iter().try_fold(0, |bits, part| {
        if let Expression::AnyBit(more) = part {
            Some(bits | more)
        } else {
            None
        }
    });
    bits.map_or(Expression::Any(parts), Expression::AnyBit)
}

fn scaled(operand: &Operand, scale: i128) -> i128 {
    match operand {
        Operand::Int(value) => i128::from(*value) * scale,
        Operand::Float(value) => Decimal6::from_f64(*value).map_or(i128::MAX, |value| i128::from(value.0)),
        Operand::Text(_) | Operand::Bool(_) => i128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> EventSchema {
        EventSchema::new("c", "b", "a", "t")
    }

    #[test]
    fn every_preset_compiles() {
        let schema = schema()
            .with_field("category", "x")
            .with_field("rating", "r")
            .with_attribute("duration", "d");
        for name in StageModel::presets() {
            let program = compile(&StageModel::preset(name).expect(name), &schema).expect(name);
            assert!(!program.existence, "{name}");
        }
    }

    #[test]
    fn databank_is_eight_bits() {
        let program = compile(
            &StageModel::preset("databank").expect("preset"),
            &schema().with_field("rating", "r"),
        )
        .expect("compiles");
        assert_eq!(program.leaves.len(), 8);
        assert_eq!(program.windows.iter().map(|(days, _)| *days).collect::<Vec<_>>(), [15, 365, 910]);
        assert!(program.unmatched.is_empty());
        let first = program.first_days(20_000);
        assert_eq!((first[2], first[18], first[15], first[19]), (19_986, 19_091, i32::MIN, i32::MAX));
    }

    #[test]
    fn what_cannot_match_is_said() {
        let program = compile(&StageModel::preset("databank").expect("preset"), &schema()).expect("compiles");
        assert_eq!(
            program.unmatched,
            ["stage[3].any[1]: the schema maps no rating, so this rule counts nothing"]
        );
        assert_eq!(program.first_days(0)[20], i32::MAX);
    }

    #[test]
    fn refusals_carry_the_path() {
        let read = |text: &str| StageModel::from_json(text).expect("reads");
        let typo = read(
            r#"{"id":"m","stage":[{"code":"A","name":"a","any":[{"behaviors":["view","purchas"]}]},{"code":"B","name":"b","not":{"behaviors":["view"]}}]}"#,
        );
        assert!(
            compile(&typo, &schema())
                .expect_err("typo")
                .to_string()
                .starts_with("stage[0].any[0].behaviors[1]: \"purchas\" is not a behavior of the EventSchema; did you mean \"purchase\"?")
        );
        let store = read(
            r#"{"id":"m","scope":"store","stage":[{"code":"A","name":"a","any":[{"behaviors":["view"]}]},{"code":"B","name":"b","not":{"behaviors":["view"]}}]}"#,
        );
        assert!(compile(&store, &schema()).expect_err("store").to_string().contains("maps no store"));
        assert!(compile(&store, &schema().with_field("store", "s")).expect("compiles").existence);
    }
}
