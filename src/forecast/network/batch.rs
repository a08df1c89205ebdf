//! Windows as tensors.

use candle_core::{Device, Result, Tensor};

use crate::forecast::window::{FUTURE, HORIZONS, PAST, STATIC, TOKENS, Window};

/// Inputs of several windows.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Windows × [`TOKENS`] × [`PAST`].
    pub past: Tensor,
    /// Windows × horizons × [`FUTURE`].
    pub future: Tensor,
    /// Windows × [`STATIC`].
    pub statics: Tensor,
}

impl Batch {
    /// The inputs of `windows`, of which there is at least one.
    pub fn new<'a>(windows: impl IntoIterator<Item = &'a Window>) -> Result<Self> {
        let (mut past, mut future, mut statics) = (Vec::new(), Vec::new(), Vec::new());
        let mut count = 0;
        for window in windows {
            past.extend_from_slice(&window.past);
            future.extend_from_slice(&window.future);
            statics.extend_from_slice(&window.statics);
            count += 1;
        }
        let tensor = |values, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        Ok(Self {
            past: tensor(past, &[count, TOKENS, PAST.len()])?,
            future: tensor(future, &[count, HORIZONS.len(), FUTURE.len()])?,
            statics: tensor(statics, &[count, STATIC.len()])?,
        })
    }
}
