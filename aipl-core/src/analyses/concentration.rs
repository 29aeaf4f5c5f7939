//! Concentration: how much of a brand's consumers lies in a target audience, day by day.
//!
//! Definition: `python/docs/definitions/assets.md` (concentration; definitions §7.2), the official formulas.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, StringArray};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, check_range};
use crate::analyses::labels::{check_scope_text, counts, percents, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::steps::{Step, Steps};
use crate::analyses::totals::{MAX_CELLS, bit_of, check_day, check_words, people, stage_named, table, total};
use crate::audience::Audience;
use crate::base::Day;
use crate::model::StageModel;
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::{Bucket, Runtime, ScopeValue, Timelines};

/// The row of all stages together.
pub const ACTIVE: &str = "active";

/// Optional parameters of [`concentration`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConcentrationParams {
    /// Only these scopes.
    pub scopes: Option<Vec<ScopeValue>>,
    /// How far apart the days are.
    pub step: Step,
}

/// Differences by scope, line (all stages, then each) and step: of everybody, and of the audience.
#[derive(Default)]
struct Cells {
    places: Vec<[i64; 2]>,
    too_many: usize,
}

/// On each day, how many percent of a brand's active consumers, and of those in each stage, are in the audience.
///
/// # Shape and units
/// `day` (date32), `scope`, `stage` (utf8: `active` for all stages together, then each code), `consumers` (int64: in the stage at the close of the day),
/// `in_audience` (of these), `concentration` (percent, in_audience ÷ consumers; null where nobody is in the stage). Every day (the last of each step) ×
/// scope × stage, in this order.
///
/// # Errors
/// A reversed range; a model that does not fit; more than 20 million cells; what the source refuses.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use aipl_core::analyses::*;
/// # use aipl_core::{base::Day, base::statistics::Split, event::EventSchema, model::StageModel, source::Events};
/// # use aipl_core::timeline::{Runtime, ScopeValue};
/// # use arrow::array::{AsArray, Float64Array, RecordBatch, StringArray};
/// # use arrow::datatypes::{Float64Type, Int64Type};
/// # let text = |values: [&'static str; 4]| Arc::new(StringArray::from(values.to_vec())) as _;
/// # let batch = RecordBatch::try_from_iter([
/// #     ("user", text(["u1", "u1", "u2", "u3"])),
/// #     ("brand", text(["b"; 4])),
/// #     ("action", text(["purchase", "purchase", "purchase", "view"])),
/// #     ("at", text(["2024-05-01", "2024-06-01", "2024-06-28", "2024-06-29"])),
/// #     ("paid", Arc::new(Float64Array::from(vec![Some(50.0), Some(50.0), Some(30.0), None])) as _),
/// #     ("kind", text(["tea", "tea", "coffee", "tea"])),
/// # ])?;
/// # let schema = EventSchema::new("user", "brand", "action", "at").with_field("amount", "paid").with_field("category", "kind");
/// # let events = Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?;
/// # let (model, brand, runtime) = (StageModel::preset("databank")?, ScopeValue::of("b"), Runtime::default());
/// # let june: (Day, Day) = ("2024-06-01".parse()?, "2024-06-30".parse()?);
/// // u1 buys for 50 on May 1 and June 1, u2 for 30 on June 28; u3 views on June 29.
/// let buyers = snapshot(&events, &model, june.1, &SnapshotParams::default(), &runtime)?.audience(&brand, "P")?;
/// let day = (june.1, june.1);
/// let answer = concentration(&events, &model, &buyers, day, &ConcentrationParams::default(), &runtime)?;
/// // in any stage, A, I, P, L
/// assert_eq!(answer.table["in_audience"].as_primitive::<Int64Type>().values(), &[1, 0, 0, 1, 0]);
/// assert_eq!(concentrated(&events, &model, &buyers, (day, &ConcentrationParams::default()), (&brand, "active", june.1, "in_audience"), &runtime)?.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn concentration(
    source: &dyn Timelines,
    model: &StageModel,
    audience: &Audience,
    (start, end): (Day, Day),
    params: &ConcentrationParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    check_range(start, end)?;
    check_words(model, &[ACTIVE])?;
    let mut asked = Asked::new(source, model, params.scopes.as_deref())?;
    let within = asked.within("audience", audience)?;
    let steps = Steps::new(params.step, start, end);
    let (lines, width) = (asked.program.stages + 1, steps.days.len() + 1);
    let each = |bucket: &Bucket<'_>, cells: &mut Cells| {
        let size = bucket.scopes.len().saturating_mul(lines).saturating_mul(width);
        if size > MAX_CELLS {
            cells.too_many = size;
            return;
        }
        cells.places.resize(size, [0; 2]);
        let members = within.members(bucket);
        let mut finder = IntervalFinder::new(
            &asked.program,
            bucket.masks,
            bucket.timelines.layout(),
            start.number(),
            end.number(),
        );
        bucket.timelines.for_each_history(|history| {
            let inside = i64::from(members.contains(history.consumer));
            finder.find(&history, |Interval { label, first, last }| {
                let range = steps.within(first, last);
                if label == 0 || range.is_empty() {
                    return;
                }
                for line in [0, usize::from(label)] {
                    let own = &mut cells.places[(history.scope as usize * lines + line) * width..][..width];
                    for (step, change) in [(range.start, 1), (range.end, -1)] {
                        own[step][0] += change;
                        own[step][1] += change * inside;
                    }
                }
            });
        });
    };
    let merge = |all: &mut Cells, more: Cells| {
        all.too_many = all.too_many.max(more.too_many);
        all.places.resize(all.places.len().max(more.places.len()), [0; 2]);
        for (all, more) in all.places.iter_mut().zip(more.places) {
            (all[0], all[1]) = (all[0] + more[0], all[1] + more[1]);
        }
    };
    let (mut cells, about) = total(&asked, &asked.question(start, end), runtime, each, merge)?;
    if cells.too_many > 0 {
        let problem = format!(
            "{} cells (scopes × stages × days) are more than {MAX_CELLS}; name scopes, or take a longer step",
            cells.too_many
        );
        return Err(AnalysisError::parameter("scopes", problem));
    }
    let scopes = about.scopes.len();
    check_scope_text(&about.scopes, asked.scope_type(), lines * steps.days.len())?;
    cells.places.resize(scopes * lines * width, [0; 2]);
    for line in cells.places.chunks_mut(width) {
        for step in 1..width {
            (line[step][0], line[step][1]) = (line[step][0] + line[step - 1][0], line[step][1] + line[step - 1][1]);
        }
    }
    let rows = steps.days.len() * scopes * lines;
    let place = |row: usize| (row / (scopes * lines).max(1), row % (scopes * lines).max(1));
    let cell = |row: usize| cells.places[place(row).1 * width + place(row).0];
    let stage = |row: usize| match row % lines {
        0 => ACTIVE,
        stage => model.stages[stage - 1].code.as_str(),
    };
    let columns: [(&str, ArrayRef); 6] = [
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                (0..rows).map(|row| steps.days[place(row).0].number()),
            )),
        ),
        (
            "scope",
            scope_array(&about.scopes, asked.scope_type(), (0..rows).map(|row| place(row).1 / lines)),
        ),
        ("stage", Arc::new(StringArray::from_iter_values((0..rows).map(stage)))),
        ("consumers", counts((0..rows).map(|row| cell(row)[0]))),
        ("in_audience", counts((0..rows).map(|row| cell(row)[1]))),
        ("concentration", percents((0..rows).map(|row| (cell(row)[1], Some(cell(row)[0]))))),
    ];
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("step", json!(params.step.code())),
        ("audience", json!(audience.made())),
    ];
    Ok(asked.answer(
        table(columns)?,
        (
            "concentration",
            "percent of the distinct consumers in the stage at the close of the day",
        ),
        &parameters,
        about,
        Vec::new(),
        runtime,
    ))
}

