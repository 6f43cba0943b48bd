//! The verbs besides the main job: one file each.

pub(crate) mod calibrate;
pub(crate) mod convert;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod lint;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod sensitivity;
pub(crate) mod simplify;
pub(crate) mod verify;
