//! Typed tensors: an initializer's dimensions, element type and little-endian payload.

use bytes::Bytes;
use half::{bf16, f16};

use crate::DataType;
use crate::proto::{Convert, ExternalPayload, TensorFields, TensorProto};

/// A dense tensor. The payload is little-endian, row-major and shared: cloning a tensor copies no weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    data_type: DataType,
    dims: Vec<usize>,
    bytes: Bytes,
}

/// Why a tensor message could not be read.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{name}`: {reason}")]
pub struct TensorError {
    /// Name of the tensor, possibly empty.
    pub name: String,
    reason: String,
}

impl TensorError {
    fn new(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

/// `TensorProto.DataLocation.EXTERNAL`.
pub(crate) const EXTERNAL: i32 = 1;

/// Payloads of fewer bytes are converted at once.
const SMALLEST_LATE: usize = 1 << 16;

/// More elements than any payload can hold: a tensor that claims so many is refused before its size is computed.
const MAX_ELEMENTS: usize = 1 << 40;

impl TensorProto {
    /// Whether the payload lies in another file.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.data_location == Some(EXTERNAL)
    }

    /// This tensor under another name and in another element type, converted whenever it is read or written; `None` where
    /// its payload is small, or is a list of numbers in the message. For initializers of the main graph, which
    /// [`crate::Model::save`] writes piece by piece: into the data file where the source is in one, else into the model.
    #[must_use]
    pub fn converted(&self, name: &str, data_type: DataType, convert: Convert) -> Option<Self> {
        let mut message = Self::from(TensorFields {
            dims: self.dims.clone(),
            data_type: Some(data_type.code()),
            name: Some(name.to_owned()),
            data_location: Some(EXTERNAL),
            ..TensorFields::default()
        });
        message.external = if self.is_external() {
            self.external.converted(convert)?
        } else {
            let raw = self
                .raw_data
                .as_ref()
                .filter(|raw| raw.len() >= SMALLEST_LATE)?;
            let payload = ExternalPayload::found(raw.clone()).converted(convert)?;
            payload.with_place(true)
        };
        Some(message)
    }
}

impl Tensor {
    /// A tensor from its raw little-endian payload.
    ///
    /// # Errors
    /// The payload's length is not what `dims` and `data_type` need.
    pub fn from_raw(
        data_type: DataType,
        dims: Vec<usize>,
        bytes: Bytes,
    ) -> Result<Self, TensorError> {
        let expected = element_count(&dims).and_then(|n| data_type.packed_bytes(n));
        if expected != Some(bytes.len()) {
            return Err(TensorError::new(
                "",
                format!(
                    "payload has {} bytes, {data_type} {dims:?} needs {expected:?}",
                    bytes.len()
                ),
            ));
        }
        Ok(Self {
            data_type,
            dims,
            bytes,
        })
    }

    /// A float32 tensor.
    ///
    /// # Panics
    /// `values` does not have as many elements as `dims` says.
    #[must_use]
    pub fn from_f32(dims: Vec<usize>, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(DataType::F32, dims, bytes.into())
            .expect("the caller passes as many values as dims say")
    }

    /// An int64 tensor.
    ///
    /// # Panics
    /// `values` does not have as many elements as `dims` says.
    #[must_use]
    pub fn from_i64(dims: Vec<usize>, values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(DataType::I64, dims, bytes.into())
            .expect("the caller passes as many values as dims say")
    }

    /// An int32 tensor.
    ///
    /// # Panics
    /// `values` does not have as many elements as `dims` says.
    #[must_use]
    pub fn from_i32(dims: Vec<usize>, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(DataType::I32, dims, bytes.into())
            .expect("the caller passes as many values as dims say")
    }

    /// Reads a tensor message. Raw and external payloads are shared, typed fields are copied.
    ///
    /// # Errors
    /// External data that was not opened (loading a model opens it), string data, an unknown element type, negative or
    /// overflowing dims, or a payload of the wrong size.
    pub fn from_proto(proto: &TensorProto) -> Result<Self, TensorError> {
        let (data_type, dims, n) = declared(proto)?;
        let bytes = match &proto.raw_data {
            _ if proto.is_external() => proto.external.bytes().ok_or_else(|| not_opened(proto))?,
            Some(raw) => raw.clone(),
            None => typed_payload(proto, data_type, n).ok_or_else(|| no_payload(proto, n))?,
        };
        check_length(proto, data_type, &dims, n, bytes.len())?;
        Ok(Self {
            data_type,
            dims,
            bytes,
        })
    }

    /// Whether [`Tensor::from_proto`] can read a message, without computing the payload of an external tensor.
    ///
    /// # Errors
    /// As [`Tensor::from_proto`].
    pub(crate) fn check(proto: &TensorProto) -> Result<(), TensorError> {
        if !proto.is_external() {
            return Self::from_proto(proto).map(drop);
        }
        let (data_type, dims, n) = declared(proto)?;
        let len = proto.external.byte_len().ok_or_else(|| not_opened(proto))?;
        check_length(proto, data_type, &dims, n, len)
    }

