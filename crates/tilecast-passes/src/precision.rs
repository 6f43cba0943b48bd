//! The passes that carry out a precision plan, one file each, in the order in which they run.

mod convert_float16;
mod insert_qdq;
mod store_float16;

pub use convert_float16::ConvertFloat16;
pub use insert_qdq::{InsertQdq, PerChannel};
pub use store_float16::StoreFloat16;

pub(crate) use convert_float16::META as CONVERT_FLOAT16;
pub(crate) use insert_qdq::META as INSERT_QDQ;
pub(crate) use store_float16::META as STORE_FLOAT16;
