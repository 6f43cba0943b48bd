//! The looks of the set: what is drawn, in numbers.
//!
//! The ranges of [`Look::Natural`] are close to those that the sample denoiser was trained on; the other looks push
//! one property each, so that calibration meets the ends of the activation ranges as well as the middle.

use super::random::Span;

/// The kind of content of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// All brightnesses, moderate colour, some textures.
    Natural,
    /// High key: mostly light, with clipped highlights.
    Bright,
    /// Low key: mostly shadows, with clipped blacks.
    Dark,
    /// A narrow band of brightness, faint colour.
    LowContrast,
    /// Strong colour, often clipped in one channel.
    Saturated,
    /// Few, large shapes of even colour.
    Flat,
    /// Many small shapes and strong textures of high frequency.
    FineTexture,
    /// Out of focus.
    Soft,
}

/// The ranges that an image's parameters are drawn from.
///
/// Lengths are in rendering pixels, two per image pixel. Brightness and colour are in [0, 1].
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Shapes per square of [`super::scene::UNIT_PX`].
    pub(super) shapes_per_unit: Span,
    /// Radius of the smallest shapes.
    pub(super) radius_min_px: Span,
    /// Radius of the largest shapes.
    pub(super) radius_max_px: Span,
    /// Exponent of the power law of radii; 3 makes the image scale-invariant.
    pub(super) radius_exponent: Span,
    /// Brightness of the palette's colours.
    pub(super) brightness: Span,
    /// Exponent applied to what picks a brightness: above 1 most colours are near the low end.
    pub(super) brightness_exponent: Span,
    /// Standard deviation of the palette's colours around grey.
    pub(super) chroma: Span,
    /// Standard deviation of a shape's colour around its palette colour.
    pub(super) colour_jitter: f64,
    /// Standard deviation of the slope of a shape's colour, per [`super::scene::UNIT_PX`].
    pub(super) slope: Span,
    /// Share of the shapes that have a texture.
    pub(super) textured: f64,
    /// Standard deviation of a texture's amplitude.
    pub(super) texture_amplitude: f64,
    /// Frequency of the sinusoidal textures, in cycles per pixel.
    pub(super) wave_frequency: Span,
    /// Exponent a of the 1/f^a spectrum of the noise textures.
    pub(super) noise_exponent: Span,
    /// Share of images that are blurred.
    pub(super) blurred: f64,
    /// Standard deviation of the Gaussian blur.
    pub(super) blur_sigma_px: Span,
}

impl Look {
    /// The look's parameters.
    pub(super) const fn style(self) -> Style {
        const NATURAL: Style = Style {
            shapes_per_unit: Span::new(1000.0, 3000.0),
            radius_min_px: Span::new(3.0, 10.0),
            radius_max_px: Span::new(120.0, 400.0),
            radius_exponent: Span::new(1.9, 2.9),
            brightness: Span::new(0.0, 1.0),
            brightness_exponent: Span::new(0.6, 1.4),
            chroma: Span::new(0.03, 0.2),
            colour_jitter: 0.04,
            slope: Span::new(0.05, 0.35),
            textured: 0.7,
            texture_amplitude: 0.09,
            wave_frequency: Span::new(0.005, 0.175),
            noise_exponent: Span::new(0.6, 1.8),
            blurred: 0.35,
            blur_sigma_px: Span::new(0.3, 2.0),
        };
        match self {
            Self::Natural => NATURAL,
            Self::Bright => Style {
                brightness: Span::new(0.35, 1.02),
                brightness_exponent: Span::new(0.3, 0.6),
                chroma: Span::new(0.03, 0.1),
                ..NATURAL
            },
            Self::Dark => Style {
                brightness: Span::new(-0.02, 0.5),
                brightness_exponent: Span::new(1.6, 2.6),
                chroma: Span::new(0.02, 0.06),
                colour_jitter: 0.02,
                slope: Span::new(0.02, 0.15),
                texture_amplitude: 0.04,
                ..NATURAL
            },
            Self::LowContrast => Style {
                brightness: Span::new(0.4, 0.58),
                chroma: Span::new(0.01, 0.03),
                colour_jitter: 0.01,
                slope: Span::new(0.01, 0.06),
                texture_amplitude: 0.02,
                ..NATURAL
            },
            Self::Saturated => Style {
                chroma: Span::new(0.22, 0.35),
                brightness: Span::new(0.15, 0.85),
                ..NATURAL
            },
            Self::Flat => Style {
                shapes_per_unit: Span::new(25.0, 60.0),
                radius_min_px: Span::new(30.0, 50.0),
                radius_max_px: Span::new(300.0, 400.0),
                slope: Span::new(0.0, 0.08),
                textured: 0.1,
                blurred: 0.0,
                ..NATURAL
            },
            Self::FineTexture => Style {
                shapes_per_unit: Span::new(4000.0, 8000.0),
                radius_min_px: Span::new(1.5, 3.0),
                radius_max_px: Span::new(100.0, 200.0),
                radius_exponent: Span::new(2.4, 2.9),
                textured: 0.95,
                texture_amplitude: 0.13,
                wave_frequency: Span::new(0.06, 0.22),
                noise_exponent: Span::new(0.6, 1.0),
                blurred: 0.0,
                ..NATURAL
            },
            Self::Soft => Style {
                blurred: 1.0,
                blur_sigma_px: Span::new(2.5, 4.0),
                ..NATURAL
            },
        }
    }
}
