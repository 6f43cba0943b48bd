//! How the weights of a node make up its filters: which of them make one output channel, and what each is multiplied with.

use tilecast_onnx::proto::NodeProto;

/// Along which axis of its data input a node sums products with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChannelAxis {
    /// Axis 1: images, `[N, C, ...]`.
    Second,
    /// The last one: rows of a matrix.
    Last,
}

/// The filters of a node.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    layout: Layout,
    /// Number of output channels.
    n_outputs: usize,
    /// Number of input channels of the node.
    n_channels: usize,
    groups: usize,
    /// Weights of one filter for one input channel.
    taps: usize,
    /// Taps of a filter that meet one output element, as a share of all: below 1 for transposed convolutions with strides.
    share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `[filter, channel of the group, taps]`.
    FilterFirst,
    /// `[channel, filter of the group, taps]`.
    ChannelFirst,
}

impl ChannelAxis {
    /// The axis of this node's data input, for the operators that have filters.
    pub(crate) fn of(node: &NodeProto) -> Option<Self> {
        match node.op() {
            "Conv" | "ConvTranspose" => Some(Self::Second),
            "MatMul" | "Gemm" => Some(Self::Last),
            _ => None,
        }
        .filter(|_| node.is(node.op()))
    }

    /// Its position in a tensor of this rank; `None` where the rank has no such axis.
    pub(crate) fn position(self, rank: usize) -> Option<usize> {
        match self {
            Self::Second => (rank > 1).then_some(1),
            Self::Last => rank.checked_sub(1),
        }
    }
}

impl Filters {
    /// The filters of a node whose weights, its second input, have this shape.
    ///
    /// # Errors
    /// Why they are not known.
    pub(crate) fn of(node: &NodeProto, dims: &[usize]) -> Result<Self, String> {
        let int = |name: &str, default: i64| -> Result<i64, String> {
            Ok(node
                .int(name)
                .map_err(|e| e.to_string())?
                .unwrap_or(default))
        };
        let groups = usize::try_from(int("group", 1)?)
            .ok()
            .filter(|&g| g > 0)
            .ok_or("the number of groups is not positive")?;
        let contradiction = || format!("weights of shape {dims:?} contradict `{}`", node.op());
        let matrix = |layout, n_outputs, n_channels| Self {
            layout,
            n_outputs,
            n_channels,
            groups: 1,
            taps: 1,
            share: 1.0,
        };
        let filters = match (node.op(), dims) {
            ("Conv", [n_outputs, per_group, taps @ ..]) if n_outputs % groups == 0 => Self {
                layout: Layout::FilterFirst,
                n_outputs: *n_outputs,
                n_channels: per_group * groups,
                groups,
                taps: taps.iter().product(),
                share: 1.0,
            },
            ("ConvTranspose", [n_channels, per_group, taps @ ..]) if n_channels % groups == 0 => {
                let strides = node.ints("strides").map_err(|e| e.to_string())?;
                let strides = strides.unwrap_or_default().iter();
                Self {
                    layout: Layout::ChannelFirst,
                    n_outputs: per_group * groups,
                    n_channels: *n_channels,
                    groups,
                    taps: taps.iter().product(),
                    share: 1.0 / strides.map(|&s| s as f64).product::<f64>(),
                }
            }
            ("MatMul", [n_channels, n_outputs]) => {
                matrix(Layout::ChannelFirst, *n_outputs, *n_channels)
            }
            ("Gemm", [a, b]) => {
                let scaled = |name| -> Result<bool, String> {
                    let factor = node.float(name).map_err(|e| e.to_string())?;
                    Ok(factor.is_some_and(|f| f.to_bits() != 1.0_f32.to_bits()))
                };
                if int("transA", 0)? != 0 || scaled("alpha")? || scaled("beta")? {
                    return Err("it transposes its input or scales a product".into());
                }
                match int("transB", 0)? {
                    0 => matrix(Layout::ChannelFirst, *b, *a),
                    _ => matrix(Layout::FilterFirst, *a, *b),
                }
            }
            _ => return Err(contradiction()),
        };
        if filters.n_outputs == 0 || filters.n_channels == 0 || filters.taps == 0 {
            return Err(contradiction());
        }
        Ok(filters)
    }

