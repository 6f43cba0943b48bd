//! What a pixel of a file consists of.

use std::fmt;

/// Colour of a pixel, alpha apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// One value.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grey => "grey",
            Self::Rgb => "RGB",
        })
    }
}

/// How a file says that pixels are transparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpha {
    /// It does not.
    None,
    /// In a last plane; colours are what they would be without it.
    Straight,
    /// In a last plane; colours are multiplied by it already (TIFF: associated alpha).
    Premultiplied,
}

/// How a sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleType {
    /// 0..=255.
    U8,
    /// 0..=65535.
    U16,
    /// A float32 as it is: nothing is scaled or clamped.
    F32,
}

impl SampleType {
    /// Size of a sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }

    /// Appends values in [0, 1] as samples in the machine's byte order: clamped and rounded to the nearest, what is not
    /// a number becomes 0. Floats are kept as they are.
    pub(super) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        // Casts of floats saturate, and take what is not a number to 0.
        match self {
            Self::U8 => bytes.extend(values.iter().map(|v| round_to(*v, 255.0) as u8)),
            Self::U16 => bytes.extend(
                values
                    .iter()
                    .flat_map(|v| (round_to(*v, 65535.0) as u16).to_ne_bytes()),
            ),
            Self::F32 => bytes.extend(values.iter().flat_map(|v| v.to_ne_bytes())),
        }
    }

    /// Samples in the machine's byte order as values in [0, 1], floats as they are. `values` takes as many as it has room
    /// for.
    pub(super) fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::U8 => {
                for (value, sample) in values.iter_mut().zip(bytes) {
                    *value = f32::from(*sample) / 255.0;
                }
            }
            Self::U16 => {
                for (value, sample) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from(u16::from_ne_bytes(*sample)) / 65535.0;
                }
            }
            Self::F32 => {
                for (value, sample) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_ne_bytes(*sample);
                }
            }
        }
    }
}

/// A value in [0, 1] as a sample that counts to `max`, not yet cast.
pub(super) fn round_to(value: f32, max: f32) -> f32 {
    (value.clamp(0.0, 1.0) * max).round()
}

/// What a pixel consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelFormat {
    /// Colour, alpha apart.
    pub colour: Colour,
    /// Transparency.
    pub alpha: Alpha,
    /// Storage of each sample.
    pub samples: SampleType,
}

impl PixelFormat {
    /// Number of planes without alpha.
    #[must_use]
    pub fn colour_planes(self) -> usize {
        match self.colour {
            Colour::Grey => 1,
            Colour::Rgb => 3,
        }
    }

    /// Whether the last plane is alpha.
    #[must_use]
    pub fn has_alpha(self) -> bool {
        self.alpha != Alpha::None
    }

    /// Number of planes.
    #[must_use]
    pub fn planes(self) -> usize {
        self.colour_planes() + usize::from(self.has_alpha())
    }
}
