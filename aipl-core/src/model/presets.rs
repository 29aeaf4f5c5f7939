//! The presets that ship with the library, each a file of the public model format with a source for every value.

use crate::base::suggest::hint;
use crate::model::data::StageModel;
use crate::model::error::ModelError;

const PRESETS: [(&str, &str); 9] = [
    ("databank", include_str!("presets/databank.toml")),
    ("databank_540", include_str!("presets/databank_540.toml")),
    ("uni_marketing", include_str!("presets/uni_marketing.toml")),
    ("quick_audience", include_str!("presets/quick_audience.toml")),
    ("o5a", include_str!("presets/o5a.toml")),
    ("o5a_auto", include_str!("presets/o5a_auto.toml")),
    ("jd4a", include_str!("presets/jd4a.toml")),
    ("deeplink", include_str!("presets/deeplink.toml")),
    ("aips", include_str!("presets/aips.toml")),
];

impl StageModel {
    /// The names of the presets.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// A preset by name.
    ///
    /// # Errors
    /// [`ModelError::UnknownPreset`] naming the choices.
    pub fn preset(name: &str) -> Result<StageModel, ModelError> {
        let unknown = || ModelError::UnknownPreset {
            name: name.to_owned(),
            hint: hint(name, Self::presets()),
            choices: Self::presets().map(str::to_owned).collect(),
        };
        let (_, text) = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        StageModel::from_toml(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_read_and_round_trip_in_every_form() {
        for name in StageModel::presets() {
            let model = StageModel::preset(name).expect(name);
            assert_eq!(model.id, name);
            assert_eq!(StageModel::from_toml(&model.to_toml()).expect(name), model);
            assert_eq!(StageModel::from_json(&model.to_json()).expect(name), model);
            assert_eq!(StageModel::from_value(&model.to_value()).expect(name), model);
        }
        assert!(
            StageModel::preset("databnk")
                .expect_err("unknown")
                .to_string()
                .contains("did you mean \"databank\"")
        );
    }
}
