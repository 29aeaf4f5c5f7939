//! Days, weeks and months of a range.
//!
//! Ours: weeks end on Sunday, and a step that the range cuts off ends with the range.

use crate::analyses::asked::AnalysisError;
use crate::base::Day;

/// How a range of days is cut into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Step {
    /// Every day.
    #[default]
    Day,
    /// The Sunday of every week.
    Week,
    /// The last day of every month.
    Month,
}

impl Step {
    /// Reads `day`, `week` or `month`.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<Step, AnalysisError> {
        Ok(match text {
            "day" => Step::Day,
            "week" => Step::Week,
            "month" => Step::Month,
            _ => {
                return Err(AnalysisError::parameter(
                    "step",
                    format!("{text:?} is not one of \"day\", \"week\", \"month\""),
                ));
            }
        })
    }

    /// `day`, `week` or `month`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Step::Day => "day",
            Step::Week => "week",
            Step::Month => "month",
        }
    }

    /// Whether a step ends with the day.
    fn ends(self, day: i32) -> bool {
        match self {
            Step::Day => true,
            // 1970-01-01 was a Thursday.
            Step::Week => (day + 3).rem_euclid(7) == 6,
            Step::Month => Day::from_number(i64::from(day) + 1).is_ok_and(|next| next.to_string().ends_with("-01")),
        }
    }

    /// The last day of every step of a range.
    #[must_use]
    pub fn days(self, start: Day, end: Day) -> Vec<Day> {
        (start.number()..=end.number())
            .filter(|&day| day == end.number() || self.ends(day))
            .filter_map(|day| Day::from_number(i64::from(day)).ok())
            .collect()
    }

    /// The first day number of the calendar day, week or month that a day lies in.
    #[must_use]
    pub fn first_day(self, day: i32) -> i32 {
        (0..31).map(|back| day - back).find(|&first| self.ends(first - 1)).unwrap_or(day)
    }

    /// The first day number of the calendar day, week or month after the one that a day lies in.
    #[must_use]
    pub fn next(self, day: i32) -> i32 {
        (0..31).map(|ahead| day + ahead).find(|&last| self.ends(last)).unwrap_or(day) + 1
    }
}

/// The steps of a range, and the step of each of its days.
#[derive(Debug)]
pub(crate) struct Steps {
    pub start: i32,
    pub end: i32,
    pub days: Vec<Day>,
    step_of: Vec<u32>,
}

impl Steps {
    pub fn new(step: Step, start: Day, end: Day) -> Self {
        let days = step.days(start, end);
        let mut step_of = Vec::with_capacity(days.len());
        let mut at = 0;
        for day in start.number()..=end.number() {
            step_of.push(at);
            at += u32::from(days[at as usize].number() == day);
        }
        Steps {
            start: start.number(),
            end: end.number(),
            days,
            step_of,
        }
    }

    pub fn of(&self, day: i32) -> usize {
        self.step_of[(day - self.start) as usize] as usize
    }

    /// The steps whose last day lies between two days of the range.
    pub fn within(&self, first: i32, last: i32) -> std::ops::Range<usize> {
        let end = self.of(last);
        let end = if self.days[end].number() <= last { end + 1 } else { end };
        self.of(first)..end
    }

    /// The first and last day of a step.
    pub fn bounds(&self, step: usize) -> (i32, i32) {
        let first = if step == 0 { self.start } else { self.days[step - 1].number() + 1 };
        (first, self.days[step].number())
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    fn days(step: Step, start: &str, end: &str) -> Vec<String> {
        let day = |text: &str| text.parse::<Day>().expect("a day");
        step.days(day(start), day(end)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn steps_end_on_sundays_month_ends_and_with_the_range() {
        assert_eq!(
            days(Step::Week, "2024-02-26", "2024-03-12"),
            ["2024-03-03", "2024-03-10", "2024-03-12"]
        );
        assert_eq!(
            days(Step::Month, "2024-01-31", "2024-03-31"),
            ["2024-01-31", "2024-02-29", "2024-03-31"]
        );
        assert_eq!(days(Step::Month, "2023-02-10", "2023-03-01"), ["2023-02-28", "2023-03-01"]);
        assert_eq!(
            days(Step::Day, "2024-02-28", "2024-03-01"),
            ["2024-02-28", "2024-02-29", "2024-03-01"]
        );
        assert_eq!(days(Step::Week, "2024-03-03", "2024-03-03"), ["2024-03-03"]);
        assert_eq!(days(Step::Month, "2199-12-30", "2199-12-31"), ["2199-12-31"]);
    }
}
