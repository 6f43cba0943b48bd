//! Which pairs the set holds: number, noise, size and look of each.

use super::style::Look;

/// One image of the set, clean and noisy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// 1-based; file names begin with it, so that it is the order of the names too.
    pub(super) number: u32,
    /// The part of the noise that does not depend on brightness: standard deviation in steps of 8 bits.
    pub(super) sigma: u32,
    /// Width of the image in pixels.
    pub(super) width_px: u32,
    /// Height of the image in pixels.
    pub(super) height_px: u32,
    /// The kind of content.
    pub(super) look: Look,
}

impl Pair {
    const fn new(number: u32, sigma: u32, (width_px, height_px): (u32, u32), look: Look) -> Self {
        Self {
            number,
            sigma,
            width_px,
            height_px,
            look,
        }
    }

    /// `NN-sSS-WxH.png`, the same in `noisy/` and `clean/`.
    pub(super) fn file_name(&self) -> String {
        let Self {
            number,
            sigma,
            width_px,
            height_px,
            ..
        } = self;
        format!("{number:02}-s{sigma:02}-{width_px}x{height_px}.png")
    }
}

/// The set, in the order of the file names.
///
/// A recipe with `holdout: 0.25` keeps every fourth name out of calibration. So each fourth pair covers
/// what validation needs: the four noise levels, an image that one tile holds, and two that need many.
/// The sizes are mixed, and many are no multiple of the sample model's alignment of 16 px.
pub(super) const PAIRS: [Pair; 24] = [
    Pair::new(1, 10, (256, 256), Look::Natural),
    Pair::new(2, 25, (300, 260), Look::Bright),
    Pair::new(3, 5, (384, 256), Look::Dark),
    Pair::new(4, 5, (256, 256), Look::Natural),
    Pair::new(5, 40, (320, 320), Look::FineTexture),
    Pair::new(6, 10, (257, 391), Look::Saturated),
    Pair::new(7, 25, (448, 320), Look::Natural),
    Pair::new(8, 10, (400, 320), Look::Bright),
    Pair::new(9, 5, (288, 352), Look::Flat),
    Pair::new(10, 40, (333, 277), Look::LowContrast),
    Pair::new(11, 10, (512, 384), Look::Soft),
    Pair::new(12, 25, (352, 505), Look::Dark),
    Pair::new(13, 25, (271, 363), Look::Saturated),
    Pair::new(14, 5, (320, 256), Look::FineTexture),
    Pair::new(15, 40, (416, 288), Look::Dark),
    Pair::new(16, 40, (512, 384), Look::Saturated),
    Pair::new(17, 10, (304, 304), Look::LowContrast),
    Pair::new(18, 25, (381, 287), Look::FineTexture),
    Pair::new(19, 40, (256, 400), Look::Bright),
    Pair::new(20, 10, (1024, 1024), Look::Natural),
    Pair::new(21, 5, (350, 350), Look::Natural),
    Pair::new(22, 10, (336, 272), Look::Dark),
    Pair::new(23, 25, (264, 312), Look::Flat),
    Pair::new(24, 25, (1024, 1024), Look::Natural),
];
