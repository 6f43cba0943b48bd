//! The passes that fold and fuse: what they rewrite, what they decline and why, and that the numbers stay.
//!
//! Every case is run before and after on seeded inputs of an odd, asymmetric size.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod activations;
mod common;
mod cut_statistics;
mod divide_convolutions;
mod fold_batch_norm;
mod fold_pad;
mod fold_scale_shift;
mod group_norm;
mod keep_image_layout;
mod keep_reduced_axis;
mod layer_norm;
mod mitigations;
mod open_size;
mod pixel_shuffle;
mod record_shapes;
mod sample;
mod slices_to_split;
mod transpose_upsampling;
