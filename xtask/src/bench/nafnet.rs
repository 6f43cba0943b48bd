//! A NAFNet of any size, built from the nodes of the sample: what an exporter writes for one block is repeated with other
//! names and numbers of channels.

use std::collections::HashMap;
use std::path::Path;

use rand_core::Rng;
use rand_pcg::Pcg64;
use tilecast_onnx::proto::{GraphProto, ModelProto, NodeProto};
use tilecast_onnx::{Model, Tensor, attribute};

use super::{BenchError, checkout};

/// The export that lends its nodes.
const SAMPLE: &str = "models/nafnet-denoise.onnx";
/// Channels of its first level.
const SAMPLE_WIDTH: usize = 16;

const SEED: u128 = 0x6e61_666e_6574;

/// Channels of the first level, and blocks: per encoder level, in the middle, per decoder level.
#[derive(Debug)]
pub(super) struct Architecture {
    pub(super) width: usize,
    pub(super) encoder: &'static [usize],
    pub(super) middle: usize,
    pub(super) decoder: &'static [usize],
}

/// The network of the paper for denoising, with 29 million parameters.
pub(super) const PUBLISHED: Architecture = Architecture {
    width: 32,
    encoder: &[2, 2, 4, 8],
    middle: 12,
    decoder: &[2, 2, 2, 2],
};

/// Writes the model, with random weights that keep its activations in range.
///
/// # Errors
/// The sample cannot be read, or the model not written.
pub(super) fn write(architecture: &Architecture, path: &Path) -> Result<(), BenchError> {
    let sample = Model::load(&checkout().join(SAMPLE))
        .map_err(|e| BenchError::step("loading the sample", e))?;
    let model = Builder::new(sample.proto().clone()).build(architecture);
    let model = Model::from_proto(model).map_err(|violations| {
        let lines: Vec<String> = violations.iter().take(4).map(ToString::to_string).collect();
        BenchError::step("building the network", lines.join("; "))
    })?;
    model
        .save(path)
        .map_err(|e| BenchError::step("saving the network", e))
}

/// Where a part of the sample goes.
struct Place<'a> {
    /// Prefix of the names of the part's nodes in the sample, and what replaces it.
    nodes: (&'a str, &'a str),
    /// The same for its weights.
    weights: (&'a str, &'a str),
    /// The value that the part reads in the sample, and what it is to read.
    input: (&'a str, &'a str),
    /// What its weights have [`SAMPLE_WIDTH`] channels for.
    channels: usize,
}

struct Builder {
    sample: ModelProto,
    dims: HashMap<String, Vec<usize>>,
    graph: GraphProto,
    random: Pcg64,
}

impl Builder {
    fn new(mut sample: ModelProto) -> Self {
        let mut graph = sample.graph.take().unwrap_or_default();
        let old = graph.clone();
        graph.node.clear();
        graph.initializer.clear();
        let dims = old.initializer.iter().map(|tensor| {
            let dims = tensor.dims.iter().map(|&d| d as usize).collect();
            (tensor.name.clone().unwrap_or_default(), dims)
        });
        let dims = dims.collect();
        sample.graph = Some(old);
        Self {
            sample,
            dims,
            graph,
            random: Pcg64::new(SEED, 0),
        }
    }

    fn sample_nodes(&self) -> &[NodeProto] {
        self.sample.graph.as_ref().map_or(&[], |graph| &graph.node)
    }

    fn build(mut self, architecture: &Architecture) -> ModelProto {
        let nodes = self.sample_nodes().to_vec();
        let position = |name: &str| nodes.iter().position(|n| n.label() == name).unwrap_or(0);
        let (first, last) = (position("/intro/Conv"), position("/ending/Conv"));
        // Shape arithmetic and padding, up to the first convolution.
        self.graph.node.extend_from_slice(&nodes[..first]);
        let mut channels = architecture.width;
        let plain = |input| Place {
            nodes: ("/", "/"),
            weights: ("", ""),
            input: ("", input),
            channels,
        };
        let mut x = self.part("/intro/Conv", &plain(""));
        let mut skips = Vec::new();
        for (level, &n) in architecture.encoder.iter().enumerate() {
            x = self.blocks(&format!("encs.{level}"), n, channels, x);
            skips.push(x.clone());
            x = self.part(
                "/downs.0/",
                &Place {
                    nodes: ("downs.0", &format!("downs.{level}")),
                    weights: ("downs.0", &format!("downs.{level}")),
                    input: ("/encs.0/encs.0.0/Add_1_output_0", &x),
                    channels,
                },
            );
            channels *= 2;
        }
        x = self.blocks("mid", architecture.middle, channels, x);
        for (level, &n) in architecture.decoder.iter().enumerate() {
            // The lowest level of the sample has sixteen times its width.
            x = self.part(
                "/ups.0/",
                &Place {
                    nodes: ("ups.0", &format!("ups.{level}")),
                    weights: ("ups.0", &format!("ups.{level}")),
                    input: ("/mid/mid.1/Add_1_output_0", &x),
                    channels: channels / 16,
                },
            );
            channels /= 2;
            let skip = skips.pop().unwrap_or_default();
            let name = format!("/skip.{level}/Add");
            let sum = format!("{name}_output_0");
            let add = tilecast_onnx::node("Add", &name, &[&x, &skip], &[&sum]);
            self.graph.node.push(add);
            x = self.blocks(&format!("decs.{level}"), n, channels, sum);
        }
        self.part(
            "/ending/Conv",
            &Place {
                nodes: ("/", "/"),
                weights: ("", ""),
                input: ("/decs.3/decs.3.0/Add_1_output_0", &x),
                channels,
            },
        );
        self.graph.node.extend_from_slice(&nodes[last + 1..]);
        let mut model = self.sample;
        model.graph = Some(self.graph);
        model
    }

