//! Images as networks take them: one plane of floats per channel.

use std::fmt;
use std::sync::Arc;

use crate::{Rect, Size};

/// Weights of red, green and blue in grey: ITU-R BT.601, as most image libraries have them.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How many bits a sample has in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitDepth {
    /// 0..=255.
    Eight,
    /// 0..=65535.
    Sixteen,
}

impl BitDepth {
    /// The sample that stands for 1.0.
    #[must_use]
    pub fn max_sample(self) -> f32 {
        match self {
            Self::Eight => f32::from(u8::MAX),
            Self::Sixteen => f32::from(u16::MAX),
        }
    }
}

/// An image, `[C, H, W]`, row-major. Files give values in [0, 1]; results of networks may lie outside.
#[derive(Clone, PartialEq)]
pub struct PlanarImage {
    channels: usize,
    size: Size,
    data: Vec<f32>,
    bit_depth: BitDepth,
    icc_profile: Option<Arc<[u8]>>,
}

impl fmt::Debug for PlanarImage {
    /// Without the samples, which would drown whatever they are printed with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanarImage")
            .field("channels", &self.channels)
            .field("size", &self.size)
            .field("bit_depth", &self.bit_depth)
            .finish_non_exhaustive()
    }
}

impl PlanarImage {
    /// An image from its samples, plane after plane.
    ///
    /// # Panics
    /// `data` does not have `channels * height * width` elements.
    #[must_use]
    pub fn new(channels: usize, size: Size, data: Vec<f32>, bit_depth: BitDepth) -> Self {
        let n = channels * size.height * size.width;
        assert_eq!(n, data.len(), "samples of {channels} planes of {size}");
        Self {
            channels,
            size,
            data,
            bit_depth,
            icc_profile: None,
        }
    }

    /// The same image with the ICC profile that says what its RGB values look like.
    #[must_use]
    pub fn with_icc_profile(self, icc_profile: Option<Arc<[u8]>>) -> Self {
        Self {
            icc_profile,
            ..self
        }
    }

    /// Number of planes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Size of a plane.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// All samples, `[C, H, W]`.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The samples of one row of one plane, left to right.
    ///
    /// # Panics
    /// `channel` or `row` is out of range.
    #[must_use]
    pub fn row(&self, channel: usize, row: usize) -> &[f32] {
        let Size { height, width } = self.size;
        assert!(
            channel < self.channels && row < height,
            "row {row} of plane {channel}"
        );
        let start = (channel * height + row) * width;
        &self.data[start..start + width]
    }

    /// The image for a network that takes so many planes: RGB becomes grey by the luma of ITU-R BT.601, grey becomes RGB by
    /// repetition. Other numbers, and `None`, leave it as it is.
    #[must_use]
    #[expect(
        clippy::float_cmp,
        reason = "only values that are the same to the bit are grey already"
    )]
    pub fn with_planes(self, planes: Option<usize>) -> Self {
        let n = self.size.height * self.size.width;
        let data = match (self.channels, planes) {
            (3, Some(1)) => (0..n)
                .map(|i| {
                    let [r, g, b] = [self.data[i], self.data[n + i], self.data[2 * n + i]];
                    // A file that is grey keeps its values to the bit.
                    if r == g && g == b {
                        r
                    } else {
                        LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
                    }
                })
                .collect(),
            (1, Some(3)) => self.data.repeat(3),
            _ => return self,
        };
        // A profile belongs to the planes that it was made for.
        Self::new(
            planes.unwrap_or(self.channels),
            self.size,
            data,
            self.bit_depth,
        )
    }

    /// Bits per sample of the file it came from, and of files it is written to where they can hold them.
    #[must_use]
    pub fn bit_depth(&self) -> BitDepth {
        self.bit_depth
    }

    /// The ICC profile of its RGB values; absent for images that say nothing, which are taken as sRGB everywhere.
    #[must_use]
    pub fn icc_profile(&self) -> Option<&Arc<[u8]>> {
        self.icc_profile.as_ref()
    }

    /// A part of the image, or of an image `scale` times as large.
    ///
    /// # Panics
    /// The rectangle reaches beyond the image.
    #[must_use]
    pub fn crop(&self, part: Rect, scale: usize) -> Self {
        let (height, width) = (part.height * scale, part.width * scale);
        let (top, left) = (part.top * scale, part.left * scale);
        assert!(
            top + height <= self.size.height && left + width <= self.size.width,
            "{part:?} times {scale} of an image of {}",
            self.size
        );
        let mut data = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            for row in top..top + height {
                data.extend_from_slice(&self.row(channel, row)[left..left + width]);
            }
        }
        Self::new(self.channels, Size { height, width }, data, self.bit_depth)
            .with_icc_profile(self.icc_profile.clone())
    }

    /// The samples, without a copy.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}
