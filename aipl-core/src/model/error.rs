//! Refusals of the model floor.

/// A stage model that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A value of the model is wrong; the path leads to it (`stage[1].any[2].days`).
    #[error("{path}: {problem}")]
    Invalid {
        /// Where in the model.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// The text is no TOML or JSON at all.
    #[error("the model is not {format}: {problem}")]
    Syntax {
        /// `TOML` or `JSON`.
        format: &'static str,
        /// What the parser says, with its line and column.
        problem: String,
    },
    /// There is no preset of this name.
    #[error("no preset {name:?}{hint}; presets: {}", choices.join(", "))]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// "did you mean", ready to print.
        hint: String,
        /// The names there are.
        choices: Vec<String>,
    },
    /// There is no stage of this code or name.
    #[error("no stage {name:?} in model {model:?}; stages: {}", choices.join(", "))]
    UnknownStage {
        /// What was asked for.
        name: String,
        /// The model's id.
        model: String,
        /// Codes and names there are.
        choices: Vec<String>,
    },
}

impl ModelError {
    pub(crate) fn at(path: impl Into<String>, problem: impl Into<String>) -> Self {
        ModelError::Invalid {
            path: path.into(),
            problem: problem.into(),
        }
    }
}
