//! Small graphs for tests, written as a chain that grows at its end.

use std::path::Path;

use tilecast_onnx::proto::{
    AttributeProto, DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields,
    ModelProto, OperatorSetIdFields, OperatorSetIdProto, TensorProto, TensorShapeFields,
    TensorShapeProto, TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue,
    ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{Model, Tensor, attribute, node};

/// Channels of every image and feature map in these graphs, unless a shuffle changes them.
pub(crate) const CHANNELS: usize = 4;

/// A graph under construction over the image input `x`, [1, 4, h, w]. Operations append to the end of the chain.
#[derive(Clone)]
pub(crate) struct Net {
    nodes: Vec<tilecast_onnx::proto::NodeProto>,
    initializers: Vec<TensorProto>,
    end: String,
    opset: i64,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            initializers: Vec::new(),
            end: "x".into(),
            opset: 17,
        }
    }

    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// Name of the value at the end of the chain.
    pub(crate) fn end(&self) -> String {
        self.end.clone()
    }

    /// Goes on from an earlier value.
    pub(crate) fn from(mut self, value: &str) -> Self {
        value.clone_into(&mut self.end);
        self
    }

    /// Adds a constant and returns its name.
    pub(crate) fn constant(&mut self, tensor: &Tensor) -> String {
        let name = format!("c{}", self.initializers.len());
        self.initializers.push(tensor.to_proto(&name));
        name
    }

    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        self.constant(&Tensor::from_i64(vec![values.len()], values))
    }

    /// Appends a node that reads the end of the chain and these further values.
    pub(crate) fn op_with(
        mut self,
        op: &str,
        more: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> Self {
        let index = self.nodes.len();
        let output = format!("v{index}");
        let inputs: Vec<&str> = std::iter::once(self.end.as_str())
            .chain(more.iter().copied())
            .collect();
        let made = node(op, &format!("n{index}"), &inputs, &[&output]);
        self.nodes.push(
            attributes
                .into_iter()
                .fold(made, tilecast_onnx::proto::NodeProto::with_attribute),
        );
        self.end = output;
        self
    }

    pub(crate) fn op(self, op: &str, attributes: Vec<AttributeProto>) -> Self {
        self.op_with(op, &[], attributes)
    }

    /// A square convolution from `from` to `to` channels with `SAME`-like explicit pads for odd kernels.
    pub(crate) fn conv_of(
        mut self,
        [from, to]: [usize; 2],
        kernel: usize,
        stride: i64,
        pad: i64,
    ) -> Self {
        let n = to * from * kernel * kernel;
        let weight = self.constant(&Tensor::from_f32(
            vec![to, from, kernel, kernel],
            &vec![0.1; n],
        ));
        self.op_with(
            "Conv",
            &[&weight],
            vec![
                attribute::ints("strides", &[stride; 2]),
                attribute::ints("pads", &[pad; 4]),
            ],
        )
    }

    /// A 3×3 convolution.
    pub(crate) fn conv3(self) -> Self {
        self.conv_of([CHANNELS; 2], 3, 1, 1)
    }

    pub(crate) fn conv3s(self, n: usize) -> Self {
        (0..n).fold(self, |net, _| net.conv3())
    }

    /// A 2×2 convolution with stride 2.
    pub(crate) fn down(self) -> Self {
        self.conv_of([CHANNELS; 2], 2, 2, 0)
    }

    pub(crate) fn conv_transpose(mut self, kernel: usize, stride: i64, pad: i64) -> Self {
        let n = CHANNELS * CHANNELS * kernel * kernel;
        let weight = self.constant(&Tensor::from_f32(
            vec![CHANNELS, CHANNELS, kernel, kernel],
            &vec![0.1; n],
        ));
        self.op_with(
            "ConvTranspose",
            &[&weight],
            vec![
                attribute::ints("strides", &[stride; 2]),
                attribute::ints("pads", &[pad; 4]),
            ],
        )
    }

    /// Pixel shuffle, with a 1×1 convolution before it for the channels.
    pub(crate) fn shuffle(self, factor: i64) -> Self {
        let wide = CHANNELS * (factor * factor) as usize;
        self.conv_of([CHANNELS, wide], 1, 1, 0)
            .op("DepthToSpace", vec![attribute::int("blocksize", factor)])
    }

    /// Pixel unshuffle, with a 1×1 convolution after it for the channels.
    pub(crate) fn unshuffle(self, factor: i64) -> Self {
        let wide = CHANNELS * (factor * factor) as usize;
        self.op("SpaceToDepth", vec![attribute::int("blocksize", factor)])
            .conv_of([wide, CHANNELS], 1, 1, 0)
    }

    pub(crate) fn resize(mut self, scale: f32, attributes: Vec<AttributeProto>) -> Self {
        let scales = self.constant(&Tensor::from_f32(vec![4], &[1.0, 1.0, scale, scale]));
        self.op_with("Resize", &["", &scales], attributes)
    }

    pub(crate) fn nearest(self, scale: f32) -> Self {
        self.resize(
            scale,
            vec![
                attribute::string("mode", "nearest"),
                attribute::string("coordinate_transformation_mode", "asymmetric"),
                attribute::string("nearest_mode", "floor"),
            ],
        )
    }

    pub(crate) fn bilinear(self, scale: f32) -> Self {
        self.resize(scale, vec![attribute::string("mode", "linear")])
    }

    pub(crate) fn add(self, other: &str) -> Self {
        self.op_with("Add", &[other], vec![])
    }

    /// The model that ends here.
    pub(crate) fn model(self) -> Model {
        let end = self.end.clone();
        self.model_with_outputs(&[&end])
    }

    pub(crate) fn model_with_outputs(self, outputs: &[&str]) -> Model {
        let number = |n: usize| DimValue::DimValue(n as i64);
        let dims = [
            number(1),
            number(CHANNELS),
            DimValue::DimParam("h".into()),
            DimValue::DimParam("w".into()),
        ];
        let shape = TensorShapeProto::from(TensorShapeFields {
            dim: dims
                .into_iter()
                .map(|value| {
                    Dimension::from(DimensionFields {
                        value: Some(value),
                        ..DimensionFields::default()
                    })
                })
                .collect(),
        });
        let value_type = TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(TensorType::from(TensorTypeFields {
                elem_type: Some(1),
                shape: Some(shape),
            }))),
            ..TypeFields::default()
        });
        let value = |name: &str, r#type: Option<TypeProto>| {
            ValueInfoProto::from(ValueInfoFields {
                name: Some(name.into()),
                r#type,
                ..ValueInfoFields::default()
            })
        };
        let graph = GraphProto::from(GraphFields {
            name: Some("net".into()),
            node: self.nodes,
            input: vec![value("x", Some(value_type))],
            output: outputs.iter().map(|name| value(name, None)).collect(),
            initializer: self.initializers,
            ..GraphFields::default()
        });
        let opset = OperatorSetIdProto::from(OperatorSetIdFields {
            domain: Some(String::new()),
            version: Some(self.opset),
        });
        Model::from_proto(ModelProto::from(ModelFields {
            ir_version: Some(8),
            opset_import: vec![opset],
            graph: Some(graph),
            ..ModelFields::default()
        }))
        .expect("test graphs are valid")
    }
}

/// A U-Net: at each level `encoder[i]` and `decoder[i]` apply, with a skip from one to the other.
pub(crate) fn u_net(
    net: Net,
    levels: usize,
    encoder: &dyn Fn(Net, usize) -> Net,
    middle: &dyn Fn(Net) -> Net,
    decoder: &dyn Fn(Net, usize) -> Net,
    [down, up]: [&dyn Fn(Net) -> Net; 2],
) -> Net {
    let mut net = net;
    let mut skips = Vec::new();
    for level in 0..levels {
        net = encoder(net, level);
        skips.push(net.end());
        net = down(net);
    }
    net = middle(net);
    for level in (0..levels).rev() {
        net = up(net).add(&skips[level]);
        net = decoder(net, level);
    }
    net
}

/// One of the sample models.
pub(crate) fn sample(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/{name}.onnx"));
    Model::load(&path).expect("the sample models are part of the repository")
}
