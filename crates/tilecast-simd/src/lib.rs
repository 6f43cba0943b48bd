//! Loops compiled for the widest vectors of the processor that they run on.
//!
//! The programs run on every x86-64, whose oldest members have vectors of 16 bytes. A loop that takes a good part of a run is
//! compiled for 32 bytes too, and [`widest`] takes what fits. Both give the same bits: the compiler neither reorders
//! operations on floats nor merges a multiplication with an addition, whatever the vectors.

/// A loop, with what it works on.
///
/// Implementations mark [`run`](Self::run) and what it calls `#[inline(always)]`: only what becomes part of the function with
/// wide vectors gets them.
pub trait Loop {
    /// What it gives.
    type Output;

    /// Runs it.
    fn run(self) -> Self::Output;
}

/// Runs the loop with the widest vectors that this processor has, of those that it is compiled for.
#[inline]
pub fn widest<L: Loop>(work: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "calibration in half the time, tiles in five sixths"
        )]
        // SAFETY: the processor has the one feature that the function asks for.
        return unsafe { with_avx2(work) };
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<L: Loop>(work: L) -> L::Output {
    work.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a · b + a / b - c`, which merged operations would round once less.
    struct Mixed<'a>(&'a [f32], &'a mut [f32]);

    impl Loop for Mixed<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            for (at, (value, place)) in self.0.iter().zip(self.1).enumerate() {
                let b = at as f32 + 0.1;
                *place = value * b + value / b - 0.3;
            }
        }
    }

    #[test]
    fn the_bits_are_the_same() {
        let values: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.7).sin()).collect();
        let (mut wide, mut narrow) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        widest(Mixed(&values, &mut wide));
        Mixed(&values, &mut narrow).run();
        let bits = |list: &[f32]| list.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&wide), bits(&narrow));
    }
}
