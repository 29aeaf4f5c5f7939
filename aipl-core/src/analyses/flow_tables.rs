//! Tables of a flow: the matrix, its rates, the classes, and the named scenes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use crate::analyses::asked::{AnalysisError, arrow_fault};
use crate::analyses::flow::Flow;
use crate::analyses::labels::{counts, label_array, label_code, percent, percents, scope_array};

/// A named flow (流转场景): its code, the labels it comes from and those it goes to. Names are the source's; the cells are ours.
struct Scene {
    code: &'static str,
    name_zh: &'static str,
    from: &'static [usize],
    to: &'static [usize],
}

const fn scene(code: &'static str, name_zh: &'static str, from: &'static [usize], to: &'static [usize]) -> Scene {
    Scene { code, name_zh, from, to }
}

/// For models of six stages, as O and A1 to A5: who is in no stage at all counts with O.
const SIX: [Scene; 6] = [
    scene("acquisition", "拉新", &[0, 1], &[2, 3, 4, 5]),
    scene("pooling", "蓄水", &[2], &[3]),
    scene("seeding", "种草", &[2, 3], &[4]),
    scene("direct_conversion", "直接转化", &[0, 1, 2, 3], &[5]),
    scene("seeded_conversion", "种草转化", &[4], &[5]),
    scene("repurchase", "复购", &[5], &[6]),
];
/// For models of five stages, as A1 to A5.
const FIVE: [Scene; 6] = [
    scene("acquisition", "拉新", &[0], &[1, 2, 3, 4]),
    scene("pooling", "蓄水", &[1], &[2]),
    scene("seeding", "种草", &[1, 2], &[3]),
    scene("direct_conversion", "直接转化", &[0, 1, 2], &[4]),
    scene("seeded_conversion", "种草转化", &[3], &[4]),
    scene("repurchase", "复购", &[4], &[5]),
];
/// For models of four stages, as A, I, P, L: aware stands for A1 and A2, so pooling, a move between these, is not among them.
const FOUR: [Scene; 5] = [
    scene("acquisition", "拉新", &[0], &[1, 2, 3]),
    scene("seeding", "种草", &[1], &[2]),
    scene("direct_conversion", "直接转化", &[0, 1], &[3]),
    scene("seeded_conversion", "种草转化", &[2], &[3]),
    scene("repurchase", "复购", &[3], &[4]),
];

/// Rows of a table under construction: scope place, label at first, label at last.
type Cells = Vec<(usize, usize, usize)>;

impl Flow {
    fn scope_column(&self, places: impl ExactSizeIterator<Item = usize>) -> ArrayRef {
        scope_array(&self.scopes, self.scope_type, places)
    }

    /// All cells but that of those who are out on both days; stages from the lowest, `out` last.
    fn grid(&self, with_out: bool) -> Cells {
        let labels = self.labels();
        let order = || (1..labels).chain([0]);
        (0..self.scopes.len())
            .flat_map(|scope| order().flat_map(move |from| order().map(move |to| (scope, from, to))))
            .filter(|&(_, from, to)| (from, to) != (0, 0) && (with_out || from != 0))
            .collect()
    }

    /// `scope, from_stage, to_stage, consumers`: every scope × stage × stage, `out` on both axes, zeros included.
    ///
    /// Whoever is out on both days is not counted, so that cell is missing.
    ///
    /// # Errors
    /// None but faults of Arrow itself.
    pub fn matrix(&self) -> Result<RecordBatch, AnalysisError> {
        let cells = self.grid(true);
        RecordBatch::try_from_iter([
            ("scope", self.scope_column(cells.iter().map(|cell| cell.0))),
            ("from_stage", label_array(&self.model, cells.iter().map(|cell| cell.1))),
            ("to_stage", label_array(&self.model, cells.iter().map(|cell| cell.2))),
            (
                "consumers",
                counts(cells.iter().map(|&(scope, from, to)| self.cell(scope, from, to))),
            ),
        ])
        .map_err(arrow_fault)
    }

    /// `scope, from_stage, to_stage, consumers, base, percent`: of the consumers in a stage at first (`base`), how many percent are
    /// in each stage, or out, at last. The percents of a stage add up to 100; null where nobody was in the stage.
    ///
    /// # Errors
    /// None but faults of Arrow itself.
    pub fn rates(&self) -> Result<RecordBatch, AnalysisError> {
        let cells = self.grid(false);
        let base = |scope: usize, from: usize| (0..self.labels()).map(|to| self.cell(scope, from, to)).sum::<i64>();
        let rows: Vec<(i64, i64)> = cells
            .iter()
            .map(|&(scope, from, to)| (self.cell(scope, from, to), base(scope, from)))
            .collect();
        RecordBatch::try_from_iter([
            ("scope", self.scope_column(cells.iter().map(|cell| cell.0))),
            ("from_stage", label_array(&self.model, cells.iter().map(|cell| cell.1))),
            ("to_stage", label_array(&self.model, cells.iter().map(|cell| cell.2))),
            ("consumers", counts(rows.iter().map(|row| row.0))),
            ("base", counts(rows.iter().map(|row| row.1))),
            ("percent", percents(rows.iter().map(|row| (row.0, Some(row.1))))),
        ])
        .map_err(arrow_fault)
    }

