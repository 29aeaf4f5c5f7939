//! The stage model as data.
//!
//! The written form (TOML, JSON, dict) is described in `python/docs/how-to/stage-models.md`; reading is in
//! [`crate::model::parse`], writing in [`crate::model::write`].

use std::collections::BTreeMap;

use crate::model::error::ModelError;

/// What a stage is about: a consumer's relation to a brand, to a brand's category, or to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// The brand column.
    Brand,
    /// Brand × category; events without a category do not count there.
    Category,
    /// The store column; events without a store do not count there.
    Store,
}

/// Ordered, exclusive stages over behavior rules: the highest stage whose rule holds at the close of a day is the label.
///
/// ```
/// use aipl_core::model::StageModel;
/// let model = StageModel::preset("databank")?;
/// assert_eq!(model.codes().collect::<Vec<_>>(), ["A", "I", "P", "L"]);
/// assert_eq!(StageModel::from_toml(&model.to_toml())?, model);
/// # Ok::<(), aipl_core::model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StageModel {
    /// The model's own name.
    pub id: String,
    /// Its version, counted up by its owner.
    pub version: i64,
    /// A title in English.
    pub title: Option<String>,
    /// A title in Chinese.
    pub title_zh: Option<String>,
    /// Remarks.
    pub notes: Option<String>,
    /// What the stages are about.
    pub scope: ScopeKind,
    /// Touchpoint values that never count in brand × category scopes; `None` takes [`BRAND_WIDE_TOUCHPOINTS`].
    pub brand_wide_touchpoints: Option<Vec<String>>,
    /// Where values come from, by topic.
    pub verified: BTreeMap<String, String>,
    /// The stages, lowest first.
    pub stages: Vec<Stage>,
}

/// Touchpoints that belong to the whole brand unless a model says otherwise (our names for the families that ECN lists).
pub const BRAND_WIDE_TOUCHPOINTS: [&str; 10] = [
    "paid_ad",
    "super_brand_day",
    "happy_day",
    "live",
    "headline",
    "weitao",
    "tmall_partnership",
    "offline_store",
    "pop_up",
    "nursing_room",
];

/// One stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Short code, as tables show it.
    pub code: String,
    /// English name.
    pub name: String,
    /// Chinese name.
    pub name_zh: Option<String>,
    /// When the stage holds.
    pub rule: Rule,
    /// Source of each field, by field name.
    pub provenance: BTreeMap<String, String>,
}

/// A condition on one consumer's history with one scope.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// At least one holds.
    Any(Vec<Rule>),
    /// All hold.
    All(Vec<Rule>),
    /// It does not hold.
    Not(Box<Rule>),
    /// Enough matching events.
    Leaf(Leaf),
    /// A state is on.
    State {
        /// `member`, `fan`, or an own name.
        name: String,
        /// Source of each field.
        provenance: BTreeMap<String, String>,
    },
}

/// A count of matching events within a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Behaviors that match.
    pub behaviors: Vec<String>,
    /// Length of the closed window `[D − days + 1, D]`; `None` has no limit back in time.
    pub days: Option<u32>,
    /// What is compared with `min` and `max`.
    pub count: Count,
    /// Least value (default 1).
    pub min: Operand,
    /// Greatest value; `None` has no limit.
    pub max: Option<Operand>,
    /// Conditions on columns, all of which must hold.
    pub conditions: Vec<(String, Condition)>,
    /// Source of each field.
    pub provenance: BTreeMap<String, String>,
}

/// What a leaf compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    /// Matching events.
    Events,
    /// Distinct calendar days with a matching event.
    DistinctDays,
    /// Distinct non-null `order_id`s of matching events.
    DistinctOrders,
    /// The sum of a measure over matching events; nulls add nothing.
    Sum(String),
}

/// A value in a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// A condition on a column; a null never satisfies one.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Equal to one of these.
    In(Vec<Operand>),
    /// Within bounds.
    Bounds(Bounds),
}

/// Bounds on a column's value, all of which must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bounds {
    /// At least.
    pub ge: Option<Operand>,
    /// More than.
    pub gt: Option<Operand>,
    /// At most.
    pub le: Option<Operand>,
    /// Less than.
    pub lt: Option<Operand>,
    /// Different from.
    pub ne: Option<Operand>,
}

/// The word for "in no stage".
pub const OUT: &str = "out";

impl StageModel {
    /// Stage codes, lowest first.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.code.as_str())
    }

    /// The place of a stage given by code or name (in either language).
    ///
    /// # Errors
    /// [`ModelError::UnknownStage`] naming the choices.
    pub fn stage_index(&self, name: &str) -> Result<usize, ModelError> {
        let matches = |stage: &Stage| stage.code == name || stage.name == name || stage.name_zh.as_deref() == Some(name);
        // A code is looked for first, so that one stage's code wins over another's name.
        self.stages
            .iter()
            .position(|stage| stage.code == name)
            .or_else(|| self.stages.iter().position(matches))
            .ok_or_else(|| ModelError::UnknownStage {
                name: name.to_owned(),
                model: self.id.clone(),
                choices: self.stages.iter().map(|stage| format!("{} ({})", stage.code, stage.name)).collect(),
            })
    }

    /// Touchpoints that never count in brand × category scopes.
    #[must_use]
    pub fn brand_wide(&self) -> Vec<String> {
        self.brand_wide_touchpoints
            .clone()
            .unwrap_or_else(|| BRAND_WIDE_TOUCHPOINTS.iter().map(ToString::to_string).collect())
    }
}

impl ScopeKind {
    /// `brand`, `category` or `store`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ScopeKind::Brand => "brand",
            ScopeKind::Category => "category",
            ScopeKind::Store => "store",
        }
    }
}

impl Count {
    /// The word in the model format.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Count::Events => "events",
            Count::DistinctDays => "distinct_days",
            Count::DistinctOrders => "distinct_orders",
            Count::Sum(_) => "sum",
        }
    }
}

impl Bounds {
    /// The bounds that are set, with their words.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Operand)> {
        [
            ("ge", &self.ge),
            ("gt", &self.gt),
            ("le", &self.le),
            ("lt", &self.lt),
            ("ne", &self.ne),
        ]
        .into_iter()
        .filter_map(|(word, bound)| bound.as_ref().map(|bound| (word, bound)))
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Operand::Int(value) => write!(f, "{value}"),
            Operand::Float(value) => write!(f, "{value}"),
            Operand::Text(value) => write!(f, "{value:?}"),
            Operand::Bool(value) => write!(f, "{value}"),
        }
    }
}
