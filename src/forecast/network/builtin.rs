//! The weights that this program was built with.

use super::{Kind, Model, ModelError};

impl Model {
    /// The one that won on validation (`weights/MODEL_CARD.md`).
    pub const DEFAULT: Kind = Kind::Mixer;

    /// The network of these default weights.
    pub fn builtin(kind: Kind) -> Result<Self, ModelError> {
        Self::from_bytes(match kind {
            Kind::Mixer => include_bytes!("../../../weights/forecaster-mixer.safetensors"),
            Kind::Tft => include_bytes!("../../../weights/forecaster-tft.safetensors"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_there_and_fit_the_feature_list() {
        for kind in Kind::ALL {
            assert_eq!(Model::builtin(kind).unwrap().network().kind(), kind);
        }
    }
}