/// Groups of [`concentration`], in order of their bits.
pub const CONCENTRATION_GROUPS: [&str; 2] = ["in_audience", "consumers"];

/// The consumers in a stage (by code or name, or `active`) of a scope at the close of a day: those of the audience (`in_audience`), or all
/// (`consumers`).
///
/// # Errors
/// An unknown scope, stage or group; what the source refuses.
pub fn concentrated(
    source: &dyn Timelines,
    model: &StageModel,
    audience: &Audience,
    ((start, end), params): ((Day, Day), &ConcentrationParams),
    (scope, stage, day, group): (&ScopeValue, &str, Day, &str),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let of_all = bit_of("who", group, &CONCENTRATION_GROUPS)? == 2;
    check_range(start, end)?;
    check_words(model, &[ACTIVE])?;
    check_day("day", day, &params.step.days(start, end))?;
    // Of the same days as the table, so that the same scopes are known.
    let asked = Asked::new(source, model, params.scopes.as_deref())?;
    let wanted = if stage == ACTIVE {
        None
    } else {
        Some(stage_named("stage", model, stage, &[ACTIVE])?)
    };
    let within = Within::new(audience, source)?;
    let made = match of_all {
        true => format!("{scope} {stage} on {day}"),
        false => format!("{} in {scope} {stage} on {day}", audience.made()),
    };
    people(
        &asked,
        &asked.question(start, end),
        Some(scope),
        &made,
        runtime,
        |bucket, place, push| {
            let members = within.members(bucket);
            let mut labeler = crate::stage::Labeler::new(&asked.program, bucket.masks, bucket.timelines.layout(), day.number());
            bucket.timelines.for_each_history(|history| {
                if Some(history.scope as usize) != place || !(of_all || members.contains(history.consumer)) {
                    return;
                }
                let label = labeler.label(&history);
                if label > 0 && wanted.is_none_or(|wanted| wanted == label) {
                    push(history.consumer);
                }
            });
        },
    )
}
