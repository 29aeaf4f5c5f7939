//! Refusals of the model floor. What they repeat of a model is cut: a model may be one line of megabytes.

use crate::base::suggest::{listed, shown, start};

/// The longest line of a message, in characters.
const LONGEST_LINE: usize = 200;

/// A text with its long lines cut.
fn cut(text: &str) -> String {
    let line = |line: &str| match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// A stage model that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A value of the model is wrong; the path leads to it (`stage[1].any[2].days`).
    #[error("{}: {}", cut(path), cut(problem))]
    Invalid {
        /// Where in the model.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// The text is no TOML or JSON at all.
    #[error("the model is not {format}: {}", cut(problem))]
    Syntax {
        /// `TOML` or `JSON`.
        format: &'static str,
        /// What the parser says, with its line and column.
        problem: String,
    },
    /// The model is larger than any that says something.
    #[error("the model has {found} {what}; at most {limit} are read")]
    TooLarge {
        /// What there is too much of: bytes of text, values, rules, or levels of nesting.
        what: &'static str,
        /// How much there is; counting may end early.
        found: usize,
        /// How much is read.
        limit: usize,
    },
    /// There is no preset of this name.
    #[error("no preset {:?}{hint}; presets: {}", shown(name), choices.join(", "))]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// "did you mean", ready to print.
        hint: String,
        /// The names there are.
        choices: Vec<String>,
    },
    /// There is no stage of this code or name.
    #[error("no stage {:?} in model {:?}; stages: {}", shown(name), shown(model), listed(choices))]
    UnknownStage {
        /// What was asked for.
        name: String,
        /// The model's id.
        model: String,
        /// Codes and names there are.
        choices: Vec<String>,
    },
}

/// Bytes of either part of a message.
const MESSAGE_BYTES: usize = 2_000;

impl ModelError {
    pub(crate) fn at(path: impl Into<String>, problem: impl Into<String>) -> Self {
        // A path holds keys and a problem quotes values, either of any length.
        let cut = |text: String| match start(&text, MESSAGE_BYTES) {
            whole if whole.len() == text.len() => text,
            cut => format!("{cut}…"),
        };
        ModelError::Invalid {
            path: cut(path.into()),
            problem: cut(problem.into()),
        }
    }
}
