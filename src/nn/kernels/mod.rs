//! Operations that candle would do in a dozen passes over memory, done in one each way.
//!
//! At the sizes trained here (2 million values per layer) an elementwise operation of candle costs what
//! a new buffer costs, and its gradient three of them. Each kernel has its own gradient, proved against
//! finite differences. One thread: training runs one network per thread.

mod affine;
mod gate;
mod normal;
mod recurrent;
mod soft;
mod unary;
mod weighted;

use std::ops::Deref;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor,
    bail,
};

pub(super) use affine::Outer;
pub(super) use gate::{Gate, GatedSkip};
pub(super) use normal::Normal;
pub(super) use recurrent::Recurrent;
pub(super) use soft::Soft;
pub use unary::Activation;
pub(super) use unary::Biased;
pub(super) use weighted::WeightedSum;

/// Values and shape of one input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub values: &'a [f32],
    pub shape: &'a [usize],
}

impl Input<'_> {
    /// The last dimension.
    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// One operation on contiguous `f32` inputs. Shapes were checked by the layer that applies it.
pub(super) trait Kernel: Send + Sync + 'static {
    const NAME: &'static str;

    /// The result and its shape.
    fn forward(&self, inputs: &[Input<'_>]) -> (Vec<f32>, Vec<usize>);

    /// The gradient of each input, given the result and its gradient.
    fn backward(&self, inputs: &[Input<'_>], result: &[f32], gradient: &[f32]) -> Vec<Vec<f32>>;
}

/// Applies a kernel to one, two or three tensors, none of them empty.
pub(super) fn apply(kernel: impl Kernel, inputs: &[&Tensor]) -> Result<Tensor> {
    if inputs.iter().any(|input| input.elem_count() == 0) {
        bail!("a layer was given a tensor without values");
    }
    let fused = Fused(kernel);
    match inputs {
        [one] => one.contiguous()?.apply_op1(fused),
        [one, two] => one.contiguous()?.apply_op2(&two.contiguous()?, fused),
        [one, two, three] => {
            one.contiguous()?.apply_op3(&two.contiguous()?, &three.contiguous()?, fused)
        }
        _ => bail!("a kernel takes one to three tensors"),
    }
}

struct Fused<K>(K);

impl<K: Kernel> Fused<K> {
    fn forward(&self, inputs: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        let mut slices = Vec::with_capacity(inputs.len());
        for (storage, layout) in inputs {
            slices.push(Input { values: slice(storage, layout)?, shape: layout.dims() });
        }
        let (values, shape) = self.0.forward(&slices);
        Ok((CpuStorage::F32(values), Shape::from(shape)))
    }

    fn backward(
        &self,
        inputs: &[&Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (result, gradient) = (values(result)?, values(&gradient)?);
        let mut held = Vec::with_capacity(inputs.len());
        for input in inputs {
            held.push(values(input)?);
        }
        let views = held.iter().zip(inputs);
        let views: Vec<_> =
            views.map(|(values, input)| Input { values, shape: input.dims() }).collect();
        let gradients = self.0.backward(&views, &result, &gradient).into_iter();
        let shaped = gradients.zip(inputs);
        shaped
            .map(|(values, input)| Tensor::from_vec(values, input.shape(), &Device::Cpu))
            .collect()
    }
}

impl<K: Kernel> CustomOp1 for Fused<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(&[(storage, layout)])
    }

    fn bwd(&self, one: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.backward(&[one], result, gradient)?.pop())
    }
}

impl<K: Kernel> CustomOp2 for Fused<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(&[(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        one: &Tensor,
        two: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.backward(&[one, two], result, gradient)?.into_iter();
        Ok((gradients.next(), gradients.next()))
    }
}

impl<K: Kernel> CustomOp3 for Fused<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        one: &Tensor,
        two: &Tensor,
        three: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.backward(&[one, two, three], result, gradient)?.into_iter();
        Ok((gradients.next(), gradients.next(), gradients.next()))
    }
}

/// The values of a tensor under its read lock.
struct Values<G> {
    guard: G,
    start: usize,
    end: usize,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // `values` lets nothing else in.
            _ => &[],
        }
    }
}

fn values(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + '_>> {
    let (guard, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*guard else { bail!("kernels run on the CPU") };
    slice(storage, layout)?;
    let (start, end) = layout.contiguous_offsets().unwrap_or_default();
    Ok(Values { guard, start, end })
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("kernels take f32") };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("kernels take whole tensors")
    };
    Ok(&values[start..end])
}

/// e^x to 2 units in the last place, in a form that compilers vectorise, with the same bits on every
/// machine. Cody and Waite's reduction, the Taylor series on half an octave; what is not a number stays so.
#[inline]
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Outside, the result would not be a normal number.
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * (355.0 / 512.0)) + whole * 2.121_944_4e-4;
    let series = 1.0 / 720.0 + rest * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + rest * (1.0 / 120.0 + rest * series);
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * series)));
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    series * scale
}

#[inline]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Within 1e-7 of the hyperbolic tangent.
#[inline]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_the_last_places() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "{x}: {error}");
        }
        assert_eq!((exp(0.0), exp(-1e9).to_bits()), (1.0, exp(-87.0).to_bits()));
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_are_within_a_rounding() {
        for step in -3000..3000 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x);
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-exact).exp())).abs() < 2e-7, "{x}");
            assert!((f64::from(tanh(x)) - exact.tanh()).abs() < 2e-7, "{x}");
        }
    }
}
