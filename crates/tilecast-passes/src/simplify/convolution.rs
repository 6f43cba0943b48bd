//! The weights and bias of a convolution, and folding affine maps of channels into them.
//!
//! Products and sums are formed in float64 and rounded once. Channel `c` of a grouped convolution: `Conv` stores its
//! weights as `[out, in / group, ...]`, `ConvTranspose` as `[in, out / group, ...]`.

use tilecast_onnx::{DataType, Graph, NodeId, Tensor};

use super::rewrite::Rewrite;
use super::site::Site;

/// `x * scale + shift` per channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelAffine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl ChannelAffine {
    /// The map that changes nothing.
    pub(super) fn identity(n_channels: usize) -> Self {
        Self {
            scale: vec![1.0; n_channels],
            shift: vec![0.0; n_channels],
        }
    }

    /// A map from its factors and summands, one per channel.
    pub(super) fn new(scale: Vec<f64>, shift: Vec<f64>) -> Self {
        debug_assert_eq!(scale.len(), shift.len());
        Self { scale, shift }
    }

    /// This map followed by another one.
    pub(super) fn then(mut self, next: &Self) -> Self {
        let steps = next.scale.iter().zip(&next.shift);
        for ((scale, shift), (s, t)) in self.scale.iter_mut().zip(&mut self.shift).zip(steps) {
            *scale *= s;
            *shift = *shift * s + t;
        }
        self
    }

    /// Whether zero stays zero in every channel.
    pub(super) fn keeps_zero(&self) -> bool {
        self.shift.iter().all(|&t| t == 0.0)
    }
}

/// How the weights are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Conv,
    ConvTranspose,
}

/// A convolution whose weights and bias are float32 constants.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    layout: Layout,
    groups: usize,
    dims: Vec<usize>,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    pads: Pads,
}

/// Whether a convolution sees zeros around its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pads {
    None,
    Some,
}

impl Convolution {
    /// Whether a node is a convolution that this type can describe.
    pub(super) fn is(graph: &Graph<'_>, id: NodeId) -> bool {
        let node = graph.node(id);
        node.is("Conv") || node.is("ConvTranspose")
    }

    /// Reads the constants of a `Conv` or `ConvTranspose`.
    ///
    /// # Errors
    /// The reason for which nothing can be folded into it.
    pub(super) fn read(site: &Site<'_, '_>, id: NodeId) -> Result<Self, String> {
        let node = site.graph.node(id);
        let layout = if node.is("Conv") {
            Layout::Conv
        } else {
            Layout::ConvTranspose
        };
        let (dims, weights) = constant(
            site,
            node.input_name(1).ok_or("the convolution has no weights")?,
        )?;
        let groups = node.int("group").map_err(|e| e.to_string())?.unwrap_or(1);
        let groups = usize::try_from(groups).ok().filter(|&g| {
            g > 0 && dims.len() > 2 && dims[0] % g == 0 && dims.iter().all(|&d| d > 0)
        });
        let groups = groups.ok_or("the shape of the weights contradicts the number of groups")?;
        let bias = node
            .input_name(2)
            .map(|name| constant(site, name))
            .transpose()?
            .map(|(_, values)| values);
        let explicit = node.ints("pads").map_err(|e| e.to_string())?;
        let automatic = node.string("auto_pad").map_err(|e| e.to_string())?;
        let padded = explicit.unwrap_or_default().iter().any(|&p| p != 0)
            || automatic.is_some_and(|a| a.starts_with("SAME"));
        let convolution = Self {
            layout,
            groups,
            dims,
            weights,
            bias,
            pads: if padded { Pads::Some } else { Pads::None },
        };
        match &convolution.bias {
            Some(bias) if bias.len() != convolution.n_outputs() => {
                Err("the bias has not one element per output channel".into())
            }
            _ => Ok(convolution),
        }
    }

    /// Number of output channels.
    pub(super) fn n_outputs(&self) -> usize {
        match self.layout {
            Layout::Conv => self.dims[0],
            Layout::ConvTranspose => self.dims[1] * self.groups,
        }
    }

    /// Number of input channels.
    pub(super) fn n_inputs(&self) -> usize {
        match self.layout {
            Layout::Conv => self.dims[1] * self.groups,
            Layout::ConvTranspose => self.dims[0],
        }
    }

    /// Rank of the input and of the output.
    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The convolution followed by an affine map of its output channels.
    ///
    /// # Errors
    /// The reason for which it cannot be folded.
    pub(super) fn followed_by(&self, map: &ChannelAffine) -> Result<Self, String> {
        let n_taps: usize = self.dims[2..].iter().product();
        let outputs_per_group = self.n_outputs() / self.groups;
        let inputs_per_group = self.n_inputs() / self.groups;
        let channel = |filter: usize| match self.layout {
            Layout::Conv => filter / self.dims[1],
            Layout::ConvTranspose => {
                let (input, output) = (filter / self.dims[1], filter % self.dims[1]);
                input / inputs_per_group * outputs_per_group + output
            }
        };
        let weights = self.weights.chunks_exact(n_taps).enumerate();
        let weights = weights
            .flat_map(|(filter, taps)| {
                let scale = map.scale[channel(filter)];
                taps.iter().map(move |&w| (f64::from(w) * scale) as f32)
            })
            .collect();
        let bias = (0..self.n_outputs())
            .map(|c| (self.bias_of(c) * map.scale[c] + map.shift[c]) as f32)
            .collect();
        self.with(weights, self.bias_where_needed(bias, map))
    }