    fn blocks(&mut self, stage: &str, n: usize, channels: usize, mut x: String) -> String {
        for index in 0..n {
            let place = Place {
                nodes: ("encs.0/encs.0.0", &format!("{stage}/{stage}.{index}")),
                weights: ("encs.0.0", &format!("{stage}.{index}")),
                input: ("/intro/Conv_output_0", &x),
                channels,
            };
            x = self.part("/encs.0/encs.0.0/", &place);
        }
        x
    }

    /// Copies the nodes of the sample whose names begin with `prefix`; the output of the last one.
    fn part(&mut self, prefix: &str, place: &Place<'_>) -> String {
        let nodes: Vec<NodeProto> = self
            .sample_nodes()
            .iter()
            .filter(|node| node.label().starts_with(prefix))
            .cloned()
            .collect();
        let mut last = String::new();
        for mut node in nodes {
            let fields = &mut node.fields;
            for name in fields.name.iter_mut().chain(&mut fields.output) {
                *name = name.replace(place.nodes.0, place.nodes.1);
            }
            for slot in 0..node.input.len() {
                let name = node.input[slot].clone();
                node.input[slot] = if self.dims.contains_key(&name) {
                    self.weights(&name, place)
                } else if name == place.input.0 {
                    place.input.1.to_owned()
                } else {
                    name.replace(place.nodes.0, place.nodes.1)
                };
            }
            if matches!(node.int("group"), Ok(Some(groups)) if groups > 1) {
                node.attribute
                    .retain(|a| a.name.as_deref() != Some("group"));
                let groups = attribute::int("group", 2 * place.channels as i64);
                node.attribute.push(groups);
            }
            last.clone_from(&node.output[0]);
            self.graph.node.push(node);
        }
        last
    }

    /// Adds random weights in the place of these of the sample; their name.
    fn weights(&mut self, name: &str, place: &Place<'_>) -> String {
        let scaled = |&d: &usize| match d % SAMPLE_WIDTH {
            0 => d / SAMPLE_WIDTH * place.channels,
            _ => d,
        };
        let dims: Vec<usize> = self.dims[name].iter().map(scaled).collect();
        let n: usize = dims.iter().product();
        let is_kernel = name.ends_with(".weight");
        let is_gain = name.contains("Mul_");
        let fan_in = if is_kernel { n / dims[0] } else { 1 };
        // Uniform with the variance that keeps a convolution's output as large as its input.
        let bound = if is_kernel {
            (3.0 / fan_in as f32).sqrt()
        } else {
            0.1
        };
        let centre = if is_gain { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..n)
            .map(|_| {
                let unit = (self.random.next_u32() >> 8) as f32 / (1_u32 << 23) as f32 - 1.0;
                centre + bound * unit
            })
            .collect();
        // Constants that the exporter folded are named by a number; the block makes them unique.
        let new = match name.strip_prefix("onnx::") {
            Some(number) => format!("{}.{number}", place.weights.1),
            None => name.replace(place.weights.0, place.weights.1),
        };
        let tensor = Tensor::from_f32(dims, &values).to_proto(&new);
        self.graph.initializer.push(tensor);
        new
    }
}

#[cfg(test)]
mod tests {
    use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};

    use super::*;

    #[test]
    fn the_network_has_the_nodes_of_its_blocks_and_runs() {
        let small = Architecture {
            width: 32,
            encoder: &[1, 1, 2, 2],
            middle: 2,
            decoder: &[1, 1, 1, 1],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        write(&small, &path).unwrap();
        let model = Model::load(&path).unwrap();
        // Blocks as the sample has them, so as many nodes, at twice its width.
        let sample = Model::load(&checkout().join(SAMPLE)).unwrap();
        assert_eq!(
            model.graph_proto().node.len(),
            sample.graph_proto().node.len()
        );
        let ratio = model.encoded_len() as f64 / sample.encoded_len() as f64;
        assert!((3.5..4.0).contains(&ratio), "{ratio}");
        let dims = vec![1, 3, 32, 32];
        let options = SessionOptions {
            input_shapes: vec![("input".into(), dims.clone())],
            ..SessionOptions::default()
        };
        let input = HostTensor::new(dims.clone(), vec![0.5; 3 * 32 * 32]);
        let session = TractEngine::new().load(&model, &options).unwrap();
        let output = session.run(&[input]).unwrap().remove(0);
        assert_eq!(output.dims(), dims);
        assert!(output.data().iter().all(|v| v.is_finite()));
    }
}
