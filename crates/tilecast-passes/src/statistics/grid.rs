//! Which axes of a value are the rows and columns of the image, and at which resolution.
//!
//! Shapes are inferred at three image sizes: one, one that is higher, and one that is wider. An axis that grows with the height
//! alone holds rows, one that grows with the width alone columns, and one that grows with both holds all positions.

use tilecast_onnx::{Graph, ImageAxes, ShapeMap, infer_shapes};

/// Sides of the images at which shapes are inferred are at least this, pixels: more than any padding or crop in sight.
const MIN_PROBE_PX: usize = 2048;

/// Channels of an image input that does not say how many it has.
const DEFAULT_CHANNELS: usize = 3;

/// Nodes between a value whose positions are one axis and the Reshape that made it so; chains are far shorter.
const MAX_STEPS: usize = 64;

/// How the positions of the image lie in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Rows and columns are the last two axes.
    Separate,
    /// The last axis is all positions, row by row.
    Merged,
}

/// Positions of the image in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) layout: Layout,
    /// Rows and columns of the value …
    pub(crate) positions: [usize; 2],
    /// … for this many rows and columns of the image.
    pub(crate) pixels: [usize; 2],
}

/// Which axes grow with the image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Growth {
    with_height: Vec<usize>,
    with_width: Vec<usize>,
}

/// The shapes of all values at three image sizes.
pub(crate) struct Grids {
    base: ShapeMap,
    higher: ShapeMap,
    wider: ShapeMap,
    base_px: [usize; 2],
    growth_px: usize,
}

