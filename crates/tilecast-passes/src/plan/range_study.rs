//! What calibration has to look at so that the plan can tell which nodes a 16-bit float format can hold, and what it saw.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use tilecast_onnx::{DataType, Graph, Model, infer_types};
use tilecast_quant::{ChannelSums, Magnitude};

use super::inner_sums::{Inside, ObservedSum, inside};
use crate::filters::ChannelAxis;

/// Which values of a model are to be observed, and what of each.
#[derive(Clone, Debug, Default)]
pub struct RangeStudy {
    values: Vec<String>,
    /// Per value: the sums over it that some node makes.
    sums: Vec<Vec<ObservedSum>>,
    /// Per value: the axes along which some node multiplies it with constant weights.
    channels: Vec<BTreeSet<ChannelAxis>>,
}

/// What some node wants to know of a value.
#[derive(Default)]
struct Wanted {
    sums: BTreeSet<ObservedSum>,
    channels: BTreeSet<ChannelAxis>,
}

/// What was seen so far. Tallies of the same study merge to the same result in any order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeTally {
    magnitudes: Vec<Magnitude>,
    #[serde(with = "bits")]
    sums: Vec<Vec<f64>>,
    channels: Vec<Vec<ChannelSums>>,
}

/// Floats as their bits: readers of text formats may be off by one unit in the last place.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        sums: &[Vec<f64>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bits = |sums: &Vec<f64>| sums.iter().map(|sum| sum.to_bits()).collect();
        sums.iter()
            .map(bits)
            .collect::<Vec<Vec<u64>>>()
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<f64>>, D::Error> {
        let floats = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        Ok(Vec::<Vec<u64>>::deserialize(deserializer)?
            .into_iter()
            .map(floats)
            .collect())
    }
}

/// What a whole calibration saw, by name.
#[derive(Clone, Debug, Default)]
pub struct RangeEvidence {
    magnitudes: BTreeMap<String, Magnitude>,
    sums: BTreeMap<ObservedSum, f64>,
    means: BTreeMap<(String, ChannelAxis), Vec<f64>>,
}

impl RangeStudy {
    /// Looks at every float input and computed float value of the main graph, of 16 and of 32 bits.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let graph = model.graph();
        let types = infer_types(&graph);
        let computed = computed_values(&graph);
        let mut wanted: BTreeMap<&str, Wanted> = BTreeMap::new();
        let inputs = graph.inputs().filter_map(|v| v.name.as_deref());
        for name in inputs.chain(computed.iter().copied()) {
            let data_type = types.get(name).copied();
            if matches!(
                data_type,
                Some(DataType::F32 | DataType::F16 | DataType::BF16)
            ) {
                wanted.entry(name).or_default();
            }
        }
        for (_, node) in graph.nodes() {
            if let Inside::Sum(sum) = inside(&graph, node, model.opset()) {
                for part in sum.parts {
                    if let Some(wanted) = wanted.get_mut(part.value.as_str()) {
                        wanted.sums.insert(part);
                    }
                }
            }
            if let (Some(axis), Some(weights)) = (ChannelAxis::of(node), node.input_name(1))
                && graph.initializer(weights).is_some()
                && let Some(wanted) = wanted.get_mut(node.input_name(0).unwrap_or_default())
            {
                wanted.channels.insert(axis);
            }
        }
        let mut study = Self::default();
        for (name, wanted) in wanted {
            study.values.push(name.to_owned());
            study.sums.push(wanted.sums.into_iter().collect());
            study.channels.push(wanted.channels);
        }
        study
    }

    /// Names of the values to observe, sorted.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// A tally that has seen nothing.
    #[must_use]
    pub fn tally(&self) -> RangeTally {
        RangeTally {
            magnitudes: vec![Magnitude::default(); self.values.len()],
            sums: self.sums.iter().map(|sums| vec![0.0; sums.len()]).collect(),
            channels: self
                .channels
                .iter()
                .map(|axes| vec![ChannelSums::default(); axes.len()])
                .collect(),
        }
    }

    /// Adds one tensor of the value at this position of [`RangeStudy::values`].
    ///
    /// # Panics
    /// The tally belongs to another study.
    pub fn observe(&self, tally: &mut RangeTally, value: usize, dims: &[usize], elements: &[f32]) {
        tally.magnitudes[value].observe(elements);
        for (sum, seen) in self.sums[value].iter().zip(&mut tally.sums[value]) {
            *seen = seen.max(sum.view.largest_sum(elements, dims, sum.terms));
        }
        for (axis, sums) in self.channels[value].iter().zip(&mut tally.channels[value]) {
            if let Some(axis) = axis.position(dims.len()) {
                sums.observe(elements, dims, axis);
            }
        }
    }

    /// What the tally saw, by name.
    #[must_use]
    pub fn evidence(&self, tally: &RangeTally) -> RangeEvidence {
        let sums = self.sums.iter().flatten().cloned();
        let mut means = BTreeMap::new();
        let seen = self.channels.iter().zip(&tally.channels);
        for (name, (axes, seen)) in self.values.iter().zip(seen) {
            for (axis, seen) in axes.iter().zip(seen) {
                if let Some(of_channels) = seen.means() {
                    means.insert((name.clone(), *axis), of_channels);
                }
            }
        }
        RangeEvidence {
            means,
            magnitudes: self
                .values
                .iter()
                .cloned()
                .zip(tally.magnitudes.iter().copied())
                .collect(),
            sums: sums.zip(tally.sums.iter().flatten().copied()).collect(),
        }
    }
}

