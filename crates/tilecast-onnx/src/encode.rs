//! Encoding a model into a stream: the bytes of `encode_to_vec` without a second copy of the weights in memory.
//!
//! Messages on the way to the large payloads (model, graph, initializer) are written field by field; everything else is
//! encoded into a small buffer. Fields are taken apart exhaustively, so that a new one cannot be forgotten here.

use std::io::{self, Write};

use prost::Message;
use prost::encoding::{
    WireType, encode_key, encode_varint, encoded_len_varint, int64, key_len, message, string,
};

use crate::proto::{GraphFields, GraphProto, ModelFields, ModelProto, TensorFields, TensorProto};

/// The buffer is handed on when it has grown to this; payloads above it are not buffered.
const BUFFER_BYTES: usize = 1 << 16;

/// Number of the payload's field in a tensor.
const RAW_DATA: u32 = 9;

/// Length of the encoded model, with the payloads that are still to be converted.
pub(crate) fn model_len(model: &ModelProto) -> usize {
    let Some(graph) = &model.graph else {
        return model.encoded_len();
    };
    let field = |len: usize| encoded_len_varint(len as u64) + len;
    model.encoded_len() - field(graph.encoded_len()) + field(graph_len(graph))
}

fn graph_len(graph: &GraphProto) -> usize {
    let field = |len: usize| encoded_len_varint(len as u64) + len;
    let late = graph
        .initializer
        .iter()
        .filter(|t| t.external.is_embedded());
    late.fold(graph.encoded_len(), |len, tensor| {
        let parts = Parts::of(tensor);
        len - field(tensor.encoded_len()) + field(parts.encoded_len())
    })
}

/// A tensor around its payload.
struct Parts<'t> {
    before: TensorFields,
    payload_len: usize,
    after: TensorFields,
    tensor: &'t TensorProto,
}

impl<'t> Parts<'t> {
    fn of(tensor: &'t TensorProto) -> Self {
        let TensorFields {
            dims,
            data_type,
            segment,
            float_data,
            int32_data,
            string_data,
            int64_data,
            name,
            raw_data,
            double_data,
            uint64_data,
            doc_string,
            external_data,
            data_location,
            metadata_props,
        } = &tensor.fields;
        let embedded = tensor.external.is_embedded();
        let before = TensorFields {
            dims: dims.clone(),
            data_type: *data_type,
            segment: segment.clone(),
            float_data: float_data.clone(),
            int32_data: int32_data.clone(),
            string_data: string_data.clone(),
            int64_data: int64_data.clone(),
            name: name.clone(),
            ..TensorFields::default()
        };
        let after = TensorFields {
            double_data: double_data.clone(),
            uint64_data: uint64_data.clone(),
            doc_string: doc_string.clone(),
            external_data: external_data.clone(),
            // What is converted while it is written does not lie elsewhere any more.
            data_location: data_location.filter(|_| !embedded),
            metadata_props: metadata_props.clone(),
            ..TensorFields::default()
        };
        let late = tensor.external.byte_len().filter(|_| embedded);
        Self {
            before,
            payload_len: late.unwrap_or_else(|| raw_data.as_ref().map_or(0, bytes::Bytes::len)),
            after,
            tensor,
        }
    }

    fn encoded_len(&self) -> usize {
        let payload =
            key_len(RAW_DATA) + encoded_len_varint(self.payload_len as u64) + self.payload_len;
        self.before.encoded_len()
            + payload
            + self.after.encoded_len()
            + self.tensor.unknown.encoded_len()
    }
}

/// Writes the encoded model.
pub(crate) fn write_model(model: &ModelProto, out: &mut impl Write) -> io::Result<()> {
    let mut stream = Stream {
        out,
        buffer: Vec::with_capacity(2 * BUFFER_BYTES),
    };
    stream.model(model)?;
    stream.hand_on()
}

struct Stream<'w, W> {
    out: &'w mut W,
    buffer: Vec<u8>,
}