impl Grids {
    pub(crate) fn new(graph: &Graph<'_>, alignment_px: usize) -> Result<Self, String> {
        let mut inputs = graph.inputs();
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(
                "it does not have exactly one input; statistics are swept for models of one image"
                    .into(),
            );
        };
        let name = input.name.as_deref().unwrap_or_default();
        let channels = match ImageAxes::of(input) {
            Some(axes) if !axes.channels_last => axes.channels.unwrap_or(DEFAULT_CHANNELS),
            _ => {
                return Err(format!(
                    "input `{name}` does not have four axes [N, C, height, width]"
                ));
            }
        };
        let n = MIN_PROBE_PX.div_ceil(alignment_px);
        let base_px = [n * alignment_px, (n + 2) * alignment_px];
        let [height, width] = base_px;
        let at = |height, width| {
            infer_shapes(graph, &[(name, vec![1, channels, height, width])])
                .map_err(|e| format!("at {width}x{height} px: {e}"))
        };
        Ok(Self {
            base: at(height, width)?,
            higher: at(height + alignment_px, width)?,
            wider: at(height, width + alignment_px)?,
            base_px,
            growth_px: alignment_px,
        })
    }

    /// The shape, where it does not depend on the size of the image.
    pub(crate) fn fixed(&self, value: &str) -> Option<&[usize]> {
        let growth = self.growth(value)?;
        let fixed = growth.with_height.is_empty() && growth.with_width.is_empty();
        self.base.shape(value).filter(|_| fixed)
    }

    /// Whether some axis follows the image.
    pub(crate) fn varies(&self, value: &str) -> bool {
        self.base.shape(value).is_some() && self.fixed(value).is_none()
    }

    /// Whether two values have axes that follow the image, as many of each, and at the same resolution.
    pub(crate) fn same_positions(&self, a: &str, b: &str) -> bool {
        let extents = |value: &str| {
            let growth = self.growth(value)?;
            let dims = self.base.shape(value)?;
            let of = |axes: Vec<usize>| axes.into_iter().map(|axis| dims[axis]).collect::<Vec<_>>();
            Some((of(growth.with_height), of(growth.with_width)))
        };
        extents(a).is_some() && extents(a) == extents(b)
    }

    /// Whether two values have the same shape at all three sizes.
    pub(crate) fn same_shape(&self, a: &str, b: &str) -> bool {
        [&self.base, &self.higher, &self.wider]
            .iter()
            .all(|shapes| shapes.shape(a).is_some() && shapes.shape(a) == shapes.shape(b))
    }

    /// The shape at one of the sizes: for extents that are known not to follow the image.
    pub(crate) fn dims(&self, value: &str) -> Option<&[usize]> {
        self.base.shape(value)
    }

    /// Whether the only axis that follows the image is this one.
    pub(crate) fn varies_along_only(&self, value: &str, axis: usize) -> bool {
        self.growth(value)
            .is_some_and(|growth| growth.with_height == [axis] && growth.with_width == [axis])
    }

    /// Where the positions of the image are in a value that has them.
    pub(crate) fn grid(&self, graph: &Graph<'_>, value: &str) -> Result<Grid, String> {
        let unknown = || format!("the shape of `{value}` is not known");
        let growth = self.growth(value).ok_or_else(unknown)?;
        let dims = self.base.shape(value).ok_or_else(unknown)?;
        if dims.first() != Some(&1) {
            return Err(format!("the first axis of `{value}` is not a batch of 1"));
        }
        let rank = dims.len();
        match (growth.with_height.as_slice(), growth.with_width.as_slice()) {
            ([row], [column]) if rank >= 4 && (*row, *column) == (rank - 2, rank - 1) => {
                self.separate(value, dims)
            }
            ([a], [b]) if rank >= 2 && (*a, *b) == (rank - 1, rank - 1) => {
                self.merged(graph, value)
            }
            _ => Err(format!(
                "rows and columns of the image are not the last two axes of `{value}`, nor its last axis"
            )),
        }
    }

    fn separate(&self, value: &str, dims: &[usize]) -> Result<Grid, String> {
        let rank = dims.len();
        let mut grid = Grid {
            layout: Layout::Separate,
            positions: [0; 2],
            pixels: [0; 2],
        };
        for (side, shapes) in [&self.higher, &self.wider].into_iter().enumerate() {
            let axis = rank - 2 + side;
            let more = shapes.shape(value).map_or(0, |dims| dims[axis]) - dims[axis];
            // The same ratio at the size and at its growth: no border is cut off, none is added.
            if more == 0 || dims[axis] * self.growth_px != more * self.base_px[side] {
                return Err(format!(
                    "`{value}` is not as large as the image times a factor"
                ));
            }
            let common = gcd(more, self.growth_px);
            grid.positions[side] = more / common;
            grid.pixels[side] = self.growth_px / common;
        }
        Ok(grid)
    }

    /// Follows a value whose last axis is all positions to the Reshape that made that axis of rows and columns.
    fn merged(&self, graph: &Graph<'_>, value: &str) -> Result<Grid, String> {
        let mut current = value;
        for _ in 0..MAX_STEPS {
            let Some(node) = graph.producer_node(current) else {
                break;
            };
            let last = self.dims(current).map_or(0, <[usize]>::len).wrapping_sub(1);
            let keeps_positions = |input: &str| {
                let rank = self.dims(input).map_or(0, <[usize]>::len);
                rank > 0 && self.varies_along_only(input, rank - 1)
            };
            let next = match node.op() {
                "Reshape" | "Flatten" => {
                    let Some(input) = node.input_name(0) else {
                        break;
                    };
                    if !keeps_positions(input) {
                        let mut grid = self.grid_of_separate(input)?;
                        let positions = self.n_positions(input);
                        if self.dims(current).and_then(<[usize]>::last).copied() != positions {
                            break;
                        }
                        grid.layout = Layout::Merged;
                        return Ok(grid);
                    }
                    input
                }
                "Transpose" => {
                    let keeps = node.ints("perm").ok().flatten();
                    let keeps = keeps.and_then(<[i64]>::last).copied();
                    match node.input_name(0) {
                        Some(input) if keeps == i64::try_from(last).ok() => input,
                        _ => break,
                    }
                }
                "Split" | "Slice" | "Cast" | "Identity" | "Relu" | "Elu" | "Softplus"
                | "Sigmoid" | "Add" | "Sub" | "Mul" | "Div" | "QuantizeLinear"
                | "DequantizeLinear" => {
                    let mut inputs = node.input.iter().map(String::as_str);
                    match inputs.find(|input| keeps_positions(input)) {
                        Some(input) => input,
                        None => break,
                    }
                }
                _ => break,
            };
            current = next;
        }
        Err(format!(
            "the last axis of `{value}` holds all positions of the image, and the Reshape that made it is not found"
        ))
    }

    fn grid_of_separate(&self, value: &str) -> Result<Grid, String> {
        let dims = self.dims(value).unwrap_or_default();
        let growth = self.growth(value);
        let rank = dims.len();
        let is_image = growth.is_some_and(|growth| {
            rank >= 3 && growth.with_height == [rank - 2] && growth.with_width == [rank - 1]
        });
        if is_image {
            self.separate(value, dims)
        } else {
            Err(format!(
                "rows and columns of the image are not the last two axes of `{value}`"
            ))
        }
    }

    fn n_positions(&self, value: &str) -> Option<usize> {
        match self.dims(value)? {
            [.., rows, columns] => rows.checked_mul(*columns),
            _ => None,
        }
    }

    fn growth(&self, value: &str) -> Option<Growth> {
        let base = self.base.shape(value)?;
        let grown = |shapes: &ShapeMap| {
            let dims = shapes.shape(value)?;
            let same_rank = dims.len() == base.len();
            same_rank.then(|| {
                (0..dims.len())
                    .filter(|&axis| dims[axis] != base[axis])
                    .collect::<Vec<_>>()
            })
        };
        Some(Growth {
            with_height: grown(&self.higher)?,
            with_width: grown(&self.wider)?,
        })
    }
}

fn gcd(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
