//! Fields that a message carries and this crate does not know, kept for the way back.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
    skip_field,
};

#[derive(Clone, Debug, PartialEq)]
enum Payload {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Delimited(Bytes),
}

/// Unknown fields of one message, in the order read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unknown(Vec<(u32, Payload)>);

impl Unknown {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn capture(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let payload = match wire_type {
            WireType::Varint => Payload::Varint(decode_varint(buf)?),
            WireType::SixtyFourBit if buf.remaining() >= 8 => Payload::Fixed64(buf.get_u64_le()),
            WireType::ThirtyTwoBit if buf.remaining() >= 4 => Payload::Fixed32(buf.get_u32_le()),
            WireType::LengthDelimited => {
                let len = decode_varint(buf)?;
                if len > buf.remaining() as u64 {
                    return truncated(tag, ctx);
                }
                Payload::Delimited(buf.copy_to_bytes(len as usize))
            }
            // Groups were never used by ONNX; prost checks their nesting and drops them. The rest is truncated.
            _ => return skip_field(wire_type, tag, buf, ctx),
        };
        self.0.push((tag, payload));
        Ok(())
    }

    pub(crate) fn encode(&self, buf: &mut impl BufMut) {
        for (tag, payload) in &self.0 {
            match payload {
                Payload::Varint(value) => {
                    encode_key(*tag, WireType::Varint, buf);
                    encode_varint(*value, buf);
                }
                Payload::Fixed64(value) => {
                    encode_key(*tag, WireType::SixtyFourBit, buf);
                    buf.put_u64_le(*value);
                }
                Payload::Fixed32(value) => {
                    encode_key(*tag, WireType::ThirtyTwoBit, buf);
                    buf.put_u32_le(*value);
                }
                Payload::Delimited(bytes) => {
                    encode_key(*tag, WireType::LengthDelimited, buf);
                    encode_varint(bytes.len() as u64, buf);
                    buf.put_slice(bytes);
                }
            }
        }
    }

    pub(crate) fn encoded_len(&self) -> usize {
        self.0
            .iter()
            .map(|(tag, payload)| {
                key_len(*tag)
                    + match payload {
                        Payload::Varint(value) => encoded_len_varint(*value),
                        Payload::Fixed64(_) => 8,
                        Payload::Fixed32(_) => 4,
                        Payload::Delimited(bytes) => {
                            encoded_len_varint(bytes.len() as u64) + bytes.len()
                        }
                    }
            })
            .sum()
    }
}

/// Lets prost word the error: its constructor for decode errors is private, and skipping an empty buffer reaches it.
fn truncated(tag: u32, ctx: DecodeContext) -> Result<(), DecodeError> {
    skip_field(WireType::SixtyFourBit, tag, &mut &b""[..], ctx)
}
