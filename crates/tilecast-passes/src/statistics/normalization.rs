//! Instance and group normalizations, as operators and as exporters write them: groups made by a Reshape, normalized as instances.
//!
//! With `k` the mean of the tile, `c` that of its core, and `d = x - c`, the variance of the core is `mean(d²·w)` and that of the tile
//! `mean(d²) - (k - c)²`: `d` has about the spread of `x`, so the difference loses nothing where the mean of `x` is large.
//!
//! No more than three tensors of the size of `x`, itself included, are needed at a time, in whatever order a runtime takes the
//! nodes: as many as without the cut. Hence the result is made from `x` again, and no tensor between has a late reader.

use tilecast_analysis::Merge;
use tilecast_onnx::{DataType, NodeId, Tensor};

use super::cutter::{Cutter, Weighting};
use super::grid::Layout;
use super::{Done, input, output};

/// The default of both operators.
const DEFAULT_EPSILON: f32 = 1e-5;

/// What is normalized, and how.
struct Normalization<'g> {
    /// `[1, C, H, W]`.
    x: &'g str,
    /// Name of the result, which has the shape of `x`.
    y: &'g str,
    n_channels: usize,
    n_groups: usize,
    /// One per group or channel.
    scale: &'g str,
    bias: &'g str,
    epsilon: f32,
    /// Nodes that the result replaces; its nodes stand behind the last one.
    replaced: Vec<NodeId>,
}

pub(super) fn cut(cutter: &mut Cutter<'_, '_>, id: NodeId) -> Result<Done, String> {
    let x = input(cutter.graph, id, 0)?;
    if !cutter.grids.varies(x) {
        return Ok(Done::Nothing);
    }
    let norm = Normalization::at(cutter, id)?;
    let grid = cutter.grids.grid(cutter.graph, norm.x)?;
    if grid.layout != Layout::Separate {
        return Err(format!("rows and columns are not two axes of `{}`", norm.x));
    }
    let y_type = cutter.float_type(norm.y)?;
    let x = cutter.as_f32(norm.x)?;

    let own_mean = norm.mean_of(cutter, &x);
    let weighted = cutter.weighted_f32(&x, grid, Weighting::Plain);
    let core_mean = norm.mean_of(cutter, &weighted);
    let center = norm.spread(cutter, &core_mean);
    let d = cutter.add("Sub", &[&x, &center]);
    let squares = cutter.add("Mul", &[&d, &d]);
    let square = norm.mean_of(cutter, &squares);
    let weighted = cutter.weighted_f32(&squares, grid, Weighting::Plain);
    let core_variance = norm.mean_of(cutter, &weighted);
    let shift = cutter.add("Sub", &[&own_mean, &core_mean]);
    let shift = cutter.add("Mul", &[&shift, &shift]);
    let own_variance = cutter.add("Sub", &[&square, &shift]);

    let dims = vec![1, norm.n_groups, 1];
    let position = cutter.next_statistic();
    let swept_mean = cutter.statistic(id, Merge::Mean, &core_mean, dims.clone());
    let merge = Merge::Variance { mean: position };
    let swept_variance = cutter.statistic(id, merge, &core_variance, dims);
    let mean = cutter.choose(&swept_mean, &own_mean);
    let variance = cutter.choose(&swept_variance, &own_variance);

    let epsilon = cutter.constant(&Tensor::from_f32(vec![], &[norm.epsilon]));
    let raised = cutter.add("Add", &[&variance, &epsilon]);
    let deviation = cutter.add("Sqrt", &[&raised]);
    let [scale, bias] = [norm.scale, norm.bias].map(|name| {
        let value = cutter.as_f32(name)?;
        Ok::<_, String>(cutter.reshape(&value, &[1, norm.n_groups as i64, -1]))
    });
    let a = cutter.add("Div", &[&scale?, &deviation]);
    let [mean, a, bias] = [&mean, &a, &bias?].map(|value| norm.spread(cutter, value));
    let centered = cutter.add("Sub", &[&x, &mean]);
    let scaled = cutter.add("Mul", &[&centered, &a]);
    if y_type == DataType::F32 {
        cutter.define("Add", &[&scaled, &bias], norm.y);
    } else {
        let y = cutter.add("Add", &[&scaled, &bias]);
        cutter.define_cast(&y, y_type, norm.y);
    }
    let last = *norm.replaced.last().unwrap_or(&id);
    for &id in &norm.replaced {
        cutter.remove(id);
    }
    cutter.place_after(last);
    Ok(Done::Cut)
}

