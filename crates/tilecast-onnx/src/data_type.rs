//! Element types of tensors (`TensorProto.DataType`).

use std::fmt;

macro_rules! data_types {
    ($($variant:ident = $code:literal, $name:literal, $bits:literal;)*) => {
        /// Element type of a tensor, by its ONNX code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the variants are the names of the ONNX specification")]
        pub enum DataType { $($variant),* }

        impl DataType {
            /// The type with this ONNX code, if it is one that IR version 14 defines.
            #[must_use]
            pub fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The ONNX code.
            #[must_use]
            pub fn code(self) -> i32 {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// Bits of one element as stored in `raw_data`; 0 for strings, which have no fixed size.
            #[must_use]
            pub fn bits(self) -> usize {
                match self {
                    $(Self::$variant => $bits,)*
                }
            }

            /// Lower-case name, as users write it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

data_types! {
    F32 = 1, "float32", 32;
    U8 = 2, "uint8", 8;
    I8 = 3, "int8", 8;
    U16 = 4, "uint16", 16;
    I16 = 5, "int16", 16;
    I32 = 6, "int32", 32;
    I64 = 7, "int64", 64;
    String = 8, "string", 0;
    Bool = 9, "bool", 8;
    F16 = 10, "float16", 16;
    F64 = 11, "float64", 64;
    U32 = 12, "uint32", 32;
    U64 = 13, "uint64", 64;
    Complex64 = 14, "complex64", 64;
    Complex128 = 15, "complex128", 128;
    BF16 = 16, "bfloat16", 16;
    F8E4M3FN = 17, "float8e4m3fn", 8;
    F8E4M3FNUZ = 18, "float8e4m3fnuz", 8;
    F8E5M2 = 19, "float8e5m2", 8;
    F8E5M2FNUZ = 20, "float8e5m2fnuz", 8;
    U4 = 21, "uint4", 4;
    I4 = 22, "int4", 4;
    F4E2M1 = 23, "float4e2m1", 4;
    F8E8M0 = 24, "float8e8m0", 8;
    U2 = 25, "uint2", 2;
    I2 = 26, "int2", 2;
    F6E2M3 = 27, "float6e2m3", 6;
    F6E3M2 = 28, "float6e3m2", 6;
}

impl DataType {
    /// Bytes that `n_elements` take in `raw_data`, packed types rounded up; `None` for strings or on overflow.
    #[must_use]
    pub fn packed_bytes(self, n_elements: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits => Some(n_elements.checked_mul(bits)?.div_ceil(8)),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
