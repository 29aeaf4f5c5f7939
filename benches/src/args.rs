//! The command line of `generate`: flags to checked parameters, refusals as typed errors.

use std::fmt;
use std::path::PathBuf;

use crate::params::{GeneratorParams, IdKind, ParamsError, SortOrder};

/// What the `generate` program prints for `--help`.
pub const USAGE: &str = "\
Writes a generated event log as zstd Parquet files.

usage: generate --out DIR [--FLAG VALUE]...

  --rows N          events in all files together     (default 1000000)
  --consumers N     size of the consumer population  (default 100000)
  --brands N        number of brands                 (default 500)
  --days N          days covered, from 2024-01-01    (default 365)
  --seed N          same seed, same files            (default 7)
  --ids int|text    type of user_id                  (default int)
  --row-group N     rows in one Parquet row group    (default 1000000)
  --files N         files the rows are split over    (default 1)
  --sort none|time  order of the rows                (default none)
  --out DIR         folder to write to; created if missing, refused if it holds Parquet files
";

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print [`USAGE`].
    Help,
    /// Write the log that `params` describe into the folder `out`.
    Generate {
        /// What to generate.
        params: GeneratorParams,
        /// Folder the files go to.
        out: PathBuf,
    },
}

/// Why a command line was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgsError {
    /// A flag this program does not have.
    UnknownFlag(String),
    /// A flag at the end of the line, without its value.
    MissingValue(&'static str),
    /// A flag given twice.
    Repeated(&'static str),
    /// A value that is not a whole number in range of the flag's type.
    NotANumber {
        /// The flag.
        flag: &'static str,
        /// The value as given.
        value: String,
    },
    /// A value outside the flag's choices.
    NotAChoice {
        /// The flag.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// The values the flag takes.
        choices: &'static str,
    },
    /// No `--out`.
    MissingOut,
    /// The values are well formed but do not describe a log.
    Params(ParamsError),
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlag(flag) => {
                write!(f, "unknown argument {flag:?}; --help lists the flags")
            }
            Self::MissingValue(flag) => write!(f, "{flag} needs a value"),
            Self::Repeated(flag) => write!(f, "{flag} is given twice"),
            Self::NotANumber { flag, value } => {
                write!(f, "{flag}: {value:?} is not a whole number in range")
            }
            Self::NotAChoice { flag, value, choices } => write!(f, "{flag}: {value:?} is not one of {choices}"),
            Self::MissingOut => write!(f, "--out DIR is required"),
            Self::Params(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArgsError {}

impl From<ParamsError> for ArgsError {
    fn from(error: ParamsError) -> Self {
        Self::Params(error)
    }
}

const FLAGS: [&str; 10] = [
    "--rows",
    "--consumers",
    "--brands",
    "--days",
    "--seed",
    "--ids",
    "--row-group",
    "--files",
    "--sort",
    "--out",
];

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// [`ArgsError`] naming the flag and the value that cannot be used.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, ArgsError> {
    let mut args = args.into_iter();
    let mut params = GeneratorParams::default();
    let mut out = None;
    let mut seen = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--help" || arg == "-h" {
            return Ok(Command::Help);
        }
        let Some(flag) = FLAGS.into_iter().find(|flag| *flag == arg) else {
            return Err(ArgsError::UnknownFlag(arg));
        };
        if seen.contains(&flag) {
            return Err(ArgsError::Repeated(flag));
        }
        seen.push(flag);
        let value = args.next().ok_or(ArgsError::MissingValue(flag))?;
        match flag {
            "--rows" => params.rows = number(flag, value)?,
            "--consumers" => params.consumers = number(flag, value)?,
            "--brands" => params.brands = number(flag, value)?,
            "--days" => params.days = number(flag, value)?,
            "--seed" => params.seed = number(flag, value)?,
            "--row-group" => params.row_group = number(flag, value)?,
            "--files" => params.files = number(flag, value)?,
            "--ids" => {
                let choices = [("int", IdKind::Int), ("text", IdKind::Text)];
                params.ids = choice(flag, value, "int, text", &choices)?;
            }
            "--sort" => {
                let choices = [("none", SortOrder::None), ("time", SortOrder::Time)];
                params.sort = choice(flag, value, "none, time", &choices)?;
            }
            _ => out = Some(PathBuf::from(value)),
        }
    }
    params.check()?;
    Ok(Command::Generate {
        params,
        out: out.ok_or(ArgsError::MissingOut)?,
    })
}

fn number<T: std::str::FromStr>(flag: &'static str, value: String) -> Result<T, ArgsError> {
    value.replace('_', "").parse().map_err(|_| ArgsError::NotANumber { flag, value })
}

fn choice<T: Copy>(flag: &'static str, value: String, choices: &'static str, values: &[(&str, T)]) -> Result<T, ArgsError> {
    match values.iter().find(|(name, _)| *name == value) {
        Some((_, chosen)) => Ok(*chosen),
        None => Err(ArgsError::NotAChoice { flag, value, choices }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, ArgsError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn message(line: &str) -> String {
        parse_line(line).map_or_else(|error| error.to_string(), |command| format!("{command:?}"))
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let line = "--rows 2_000 --consumers 30 --brands 4 --days 5 --seed 6 --ids text \
                    --row-group 70 --files 8 --sort time --out some/where";
        let params = GeneratorParams {
            rows: 2000,
            consumers: 30,
            brands: 4,
            days: 5,
            seed: 6,
            ids: IdKind::Text,
            row_group: 70,
            files: 8,
            sort: SortOrder::Time,
        };
        let out = PathBuf::from("some/where");
        assert_eq!(parse_line(line), Ok(Command::Generate { params, out }));
    }

    #[test]
    fn what_is_left_out_has_the_documented_default() {
        for (flag, value) in [
            ("--rows", GeneratorParams::default().rows.to_string()),
            ("--consumers", GeneratorParams::default().consumers.to_string()),
            ("--brands", GeneratorParams::default().brands.to_string()),
            ("--days", GeneratorParams::default().days.to_string()),
            ("--seed", GeneratorParams::default().seed.to_string()),
            ("--row-group", GeneratorParams::default().row_group.to_string()),
            ("--files", GeneratorParams::default().files.to_string()),
        ] {
            let line = USAGE.lines().find(|line| line.trim_start().starts_with(flag));
            let documented = line.is_some_and(|l| l.ends_with(&format!("(default {value})")));
            assert!(documented, "{flag} {value}");
        }
    }

    #[test]
    fn refusals_name_the_flag_and_the_value() {
        assert_eq!(message("--out"), "--out needs a value");
        assert_eq!(message("--rows 10"), "--out DIR is required");
        assert_eq!(message("--row 10"), "unknown argument \"--row\"; --help lists the flags");
        assert_eq!(message("--rows ten"), "--rows: \"ten\" is not a whole number in range");
        assert_eq!(message("--rows -1"), "--rows: \"-1\" is not a whole number in range");
        assert_eq!(message("--ids uuid"), "--ids: \"uuid\" is not one of int, text");
        assert_eq!(message("--sort up"), "--sort: \"up\" is not one of none, time");
        assert_eq!(message("--seed 1 --seed 2"), "--seed is given twice");
        assert_eq!(message("--brands 0 --out d"), "brands: 0 is not between 1 and 100000");
    }

    #[test]
    fn help_wins() {
        assert_eq!(parse_line("--rows 5 --help"), Ok(Command::Help));
    }
}
