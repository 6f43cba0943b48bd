//! The passes that carry out a precision plan, one file each, in the order in which they run.

mod convert_half;
pub(crate) mod dynamic_int8;
pub(crate) mod insert_qdq;
mod keep_channels_last;
mod round_filters;
mod store_float16;
mod strip_metadata;

pub use convert_half::{ConvertHalf, IoTypes};
pub use dynamic_int8::DynamicInt8;
pub use insert_qdq::{InsertQdq, PerChannel};
pub use keep_channels_last::KeepChannelsLast;
pub use round_filters::RoundFilters;
pub use store_float16::StoreFloat16;
pub use strip_metadata::StripMetadata;

pub(crate) use convert_half::META as CONVERT_HALF;
pub(crate) use dynamic_int8::META as DYNAMIC_INT8;
pub(crate) use insert_qdq::META as INSERT_QDQ;
pub(crate) use keep_channels_last::META as KEEP_CHANNELS_LAST;
pub(crate) use round_filters::META as ROUND_FILTERS;
pub(crate) use store_float16::META as STORE_FLOAT16;
pub(crate) use strip_metadata::META as STRIP_METADATA;
