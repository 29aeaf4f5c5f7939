//! What a generated log is like, and which logs there can be.

use std::fmt;

/// Days from 1970-01-01 to 2024-01-01, the first day of every generated log.
pub const FIRST_DAY: i64 = 19_723;

/// Type of the `user_id` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// 64-bit integers from 1.
    Int,
    /// Text such as `u0001234`.
    Text,
}

/// Order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Every row's time is drawn from the whole span.
    None,
    /// Times ascend over all rows and files.
    Time,
}

/// What to generate; [`check`](Self::check) says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorParams {
    /// Events in all files together.
    pub rows: u64,
    /// Size of the population the consumers are drawn from.
    pub consumers: u64,
    /// Number of brands.
    pub brands: u32,
    /// Days covered, from [`FIRST_DAY`] on.
    pub days: u32,
    /// Seed of every draw.
    pub seed: u64,
    /// Type of `user_id`.
    pub ids: IdKind,
    /// Rows in one Parquet row group.
    pub row_group: usize,
    /// Files that the rows are split over.
    pub files: u32,
    /// Order of the rows.
    pub sort: SortOrder,
}

impl Default for GeneratorParams {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            consumers: 100_000,
            brands: 500,
            days: 365,
            seed: 7,
            ids: IdKind::Int,
            row_group: 1_000_000,
            files: 1,
            sort: SortOrder::None,
        }
    }
}

/// A parameter outside its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamsError {
    /// Name of the parameter.
    pub field: &'static str,
    /// Its value.
    pub actual: u64,
    /// The least value allowed.
    pub minimum: u64,
    /// The greatest value allowed.
    pub maximum: u64,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            actual,
            minimum,
            maximum,
        } = self;
        write!(f, "{field}: {actual} is not between {minimum} and {maximum}")
    }
}

impl std::error::Error for ParamsError {}

impl GeneratorParams {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ParamsError`] for the first field out of range.
    pub fn check(&self) -> Result<(), ParamsError> {
        let ranges = [
            ("rows", self.rows, 0, 100_000_000_000),
            ("consumers", self.consumers, 1, 10_000_000_000),
            ("brands", u64::from(self.brands), 1, 100_000),
            ("days", u64::from(self.days), 1, 3_650),
            ("row_group", self.row_group as u64, 1, 100_000_000),
            ("files", u64::from(self.files), 1, 10_000),
        ];
        for (field, actual, minimum, maximum) in ranges {
            if !(minimum..=maximum).contains(&actual) {
                return Err(ParamsError {
                    field,
                    actual,
                    minimum,
                    maximum,
                });
            }
        }
        Ok(())
    }
}
