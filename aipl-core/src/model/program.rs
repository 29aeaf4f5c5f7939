//! A compiled stage model: bit masks and small tables that kernels can run on integers alone.

use crate::model::data::{Condition, ScopeKind};

/// Most different leaves (rules that count, or states) of a model.
pub const MAX_LEAVES: usize = 64;
/// Up to this many leaves the label of every truth combination is looked up in a table.
const TABLE_LEAVES: usize = 12;

/// A compiled stage model for one event schema.
#[derive(Debug, Clone)]
pub struct Program {
    /// What the stages are about.
    pub scope: ScopeKind,
    /// Touchpoint values that never count here (empty unless the scope is brand × category).
    pub brand_wide: Vec<String>,
    /// The number of stages.
    pub stages: usize,
    /// One entry a leaf; a leaf's place is its bit.
    pub leaves: Vec<LeafProgram>,
    /// Leaf bits by behavior code, conditions not yet looked at.
    pub behavior_leaves: Vec<u64>,
    /// Conditions, each with the leaves that it guards.
    pub filters: Vec<Filter>,
    /// What a behavior does to states, by behavior code.
    pub toggles: Vec<Option<StateToggle>>,
    /// State names and the leaf bit of each.
    pub states: Vec<(String, u64)>,
    /// Measures that some leaf sums, in payload order.
    pub sums: Vec<String>,
    /// Whether some leaf counts distinct orders.
    pub orders: bool,
    /// Whether a consumer with no countable event can be in a stage, so that existence itself must be known.
    pub existence: bool,
    /// Rules that can never match this schema, in words.
    pub unmatched: Vec<String>,
    /// Distinct windows, each with the leaves that it closes: an event `age` days old counts where `age < days`.
    pub windows: Vec<(i32, u64)>,
    pub(crate) expressions: Vec<Expression>,
    pub(crate) table: Vec<u8>,
    /// Leaves true as soon as one event matches.
    pub(crate) once: u64,
    /// Leaves true as soon as two different days match.
    pub(crate) twice: u64,
    /// All other counting leaves.
    pub(crate) counted: Vec<usize>,
}

/// A leaf: a counter and the bounds of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafProgram {
    /// Window length in days; `None` has no limit.
    pub days: Option<u32>,
    /// What is counted.
    pub counter: Counter,
    /// Least value (six decimals for sums).
    pub min: i128,
    /// Greatest value.
    pub max: Option<i128>,
}

/// What a leaf counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Events.
    Events,
    /// Distinct days.
    Days,
    /// Distinct orders.
    Orders,
    /// The sum at this place of the payload.
    Sum(usize),
    /// Nothing: a state, set from outside.
    State,
}

/// A behavior switches a state on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateToggle {
    /// Place in [`Program::states`].
    pub state: u8,
    /// On or off.
    pub on: bool,
}

/// Conditions shared by some leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Column roles and what must hold of each.
    pub conditions: Vec<(String, Condition)>,
    /// The leaves that count an event only if all conditions hold.
    pub leaves: u64,
}

/// A stage's rule over leaf bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    AnyBit(u64),
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
}

impl Expression {
    fn holds(&self, truth: u64) -> bool {
        match self {
            Expression::AnyBit(bits) => truth & bits != 0,
            Expression::Any(parts) => parts.iter().any(|part| part.holds(truth)),
            Expression::All(parts) => parts.iter().all(|part| part.holds(truth)),
            Expression::Not(part) => !part.holds(truth),
        }
    }
}

impl LeafProgram {
    /// Whether a counter's value satisfies the leaf.
    #[must_use]
    pub fn holds(&self, value: i128) -> bool {
        self.counter != Counter::State && value >= self.min && self.max.is_none_or(|max| value <= max)
    }
}

impl Program {
    /// The label of a truth combination: 0 is out, `i + 1` is stage `i`.
    #[must_use]
    pub fn label(&self, truth: u64) -> u8 {
        match self.table.get(truth as usize) {
            Some(&label) => label,
            None => self.evaluate(truth),
        }
    }

    fn evaluate(&self, truth: u64) -> u8 {
        self.expressions
            .iter()
            .rposition(|rule| rule.holds(truth))
            .map_or(0, |stage| stage as u8 + 1)
    }

    /// Leaves still open to an event of this age in days.
    #[must_use]
    pub fn open_leaves(&self, age: i32) -> u64 {
        let mut open = u64::MAX;
        for &(days, leaves) in &self.windows {
            if age >= days {
                open &= !leaves;
            }
        }
        open
    }

    /// Whether every rule asks for one event or for two days, so that a second event of a kind on one day changes nothing.
    #[must_use]
    pub fn counts_once(&self) -> bool {
        self.counted.is_empty()
    }

    /// Optional fields of the schema that the program looks at, each once.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = match self.scope {
            ScopeKind::Brand => Vec::new(),
            ScopeKind::Category => vec!["category"],
            ScopeKind::Store => vec!["store"],
        };
        fields.extend((!self.brand_wide.is_empty()).then_some("touchpoint"));
        fields.extend(self.orders.then_some("order_id"));
        let conditions = self.filters.iter().flat_map(|filter| &filter.conditions);
        fields.extend(conditions.map(|(role, _)| role.as_str()));
        fields.extend(self.sums.iter().map(String::as_str));
        fields.retain(|field| *field != "brand");
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// The truth combination of a history without any countable event.
    #[must_use]
    pub fn empty_truth(&self) -> u64 {
        self.leaves
            .iter()
            .enumerate()
            .filter(|(_, leaf)| leaf.holds(0))
            .fold(0, |truth, (bit, _)| truth | 1 << bit)
    }

    /// The earliest day, by behavior code, on which an event can still matter on `start` or later; `i32::MAX` if it never can.
    #[must_use]
    pub fn first_days(&self, start: i32) -> Vec<i32> {
        let leaf_start = |bit: usize| self.leaves[bit].days.map_or(i32::MIN, |days| start.saturating_sub(days as i32 - 1));
        let of_code = |code: usize| {
            if self.existence || self.toggles[code].is_some() {
                return i32::MIN;
            }
            let leaves = self.behavior_leaves[code];
            (0..self.leaves.len())
                .filter(|bit| leaves >> bit & 1 == 1)
                .map(leaf_start)
                .min()
                .unwrap_or(i32::MAX)
        };
        (0..self.behavior_leaves.len()).map(of_code).collect()
    }

    pub(crate) fn finish(mut self) -> Self {
        for (bit, leaf) in self.leaves.iter().enumerate() {
            let single = leaf.max.is_none() && matches!(leaf.counter, Counter::Events | Counter::Days);
            match (single, leaf.min, leaf.counter) {
                (_, _, Counter::State) => {}
                (true, 1, _) => self.once |= 1 << bit,
                (true, 2, Counter::Days) => self.twice |= 1 << bit,
                _ => self.counted.push(bit),
            }
            if let Some(days) = leaf.days {
                match self.windows.iter_mut().find(|(length, _)| *length == days as i32) {
                    Some((_, leaves)) => *leaves |= 1 << bit,
                    None => self.windows.push((days as i32, 1 << bit)),
                }
            }
        }
        self.windows.sort_unstable();
        if self.leaves.len() <= TABLE_LEAVES {
            self.table = (0..1u64 << self.leaves.len()).map(|truth| self.evaluate(truth)).collect();
        }
        self.existence = self.evaluate(self.empty_truth()) != 0;
        self
    }
}
