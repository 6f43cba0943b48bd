//! Random numbers that are the same on every machine.

use rand_core::Rng;
use rand_pcg::Pcg64;

/// Seed of the whole set; images and their parts differ by stream.
const SEED: u128 = 0x7469_6c65_6361_7374;

/// An interval from which parameters are drawn uniformly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    low: f64,
    high: f64,
}

impl Span {
    /// The interval from `low` to `high`.
    pub(super) const fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// The point at fraction `t` of the way from the low to the high end.
    pub(super) fn at(self, t: f64) -> f64 {
        self.low + (self.high - self.low) * t
    }
}

/// What a stream of random numbers is for. Scene and noise of one image never share numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Shapes, colours and textures.
    Scene,
    /// The noise of each sample.
    Noise,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(Pcg64);

impl Random {
    /// The stream for one purpose of the image with this number.
    pub(super) fn new(image_number: u32, purpose: Purpose) -> Self {
        let purpose = match purpose {
            Purpose::Scene => 0,
            Purpose::Noise => 1,
        };
        Self(Pcg64::new(SEED, u128::from(image_number) << 8 | purpose))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in [0, 1), one of 2^53 equally spaced ones.
    pub(super) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.bits() >> 11) as f64 * STEP
    }

    /// A number within `span`.
    pub(super) fn within(&mut self, span: Span) -> f64 {
        span.at(self.uniform())
    }

    /// An index in `0..n`. The bias is below n / 2^53.
    pub(super) fn index(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// Whether an event of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// A number with the standard normal distribution, by the transform of Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}