    /// The message for this tensor, payload shared.
    #[must_use]
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto::from(TensorFields {
            dims: self.dims.iter().map(|&d| d as i64).collect(),
            data_type: Some(self.data_type.code()),
            name: Some(name.to_owned()),
            raw_data: Some(self.bytes.clone()),
            ..TensorFields::default()
        })
    }

    /// Element type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Dimensions; empty for a scalar.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The little-endian payload.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The elements of a floating-point tensor as f32 (float64 is rounded); `None` for other types.
    #[must_use]
    pub fn to_f32_vec(&self) -> Option<Vec<f32>> {
        let chunks = |n| self.bytes.chunks_exact(n);
        Some(match self.data_type {
            DataType::F32 => chunks(4).map(|b| f32::from_le_bytes(fixed(b))).collect(),
            DataType::F64 => chunks(8)
                .map(|b| f64::from_le_bytes(fixed(b)) as f32)
                .collect(),
            DataType::F16 => chunks(2)
                .map(|b| f16::from_le_bytes(fixed(b)).to_f32())
                .collect(),
            DataType::BF16 => chunks(2)
                .map(|b| bf16::from_le_bytes(fixed(b)).to_f32())
                .collect(),
            _ => return None,
        })
    }

    /// The elements of an integer or boolean tensor as i64; `None` for other types and for uint64 beyond i64.
    #[must_use]
    pub fn to_i64_vec(&self) -> Option<Vec<i64>> {
        let chunks = |n| self.bytes.chunks_exact(n);
        Some(match self.data_type {
            DataType::I64 => chunks(8).map(|b| i64::from_le_bytes(fixed(b))).collect(),
            DataType::I32 => chunks(4)
                .map(|b| i64::from(i32::from_le_bytes(fixed(b))))
                .collect(),
            DataType::U32 => chunks(4)
                .map(|b| i64::from(u32::from_le_bytes(fixed(b))))
                .collect(),
            DataType::I16 => chunks(2)
                .map(|b| i64::from(i16::from_le_bytes(fixed(b))))
                .collect(),
            DataType::U16 => chunks(2)
                .map(|b| i64::from(u16::from_le_bytes(fixed(b))))
                .collect(),
            DataType::I8 => self.bytes.iter().map(|&b| i64::from(b as i8)).collect(),
            DataType::U8 | DataType::Bool => self.bytes.iter().map(|&b| i64::from(b)).collect(),
            DataType::U64 => chunks(8)
                .map(|b| i64::try_from(u64::from_le_bytes(fixed(b))).ok())
                .collect::<Option<_>>()?,
            _ => return None,
        })
    }
}