    /// The convolution of an input to which an affine map of its channels was applied before.
    ///
    /// # Errors
    /// The reason for which it cannot be folded: zeros around the input are put there after the map, so a shift that is
    /// not zero does not reach them.
    pub(super) fn preceded_by(&self, map: &ChannelAffine) -> Result<Self, String> {
        if self.layout == Layout::ConvTranspose {
            return Err(
                "a ConvTranspose reads it, whose borders get fewer terms of a shift".into(),
            );
        }
        if self.pads == Pads::Some && !map.keeps_zero() {
            return Err(
                "the convolution behind it pads its input, and the zeros come after the shift"
                    .into(),
            );
        }
        let n_taps: usize = self.dims[2..].iter().product();
        let (inputs_per_group, outputs_per_group) = (self.dims[1], self.dims[0] / self.groups);
        let mut weights = Vec::with_capacity(self.weights.len());
        let mut bias: Vec<f64> = (0..self.n_outputs()).map(|c| self.bias_of(c)).collect();
        for (filter, taps) in self.weights.chunks_exact(n_taps).enumerate() {
            let (output, slot) = (filter / inputs_per_group, filter % inputs_per_group);
            let input = output / outputs_per_group * inputs_per_group + slot;
            for &weight in taps {
                let weight = f64::from(weight);
                weights.push((weight * map.scale[input]) as f32);
                bias[output] += weight * map.shift[input];
            }
        }
        let bias = bias.into_iter().map(|b| b as f32).collect();
        self.with(weights, self.bias_where_needed(bias, map))
    }

    /// Writes the constants into node `id` of a rewrite.
    pub(super) fn store(self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>, id: NodeId) {
        let had_bias = graph.node(id).input_name(2).is_some();
        let weights = Tensor::from_f32(self.dims, &self.weights);
        rewrite.change_constant(id, 1, &weights);
        let Some(bias) = self.bias else { return };
        let bias = Tensor::from_f32(vec![bias.len()], &bias);
        if had_bias {
            rewrite.change_constant(id, 2, &bias);
        } else {
            let name = rewrite.add_constant(&graph.node(id).input[1], "_bias", &bias);
            let node = rewrite.edit(id);
            node.input.resize(2, String::new());
            node.input.push(name);
        }
    }

    fn bias_of(&self, channel: usize) -> f64 {
        self.bias.as_ref().map_or(0.0, |b| b[channel].into())
    }

    /// A convolution without bias needs none for a map that has no shift.
    fn bias_where_needed(&self, bias: Vec<f32>, map: &ChannelAffine) -> Option<Vec<f32>> {
        (self.bias.is_some() || !map.keeps_zero()).then_some(bias)
    }

    fn with(&self, weights: Vec<f32>, bias: Option<Vec<f32>>) -> Result<Self, String> {
        let mut all = weights.iter().chain(bias.iter().flatten());
        if all.any(|v| !v.is_finite()) {
            return Err("a folded weight would not be finite".into());
        }
        Ok(Self {
            weights,
            bias,
            ..self.clone_without_constants()
        })
    }

    fn clone_without_constants(&self) -> Self {
        Self {
            layout: self.layout,
            groups: self.groups,
            dims: self.dims.clone(),
            weights: Vec::new(),
            bias: None,
            pads: self.pads,
        }
    }
}

/// Dimensions and elements of a float32 constant.
fn constant(site: &Site<'_, '_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
    let tensor = site
        .constant(name)
        .ok_or_else(|| format!("`{name}` of the convolution is not constant"))?;
    match tensor.to_f32_vec() {
        Some(values) if tensor.data_type() == DataType::F32 => Ok((tensor.dims().to_vec(), values)),
        _ => Err(format!(
            "`{name}` of the convolution is {}, not float32",
            tensor.data_type()
        )),
    }
}

/// The elements of a constant that broadcasts over a value of `rank` along its axis 1 only, one per channel.
///
/// # Errors
/// The reason for which it is no such constant.
pub(super) fn channel_vector(
    tensor: &Tensor,
    rank: usize,
    n_channels: usize,
) -> Result<Vec<f64>, String> {
    let values = tensor.to_f32_vec().unwrap_or_default();
    let dims = tensor.dims();
    if dims.len() > rank {
        return Err(format!(
            "its constant has {} dimensions, the value it meets has {rank}",
            dims.len()
        ));
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err("its constant holds values that are not finite".into());
    }
    if let [only] = values[..] {
        return Ok(vec![only.into(); n_channels]);
    }
    let along_channels = dims.len() + 1 >= rank
        && dims.iter().rev().take(rank - 2).all(|&d| d == 1)
        && dims[dims.len() + 1 - rank] == n_channels
        && values.len() == n_channels;
    if along_channels {
        Ok(values.into_iter().map(f64::from).collect())
    } else {
        Err(format!(
            "its constant {dims:?} is not one value per channel of {n_channels}"
        ))
    }
}