impl<'g> Normalization<'g> {
    fn at(cutter: &Cutter<'_, 'g>, id: NodeId) -> Result<Self, String> {
        let graph = cutter.graph;
        let node = graph.node(id);
        let (x, y) = (input(graph, id, 0)?, output(graph, id)?);
        let rank = cutter.grids.dims(x).map_or(0, <[usize]>::len);
        let epsilon = node.float("epsilon").map_err(|e| e.to_string())?;
        let mut norm = Self {
            x,
            y,
            n_channels: 0,
            n_groups: 0,
            scale: input(graph, id, 1)?,
            bias: input(graph, id, 2)?,
            epsilon: epsilon.unwrap_or(DEFAULT_EPSILON),
            replaced: vec![id],
        };
        if rank == 3 {
            norm.leave_groups(cutter, id)?;
        }
        norm.n_channels = match cutter.grids.dims(norm.x) {
            Some([1, channels, _, _]) => *channels,
            _ => return Err(format!("`{}` is not [1, C, height, width]", norm.x)),
        };
        norm.n_groups = match (rank, node.op()) {
            (3, _) => cutter.grids.dims(x).map_or(0, |dims| dims[1]),
            (_, "GroupNormalization") => {
                let groups = node.int("num_groups").map_err(|e| e.to_string())?;
                usize::try_from(groups.unwrap_or(0)).unwrap_or(0)
            }
            _ => norm.n_channels,
        };
        if norm.n_groups == 0 || !norm.n_channels.is_multiple_of(norm.n_groups) {
            return Err(format!(
                "its {} groups do not share out {} channels",
                norm.n_groups, norm.n_channels
            ));
        }
        Ok(norm)
    }

    /// From groups `[1, G, positions]` to the image behind the Reshape that made them, and the one that undoes it.
    fn leave_groups(&mut self, cutter: &Cutter<'_, 'g>, id: NodeId) -> Result<(), String> {
        let graph = cutter.graph;
        let grouped = self.x;
        let group = graph.producer_node(grouped).filter(|n| n.is("Reshape"));
        let image = group.and_then(|n| n.input_name(0));
        let restore = graph.only_use(self.y).map(|only| only.node);
        let restore = restore.filter(|&id| graph.node(id).is("Reshape"));
        let (Some(image), Some(restore)) = (image, restore) else {
            return Err("it does not stand between a Reshape to groups and one back".to_owned());
        };
        self.x = image;
        self.y = output(graph, restore)?;
        self.replaced = vec![id, restore];
        // Nobody else reads the groups.
        if let Some((group, _)) = graph.producer(grouped)
            && graph.only_use(grouped).is_some()
        {
            self.replaced.insert(0, group);
        }
        if cutter.grids.same_shape(self.x, self.y) {
            Ok(())
        } else {
            Err(format!(
                "the Reshape behind it does not return to the shape of `{image}`"
            ))
        }
    }

    /// Means over a group's channels and positions: from `[1, C, H, W]` to `[1, G, 1]`.
    fn mean_of(&self, cutter: &mut Cutter<'_, '_>, value: &str) -> String {
        let per_channel = cutter.add("GlobalAveragePool", &[value]);
        let per_group = cutter.reshape(&per_channel, &[1, self.n_groups as i64, -1]);
        if self.n_groups == self.n_channels {
            per_group
        } else {
            cutter.add("GlobalAveragePool", &[&per_group])
        }
    }

    /// From `[1, G, 1]` or `[1, G, C/G]` to `[1, C, 1, 1]`.
    fn spread(&self, cutter: &mut Cutter<'_, '_>, value: &str) -> String {
        let n_each = self.n_channels / self.n_groups;
        let mut spread = value.to_owned();
        if n_each > 1 {
            let target = [1, self.n_groups as i64, n_each as i64];
            let target = cutter.constant(&Tensor::from_i64(vec![3], &target));
            spread = cutter.add("Expand", &[&spread, &target]);
        }
        cutter.reshape(&spread, &[1, self.n_channels as i64, 1, 1])
    }
}