impl<W: Write> Stream<'_, W> {
    fn model(&mut self, model: &ModelProto) -> io::Result<()> {
        let ModelFields {
            ir_version,
            producer_name,
            producer_version,
            domain,
            model_version,
            doc_string,
            graph,
            opset_import,
            metadata_props,
            training_info,
            functions,
            configuration,
        } = &model.fields;
        self.integer(1, ir_version.as_ref());
        self.text(2, producer_name.as_ref());
        self.text(3, producer_version.as_ref());
        self.text(4, domain.as_ref());
        self.integer(5, model_version.as_ref());
        self.text(6, doc_string.as_ref());
        if let Some(graph) = graph {
            self.header(7, graph_len(graph));
            self.graph(graph)?;
        }
        self.messages(8, opset_import)?;
        self.messages(14, metadata_props)?;
        self.messages(20, training_info)?;
        self.messages(25, functions)?;
        self.messages(26, configuration)?;
        model.unknown.encode(&mut self.buffer);
        Ok(())
    }

    fn graph(&mut self, graph: &GraphProto) -> io::Result<()> {
        let GraphFields {
            node,
            name,
            initializer,
            doc_string,
            input,
            output,
            value_info,
            quantization_annotation,
            sparse_initializer,
            metadata_props,
        } = &graph.fields;
        self.messages(1, node)?;
        self.text(2, name.as_ref());
        for tensor in initializer {
            self.initializer(5, tensor)?;
        }
        self.text(10, doc_string.as_ref());
        self.messages(11, input)?;
        self.messages(12, output)?;
        self.messages(13, value_info)?;
        self.messages(14, quantization_annotation)?;
        self.messages(15, sparse_initializer)?;
        self.messages(16, metadata_props)?;
        graph.unknown.encode(&mut self.buffer);
        Ok(())
    }

    fn initializer(&mut self, tag: u32, tensor: &TensorProto) -> io::Result<()> {
        let raw = tensor.raw_data.as_ref().filter(|p| p.len() > BUFFER_BYTES);
        if raw.is_none() && !tensor.external.is_embedded() {
            message::encode(tag, tensor, &mut self.buffer);
            return self.hand_on_when_full();
        }
        let parts = Parts::of(tensor);
        self.header(tag, parts.encoded_len());
        parts.before.encode_raw(&mut self.buffer);
        self.header(RAW_DATA, parts.payload_len);
        self.hand_on()?;
        match raw {
            Some(payload) => self.out.write_all(payload)?,
            None => tensor.external.write_to(self.out)?,
        }
        parts.after.encode_raw(&mut self.buffer);
        tensor.unknown.encode(&mut self.buffer);
        self.hand_on_when_full()
    }

    fn header(&mut self, tag: u32, len: usize) {
        encode_key(tag, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(len as u64, &mut self.buffer);
    }

    fn integer(&mut self, tag: u32, value: Option<&i64>) {
        if let Some(value) = value {
            int64::encode(tag, value, &mut self.buffer);
        }
    }

    fn text(&mut self, tag: u32, value: Option<&String>) {
        if let Some(value) = value {
            string::encode(tag, value, &mut self.buffer);
        }
    }

    fn messages<M: Message>(&mut self, tag: u32, values: &[M]) -> io::Result<()> {
        for value in values {
            message::encode(tag, value, &mut self.buffer);
            self.hand_on_when_full()?;
        }
        Ok(())
    }

    fn hand_on_when_full(&mut self) -> io::Result<()> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        FunctionProto, NodeProto, OperatorSetIdProto, SparseTensorProto, StringStringEntryFields,
        StringStringEntryProto, TensorAnnotation, TrainingInfoProto, ValueInfoProto,
    };
    use bytes::Bytes;

    fn entry() -> StringStringEntryProto {
        StringStringEntryProto::from(StringStringEntryFields {
            key: Some("key".into()),
            value: None,
        })
    }

    /// A model with every field of the streamed messages filled, and unknown ones.
    fn full_model() -> ModelProto {
        let unknown = |bytes: &[u8]| OperatorSetIdProto::decode(bytes).unwrap().unknown;
        let large = TensorProto {
            fields: TensorFields {
                dims: vec![3, -1],
                data_type: Some(1),
                segment: Some(crate::proto::Segment::default()),
                float_data: vec![1.0],
                int32_data: vec![2],
                string_data: vec![Bytes::from_static(b"s")],
                int64_data: vec![-3],
                name: Some("w".into()),
                raw_data: Some(vec![7; BUFFER_BYTES + 1].into()),
                double_data: vec![4.0],
                uint64_data: vec![5],
                doc_string: Some("doc".into()),
                external_data: vec![entry()],
                data_location: Some(0),
                metadata_props: vec![entry()],
            },
            unknown: unknown(&[0xc0, 0x3e, 5]),
            ..TensorProto::default()
        };
        let small = TensorProto::from(TensorFields {
            raw_data: Some(Bytes::from_static(b"abc")),
            ..TensorFields::default()
        });
        let graph = GraphProto {
            fields: GraphFields {
                node: vec![NodeProto::default(); 3],
                name: Some("g".into()),
                initializer: vec![small.clone(), large.clone(), small, large],
                doc_string: Some(String::new()),
                input: vec![ValueInfoProto::default()],
                output: vec![ValueInfoProto::default()],
                value_info: vec![ValueInfoProto::default()],
                quantization_annotation: vec![TensorAnnotation::default()],
                sparse_initializer: vec![SparseTensorProto::default()],
                metadata_props: vec![entry()],
            },
            unknown: unknown(&[0x18, 9]),
        };
        ModelProto {
            fields: ModelFields {
                ir_version: Some(10),
                producer_name: Some("p".into()),
                producer_version: Some("v".into()),
                domain: Some("d".into()),
                model_version: Some(3),
                doc_string: Some("doc".into()),
                graph: Some(graph),
                opset_import: vec![OperatorSetIdProto::default()],
                metadata_props: vec![entry()],
                training_info: vec![TrainingInfoProto::default()],
                functions: vec![FunctionProto::default()],
                configuration: vec![crate::proto::DeviceConfigurationProto::default()],
            },
            unknown: unknown(&[0xc2, 0x3e, 2, b'h', b'i']),
        }
    }

    #[test]
    fn the_stream_is_what_encode_to_vec_gives() {
        for model in [full_model(), ModelProto::default()] {
            let mut streamed = Vec::new();
            write_model(&model, &mut streamed).unwrap();
            assert!(streamed == model.encode_to_vec());
        }
    }
}