impl RangeTally {
    /// What both have seen together.
    ///
    /// # Panics
    /// They belong to different studies.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.magnitudes.len(), other.magnitudes.len());
        for (mine, theirs) in self.magnitudes.iter_mut().zip(&other.magnitudes) {
            mine.merge(theirs);
        }
        let mine = self.sums.iter_mut().flatten();
        for (mine, theirs) in mine.zip(other.sums.iter().flatten()) {
            *mine = mine.max(*theirs);
        }
        let mine = self.channels.iter_mut().flatten();
        for (mine, theirs) in mine.zip(other.channels.iter().flatten()) {
            mine.merge(theirs);
        }
    }
}

impl RangeEvidence {
    /// Extremes of a value, where it was observed.
    #[must_use]
    pub fn magnitude(&self, value: &str) -> Option<Magnitude> {
        self.magnitudes.get(value).copied()
    }

    /// Values that were NaN or infinite at least once, sorted, each with how often.
    pub fn non_finite(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self
            .magnitudes
            .iter()
            .map(|(name, m)| (name.as_str(), m.non_finite));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Mean of each channel of a value that some node multiplies with weights along `axis`.
    pub(crate) fn channel_means(&self, value: &str, axis: ChannelAxis) -> Option<&[f64]> {
        self.means.get(&(value.to_owned(), axis)).map(Vec::as_slice)
    }

    pub(super) fn sum(&self, sum: &ObservedSum) -> Option<f64> {
        self.sums.get(sum).copied()
    }
}

/// Values of the main graph that depend on what is fed: the others are constants in disguise, which no engine shows.
fn computed_values<'g>(graph: &Graph<'g>) -> Vec<&'g str> {
    let mut fed: HashSet<&str> = graph.inputs().filter_map(|v| v.name.as_deref()).collect();
    let mut computed = Vec::new();
    for (_, node) in graph.nodes() {
        let has_body = node.attribute.iter().any(|a| a.g.is_some());
        if has_body || node.input.iter().any(|name| fed.contains(name.as_str())) {
            let names = (0..node.output.len()).filter_map(|slot| node.output_name(slot));
            for name in names {
                fed.insert(name);
                computed.push(name);
            }
        }
    }
    computed
}