    /// `scope, from_stage, consumers, kept, advanced, regressed, lost, new, returned`: what became of the consumers of each stage
    /// (consumers = kept + advanced + regressed + lost), and in the row `out` who came (consumers = new + returned).
    ///
    /// # Errors
    /// None but faults of Arrow itself.
    pub fn classes(&self) -> Result<RecordBatch, AnalysisError> {
        let labels = self.labels();
        let order = || (1..labels).chain([0]);
        let rows: Vec<(usize, usize)> = (0..self.scopes.len())
            .flat_map(|scope| order().map(move |from| (scope, from)))
            .collect();
        let sum = |wanted: &dyn Fn(usize, usize) -> bool| {
            let of_row = |&(scope, from): &(usize, usize)| {
                (0..labels)
                    .filter(|&to| wanted(from, to))
                    .map(|to| self.cell(scope, from, to))
                    .sum::<i64>()
            };
            counts(rows.iter().map(of_row))
        };
        let came_back = |&(scope, from): &(usize, usize)| match from {
            0 => (1..labels).map(|to| self.came_back(scope, to)).sum::<i64>(),
            _ => 0,
        };
        let came = |&(scope, from): &(usize, usize)| match from {
            0 => (1..labels).map(|to| self.cell(scope, 0, to)).sum::<i64>(),
            _ => 0,
        };
        RecordBatch::try_from_iter([
            ("scope", self.scope_column(rows.iter().map(|row| row.0))),
            ("from_stage", label_array(&self.model, rows.iter().map(|row| row.1))),
            ("consumers", sum(&|_, _| true)),
            ("kept", sum(&|from, to| from != 0 && to == from)),
            ("advanced", sum(&|from, to| from != 0 && to > from)),
            ("regressed", sum(&|from, to| from != 0 && to != 0 && to < from)),
            ("lost", sum(&|from, to| from != 0 && to == 0)),
            ("new", counts(rows.iter().map(|row| came(row) - came_back(row)))),
            ("returned", counts(rows.iter().map(came_back))),
        ])
        .map_err(arrow_fault)
    }

    /// The named scenes: `scope, scene, name_zh, from_stages, to_stages, consumers, base, percent`, and beside them the same of a
    /// benchmark (`benchmark_consumers, benchmark_base, benchmark_percent`) with the differences (`difference_consumers`,
    /// `difference_percent`), null without one.
    ///
    /// `base` is the consumers in the from-stages at first; null where `out` is among these, since nobody counts the whole world.
    /// A benchmark is one scope, set beside every scope of this flow. Names: definitions page; the cells behind them are ours.
    ///
    /// # Errors
    /// A model of other than four to six stages; a benchmark of another number of stages.
    pub fn scenes(&self, benchmark: Option<(&Flow, usize)>) -> Result<RecordBatch, AnalysisError> {
        let scenes: &[Scene] = match self.model.stages.len() {
            6 => &SIX,
            5 => &FIVE,
            4 => &FOUR,
            stages => {
                let problem = format!("named scenes are for models of 4, 5 or 6 stages; {:?} has {stages}", self.model.id);
                return Err(AnalysisError::parameter("model", problem));
            }
        };
        if benchmark.is_some_and(|(other, _)| other.labels() != self.labels()) {
            return Err(AnalysisError::parameter("benchmark", "its model has another number of stages"));
        }
        let rows: Vec<(usize, &Scene)> = (0..self.scopes.len())
            .flat_map(|scope| scenes.iter().map(move |scene| (scope, scene)))
            .collect();
        let own: Vec<(i64, Option<i64>)> = rows.iter().map(|(scope, scene)| self.scene(*scope, scene)).collect();
        let other: Vec<Option<(i64, Option<i64>)>> = rows
            .iter()
            .map(|(_, scene)| benchmark.map(|(flow, scope)| flow.scene(scope, scene)))
            .collect();
        let ratio = |(count, base): (i64, Option<i64>)| percent(count, base);
        let pairs = || own.iter().zip(&other);
        let text = |of: &dyn Fn(&Scene) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| of(row.1)))) as ArrayRef;
        let stages = |labels: &[usize]| {
            labels
                .iter()
                .map(|&label| label_code(&self.model, label))
                .collect::<Vec<_>>()
                .join("+")
        };
        let optional = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let floats = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([
            ("scope", self.scope_column(rows.iter().map(|row| row.0)), false),
            ("scene", text(&|scene| scene.code.to_owned()), false),
            ("name_zh", text(&|scene| scene.name_zh.to_owned()), false),
            ("from_stages", text(&|scene| stages(scene.from)), false),
            ("to_stages", text(&|scene| stages(scene.to)), false),
            ("consumers", counts(own.iter().map(|row| row.0)), false),
            ("base", optional(own.iter().map(|row| row.1).collect()), true),
            ("percent", floats(own.iter().map(|row| ratio(*row)).collect()), true),
            (
                "benchmark_consumers",
                optional(other.iter().map(|row| row.map(|row| row.0)).collect()),
                true,
            ),
            (
                "benchmark_base",
                optional(other.iter().map(|row| row.and_then(|row| row.1)).collect()),
                true,
            ),
            (
                "benchmark_percent",
                floats(other.iter().map(|row| row.and_then(ratio)).collect()),
                true,
            ),
            (
                "difference_consumers",
                optional(pairs().map(|(own, other)| other.map(|other| own.0 - other.0)).collect()),
                true,
            ),
            (
                "difference_percent",
                floats(pairs().map(|(own, other)| Some(ratio(*own)? - ratio((*other)?)?)).collect()),
                true,
            ),
        ])
        .map_err(arrow_fault)
    }

    /// Consumers of a scene, and those in its from-stages at first.
    fn scene(&self, scope: usize, scene: &Scene) -> (i64, Option<i64>) {
        let sum = |to: &[usize]| -> i64 {
            scene
                .from
                .iter()
                .flat_map(|&from| to.iter().map(move |&to| self.cell(scope, from, to)))
                .sum()
        };
        let all: Vec<usize> = (0..self.labels()).collect();
        (sum(scene.to), (!scene.from.contains(&0)).then(|| sum(&all)))
    }
}