/// Element type, dimensions and number of elements that a message declares.
fn declared(proto: &TensorProto) -> Result<(DataType, Vec<usize>, usize), TensorError> {
    let fail = |reason: String| error_of(proto, reason);
    if proto.segment.is_some() {
        return Err(fail("segmented tensors are not supported".into()));
    }
    let code = proto.data_type.unwrap_or_default();
    let data_type =
        DataType::from_code(code).ok_or_else(|| fail(format!("unknown element type {code}")))?;
    let dims = proto
        .dims
        .iter()
        .map(|&d| {
            usize::try_from(d).map_err(|_| fail(format!("negative dimension in {:?}", proto.dims)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let n = element_count(&dims)
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| fail(format!("dimensions {dims:?} are too large")))?;
    Ok((data_type, dims, n))
}

fn check_length(
    proto: &TensorProto,
    data_type: DataType,
    dims: &[usize],
    n: usize,
    found: usize,
) -> Result<(), TensorError> {
    let expected = data_type
        .packed_bytes(n)
        .ok_or_else(|| error_of(proto, format!("{data_type} tensors are not supported")))?;
    if found == expected {
        return Ok(());
    }
    Err(error_of(
        proto,
        format!(
            "payload has {found} bytes, {data_type} {dims:?} needs {expected}; the file is damaged"
        ),
    ))
}

fn error_of(proto: &TensorProto, reason: impl Into<String>) -> TensorError {
    TensorError::new(proto.name.as_deref().unwrap_or_default(), reason)
}

fn not_opened(proto: &TensorProto) -> TensorError {
    error_of(
        proto,
        "its data is in an external file that was not opened; load the model from its file",
    )
}

fn no_payload(proto: &TensorProto, n: usize) -> TensorError {
    let data_type = DataType::from_code(proto.data_type.unwrap_or_default());
    let data_type = data_type.map_or("unknown", DataType::name);
    error_of(
        proto,
        format!("no payload of {n} elements of type {data_type}"),
    )
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .try_into()
        .expect("chunks_exact yields chunks of N bytes")
}

fn element_count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The payload of a tensor that uses one of the typed fields, as little-endian bytes.
fn typed_payload(proto: &TensorProto, data_type: DataType, n: usize) -> Option<Bytes> {
    use DataType as T;
    fn le<V: Copy, const N: usize>(
        values: &[V],
        n: usize,
        to_bytes: impl Fn(V) -> [u8; N],
    ) -> Option<Bytes> {
        (values.len() == n).then(|| {
            values
                .iter()
                .flat_map(|&v| to_bytes(v))
                .collect::<Vec<u8>>()
                .into()
        })
    }
    match data_type {
        T::F32 => le(&proto.float_data, n, f32::to_le_bytes),
        T::F64 => le(&proto.double_data, n, f64::to_le_bytes),
        T::I64 => le(&proto.int64_data, n, i64::to_le_bytes),
        T::U64 => le(&proto.uint64_data, n, u64::to_le_bytes),
        T::U32 => le(&proto.uint64_data, n, |v| (v as u32).to_le_bytes()),
        T::I32 => le(&proto.int32_data, n, i32::to_le_bytes),
        T::I16 | T::U16 | T::F16 | T::BF16 => {
            le(&proto.int32_data, n, |v| (v as u16).to_le_bytes())
        }
        T::Complex64 => le(&proto.float_data, n.checked_mul(2)?, f32::to_le_bytes),
        T::Complex128 => le(&proto.double_data, n.checked_mul(2)?, f64::to_le_bytes),
        T::String => None,
        // Eight bits and fewer: one entry holds one byte, or the packed byte of several elements.
        _ if data_type.bits() == 6 => None,
        _ => le(&proto.int32_data, data_type.packed_bytes(n)?, |v| [v as u8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(
        data_type: DataType,
        dims: &[i64],
        fill: impl FnOnce(&mut TensorProto),
    ) -> TensorProto {
        let mut proto = TensorProto::from(TensorFields {
            name: Some("w".into()),
            dims: dims.to_vec(),
            data_type: Some(data_type.code()),
            ..TensorFields::default()
        });
        fill(&mut proto);
        proto
    }

    #[test]
    fn typed_fields_read_like_raw_data() {
        let f32s = Tensor::from_proto(&proto(DataType::F32, &[2], |p| {
            p.float_data = vec![1.5, -2.0];
        }))
        .unwrap();
        assert_eq!(f32s.to_f32_vec().unwrap(), [1.5, -2.0]);
        let halves =
            Tensor::from_proto(&proto(DataType::F16, &[1], |p| p.int32_data = vec![0x3c00]))
                .unwrap();
        assert_eq!(halves.to_f32_vec().unwrap(), [1.0]);
        let u32s = Tensor::from_proto(&proto(DataType::U32, &[1], |p| {
            p.uint64_data = vec![4_000_000_000];
        }))
        .unwrap();
        assert_eq!(u32s.to_i64_vec().unwrap(), [4_000_000_000]);
        let i8s = Tensor::from_proto(&proto(DataType::I8, &[2], |p| p.int32_data = vec![-1, 127]))
            .unwrap();
        assert_eq!(i8s.to_i64_vec().unwrap(), [-1, 127]);
        let nibbles = Tensor::from_proto(&proto(DataType::U4, &[3], |p| {
            p.int32_data = vec![0x21, 0x03];
        }))
        .unwrap();
        assert_eq!(&nibbles.bytes()[..], [0x21, 0x03]);
    }

    #[test]
    fn damaged_tensors_are_refused_with_the_reason() {
        let raw = |n: usize| move |p: &mut TensorProto| p.raw_data = Some(vec![0; n].into());
        for (tensor, reason) in [
            (proto(DataType::F32, &[2], raw(7)), "payload has 7 bytes"),
            (proto(DataType::F32, &[-1], raw(4)), "negative dimension"),
            (proto(DataType::F32, &[1 << 62, 4], raw(4)), "too large"),
            (
                proto(DataType::F32, &[2], |p| p.float_data = vec![1.0]),
                "no payload of 2 elements",
            ),
            (
                proto(DataType::F32, &[1], |p| p.data_location = Some(EXTERNAL)),
                "external file",
            ),
            (
                proto(DataType::F32, &[1], |p| p.data_type = Some(99)),
                "unknown element type 99",
            ),
        ] {
            let error = Tensor::from_proto(&tensor).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("`w`"), "{error}");
        }
    }

    #[test]
    fn message_and_tensor_agree_both_ways() {
        let tensor = Tensor::from_i64(vec![2, 1], &[3, -4]);
        assert_eq!(Tensor::from_proto(&tensor.to_proto("t")).unwrap(), tensor);
    }
}
