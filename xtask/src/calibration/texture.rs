//! Textures: sinusoidal gratings, and value noise whose spectrum falls like 1/f^a.
//!
//! A texture is a function of the position, so that it costs nothing where no shape shows it.

use super::random::{Random, Span};
use super::style::Style;

/// Cell sides of the noise octaves, in rendering pixels: 2, 4, … 256.
const N_OCTAVES: u32 = 8;
/// Clip level of noise, in its standard deviations; half of the clipped value is the texture's.
const NOISE_CLIP: f64 = 3.0;

/// A texture of an amplitude near 1.
#[derive(Debug, Clone)]
pub(super) enum Texture {
    /// Parallel waves.
    Wave(Wave),
    /// Cloud-like noise of several octaves.
    Noise(Vec<Octave>),
}

/// A sinusoid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wave {
    /// Radians per pixel along both axes.
    step: [f64; 2],
    phase: f64,
}

/// Value noise of one cell size: random values at the corners of a grid, smoothly interpolated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Octave {
    /// The grid's first axis, of length 1 / cell side. Octaves are turned against each other because
    /// aligned grids show.
    axis: [f64; 2],
    offset: [f64; 2],
    amplitude: f64,
    seed: u64,
}

impl Texture {
    /// Draws a texture: one in three is a grating.
    pub(super) fn draw(random: &mut Random, style: &Style) -> Self {
        if random.index(3) == 0 {
            Self::draw_wave(random, style)
        } else {
            Self::draw_noise(random, style)
        }
    }

    fn draw_wave(random: &mut Random, style: &Style) -> Self {
        let radians_per_px = std::f64::consts::TAU * random.within(style.wave_frequency);
        let angle = random.within(Span::new(0.0, std::f64::consts::PI));
        Self::Wave(Wave {
            step: [
                radians_per_px * libm::cos(angle),
                radians_per_px * libm::sin(angle),
            ],
            phase: random.within(Span::new(0.0, std::f64::consts::TAU)),
        })
    }

    fn draw_noise(random: &mut Random, style: &Style) -> Self {
        // In two dimensions an octave of a 1/f^a spectrum has an amplitude in proportion to f^(1-a).
        let per_octave = libm::exp2(random.within(style.noise_exponent) - 1.0);
        let mut cell_px = 1.0;
        let mut amplitude = 1.0;
        let mut octaves: Vec<Octave> = (0..N_OCTAVES)
            .map(|_| {
                cell_px *= 2.0;
                amplitude *= per_octave;
                let angle = random.within(Span::new(0.0, std::f64::consts::TAU));
                Octave {
                    axis: [libm::cos(angle) / cell_px, libm::sin(angle) / cell_px],
                    offset: [random.uniform(), random.uniform()],
                    amplitude,
                    seed: random.bits(),
                }
            })
            .collect();

        // Corner values are uniform in [-1, 1], of variance 1/3. Interpolation with weights s and 1-s of
        // the smooth step keeps the integral of s² + (1-s)², which is 26/35, of it along each axis.
        let variance: f64 = octaves
            .iter()
            .map(|octave| octave.amplitude * octave.amplitude)
            .sum::<f64>()
            * (26.0 / 35.0)
            * (26.0 / 35.0)
            / 3.0;
        let inv_deviation = 1.0 / variance.sqrt();
        for octave in &mut octaves {
            octave.amplitude *= inv_deviation;
        }
        Self::Noise(octaves)
    }

    /// The value at a position, in [-1.5, 1.5].
    pub(super) fn at(&self, x: f64, y: f64) -> f64 {
        match self {
            Self::Wave(wave) => libm::sin(x * wave.step[0] + y * wave.step[1] + wave.phase),
            Self::Noise(octaves) => {
                let sum: f64 = octaves.iter().map(|octave| octave.at(x, y)).sum();
                sum.clamp(-NOISE_CLIP, NOISE_CLIP) / 2.0
            }
        }
    }
}

impl Octave {
    fn at(&self, x: f64, y: f64) -> f64 {
        let u = x * self.axis[0] + y * self.axis[1] + self.offset[0];
        let v = y * self.axis[0] - x * self.axis[1] + self.offset[1];
        let (column, row) = (u.floor(), v.floor());
        let (s, t) = (smooth_step(u - column), smooth_step(v - row));
        let (column, row) = (column as i64, row as i64);
        let top = mix(self.corner(column, row), self.corner(column + 1, row), s);
        let bottom = mix(
            self.corner(column, row + 1),
            self.corner(column + 1, row + 1),
            s,
        );
        mix(top, bottom, t) * self.amplitude
    }

    /// The value at a corner of the grid, in [-1, 1): a hash of the corner, with the finalizer of
    /// `SplitMix64`.
    fn corner(&self, column: i64, row: i64) -> f64 {
        let mut z = self
            .seed
            .wrapping_add((column as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_add((row as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

fn smooth_step(t: f64) -> f64 {
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: f64, b: f64, t: f64) -> f64 {
    a + (b - a) * t
}
