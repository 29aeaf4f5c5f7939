//! A compiled stage model: bit masks and small tables that kernels can run on integers alone.

use crate::base::Day;
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
    /// Label fields whose values are carried beside each row, in payload order.
    pub labels: Vec<String>,
    /// Whether a consumer with no countable event can be in a stage, so that existence itself must be known.
    pub existence: bool,
    /// Rules that can never match this schema, in words.
    pub unmatched: Vec<String>,
    /// Distinct windows, each with the leaves that it closes: an event `age` days old counts where `age < days`.
    pub windows: Vec<(i32, u64)>,
    /// Leaves still open by age in days; what holds for the last holds for all greater ones.
    pub(crate) open: Vec<u64>,
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
    /// Nothing: the events are let through for an analysis to see, and no stage depends on them.
    Watched,
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
        !matches!(self.counter, Counter::State | Counter::Watched) && value >= self.min && self.max.is_none_or(|max| value <= max)
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

    /// Leaves still open to an event of this age in days; all of them to one of the day itself or later.
    #[must_use]
    #[inline]
    pub fn open_leaves(&self, age: i32) -> u64 {
        self.open[(age.max(0) as usize).min(self.open.len() - 1)]
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
        fields.extend(self.sums.iter().chain(&self.labels).map(String::as_str));
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

    fn find_windows(&mut self) {
        self.windows.clear();
        for (bit, leaf) in self.leaves.iter().enumerate() {
            let Some(days) = leaf.days.map(|days| days as i32) else { continue };
            match self.windows.iter_mut().find(|(length, _)| *length == days) {
                Some((_, leaves)) => *leaves |= 1 << bit,
                None => self.windows.push((days, 1 << bit)),
            }
        }
        self.windows.sort_unstable();
        // No event is older than the calendar is long.
        let longest = self.windows.last().map_or(0, |(days, _)| (*days).min(Day::MAX.number() + 1));
        let closed = |age: i32| self.windows.iter().filter(move |(days, _)| age >= *days);
        self.open = (0..=longest)
            .map(|age| closed(age).fold(u64::MAX, |open, (_, leaves)| open & !leaves))
            .collect();
    }

    /// A program without stages; what it lets through is what is watched.
    #[must_use]
    pub fn bare(scope: ScopeKind, behaviors: usize) -> Program {
        Program {
            scope,
            brand_wide: Vec::new(),
            stages: 0,
            leaves: Vec::new(),
            behavior_leaves: vec![0; behaviors],
            filters: Vec::new(),
            toggles: vec![None; behaviors],
            states: Vec::new(),
            sums: Vec::new(),
            orders: false,
            labels: Vec::new(),
            existence: false,
            unmatched: Vec::new(),
            windows: Vec::new(),
            open: vec![u64::MAX],
            expressions: Vec::new(),
            table: Vec::new(),
            once: 0,
            twice: 0,
            counted: Vec::new(),
        }
    }

    /// Lets the events of some behaviors through that are at most `days` old (any age if `None`) on the first day of a question, for an
    /// analysis to see; no stage depends on them. Gives their bit in the masks of rows, or nothing if the program is full.
    #[must_use]
    pub fn watch(&mut self, codes: impl IntoIterator<Item = usize>, days: Option<u32>) -> Option<u64> {
        let bit = self.leaves.len();
        if bit >= MAX_LEAVES {
            return None;
        }
        self.leaves.push(LeafProgram {
            days,
            counter: Counter::Watched,
            min: 1,
            max: None,
        });
        codes.into_iter().for_each(|code| self.behavior_leaves[code] |= 1 << bit);
        self.find_windows();
        Some(1 << bit)
    }

    /// The place of a state among [`Program::states`]; its switches are let through from now on. Nothing if the program is full.
    pub fn watch_state(&mut self, name: &str, vocabulary: &[String]) -> Option<usize> {
        if let Some(known) = self.states.iter().position(|(known, _)| known == name) {
            return Some(known);
        }
        let bit = self.leaves.len();
        if bit >= MAX_LEAVES {
            return None;
        }
        self.leaves.push(LeafProgram {
            days: None,
            counter: Counter::State,
            min: 0,
            max: None,
        });
        self.add_state(name, 1 << bit, vocabulary);
        Some(self.states.len() - 1)
    }

    /// Makes a state known, and the behaviors that switch it on and off.
    pub(crate) fn add_state(&mut self, name: &str, bit: u64, vocabulary: &[String]) {
        let state = self.states.len() as u8;
        self.states.push((name.to_owned(), bit));
        let (join, leave) = toggle_names(name);
        for (behavior, on) in [(join, true), (leave, false)] {
            if let Some(code) = vocabulary.iter().position(|known| *known == behavior) {
                self.toggles[code] = Some(StateToggle { state, on });
            }
        }
    }

    /// The place of a measure in the payload of rows; it is carried from now on.
    pub fn carry_sum(&mut self, measure: &str) -> usize {
        self.sums.iter().position(|known| known == measure).unwrap_or_else(|| {
            self.sums.push(measure.to_owned());
            self.sums.len() - 1
        })
    }

    /// The place of a label field in the payload of rows; it is carried from now on.
    pub fn carry_label(&mut self, field: &str) -> usize {
        self.labels.iter().position(|known| known == field).unwrap_or_else(|| {
            self.labels.push(field.to_owned());
            self.labels.len() - 1
        })
    }

    pub(crate) fn finish(mut self) -> Self {
        for (bit, leaf) in self.leaves.iter().enumerate() {
            let single = leaf.max.is_none() && matches!(leaf.counter, Counter::Events | Counter::Days);
            match (single, leaf.min, leaf.counter) {
                (_, _, Counter::State | Counter::Watched) => {}
                (true, 1, _) => self.once |= 1 << bit,
                (true, 2, Counter::Days) => self.twice |= 1 << bit,
                _ => self.counted.push(bit),
            }
        }
        self.find_windows();
        if self.leaves.len() <= TABLE_LEAVES {
            self.table = (0..1u64 << self.leaves.len()).map(|truth| self.evaluate(truth)).collect();
        }
        self.existence = self.evaluate(self.empty_truth()) != 0;
        self
    }
}

/// The behaviors that switch a state on and off.
fn toggle_names(state: &str) -> (String, String) {
    match state {
        "fan" => ("follow".to_owned(), "unfollow".to_owned()),
        _ => (format!("{state}_join"), format!("{state}_leave")),
    }
}