    /// Number of filters, which is that of output channels.
    pub(crate) fn len(&self) -> usize {
        self.n_outputs
    }

    /// Number of channels of the data input.
    pub(crate) fn n_channels(&self) -> usize {
        self.n_channels
    }

    /// Whether every filter sees a single channel.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.n_channels == self.groups
    }

    /// What an element of the mean output gets of each product of a weight with the mean of its channel.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Position in the weights, and input channel, of every weight of one filter: tap after tap, and for each all channels, the
    /// order in which kernels for images whose channels lie side by side go through them.
    pub(crate) fn weights_of(&self, filter: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let per_group = self.n_channels / self.groups;
        let filters_per_group = self.n_outputs / self.groups;
        let (group, within) = (filter / filters_per_group, filter % filters_per_group);
        (0..self.taps).flat_map(move |tap| {
            (0..per_group).map(move |index| {
                let channel = group * per_group + index;
                let start = match self.layout {
                    Layout::FilterFirst => filter * per_group + index,
                    Layout::ChannelFirst => channel * filters_per_group + within,
                };
                (start * self.taps + tap, channel)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilecast_onnx::{attribute, node};

    #[test]
    fn every_weight_belongs_to_one_filter_and_meets_its_channel() {
        let conv =
            |op| node(op, "", &["x", "w"], &["y"]).with_attribute(attribute::int("group", 2));
        let filters = Filters::of(&conv("Conv"), &[4, 3, 1, 2]).unwrap();
        assert_eq!((filters.len(), filters.n_channels()), (4, 6));
        let third: Vec<_> = filters.weights_of(2).collect();
        assert_eq!(
            third,
            [(12, 3), (14, 4), (16, 5), (13, 3), (15, 4), (17, 5)]
        );

        let transposed = conv("ConvTranspose").with_attribute(attribute::ints("strides", &[2, 2]));
        let filters = Filters::of(&transposed, &[4, 3, 1, 2]).unwrap();
        assert_eq!((filters.len(), filters.n_channels()), (6, 4));
        assert_eq!(filters.share().to_bits(), 0.25_f64.to_bits());
        // The fifth filter is the second of the second group, whose channels are 2 and 3.
        let fifth: Vec<_> = filters.weights_of(4).collect();
        assert_eq!(fifth, [(14, 2), (20, 3), (15, 2), (21, 3)]);

        let gemm = node("Gemm", "", &["x", "w", "b"], &["y"]);
        let filters = Filters::of(&gemm, &[3, 2]).unwrap();
        assert_eq!(
            filters.weights_of(1).collect::<Vec<_>>(),
            [(1, 0), (3, 1), (5, 2)]
        );
        let gemm = gemm.with_attribute(attribute::int("transB", 1));
        let filters = Filters::of(&gemm, &[3, 2]).unwrap();
        assert_eq!(filters.weights_of(1).collect::<Vec<_>>(), [(2, 0), (3, 1)]);

        for filters in [
            Filters::of(&conv("Conv"), &[4, 3, 2, 2]).unwrap(),
            Filters::of(&transposed, &[4, 3, 2, 2]).unwrap(),
        ] {
            let mut all: Vec<usize> = (0..filters.len())
                .flat_map(|f| filters.weights_of(f).map(|w| w.0).collect::<Vec<_>>())
                .collect();
            all.sort_unstable();
            assert_eq!(all, (0..48).collect::<Vec<_>>());
        }
    }

    #[test]
    fn contradictions_are_told() {
        let conv = node("Conv", "", &["x", "w"], &["y"]).with_attribute(attribute::int("group", 3));
        assert!(Filters::of(&conv, &[4, 3, 1, 1]).is_err());
        assert!(Filters::of(&conv, &[0, 3, 1, 1]).is_err());
        let matmul = node("MatMul", "", &["x", "w"], &["y"]);
        assert!(Filters::of(&matmul, &[2, 3, 4]).is_err());
        let gemm =
            node("Gemm", "", &["x", "w"], &["y"]).with_attribute(attribute::int("transA", 1));
        assert!(Filters::of(&gemm, &[2, 3]).is_err());
    }
}
