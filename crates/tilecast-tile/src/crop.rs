//! Cutting a tile out of an image that is padded in thought only.

use tilecast_exec::HostTensor;

use crate::{Fill, PlanarImage, Rect, Size, Tile, TilePlan, ValueRange};

/// Planes that can be looked at row by row, not necessarily all rows at a time.
pub(crate) trait PlaneRows {
    /// Size of the whole image.
    fn size(&self) -> Size;

    /// Number of planes.
    fn channels(&self) -> usize;

    /// One row of one plane, left to right.
    fn row(&self, channel: usize, row: usize) -> &[f32];
}

impl PlaneRows for PlanarImage {
    fn size(&self) -> Size {
        self.size()
    }

    fn channels(&self) -> usize {
        self.channels()
    }

    fn row(&self, channel: usize, row: usize) -> &[f32] {
        self.row(channel, row)
    }
}

/// The samples of `rect`, `[C, H, W]`, in the network's value range. Whatever of `rect` lies right of or below the
/// image is filled; zeros are zeros of the network, as a graph that pads itself would see them.
pub(crate) fn crop(image: &impl PlaneRows, rect: &Rect, fill: Fill, range: ValueRange) -> Vec<f32> {
    let size = image.size();
    let mut samples = Vec::with_capacity(image.channels() * rect.height * rect.width);
    let inside = rect.right().min(size.width);
    for channel in 0..image.channels() {
        for y in rect.top..rect.bottom() {
            let row = match fill {
                _ if y < size.height => image.row(channel, y),
                Fill::Reflect => image.row(channel, reflect(y, size.height)),
                Fill::Zero => {
                    samples.resize(samples.len() + rect.width, range.zero(channel));
                    continue;
                }
            };
            samples.extend(row[rect.left..inside].iter().map(|v| range.to_network(*v)));
            samples.extend((inside..rect.right()).map(|x| match fill {
                Fill::Zero => range.zero(channel),
                Fill::Reflect => range.to_network(row[reflect(x, size.width)]),
            }));
        }
    }
    samples
}

/// What the network is fed for one tile of a plan: `[1, C, H, W]` in the network's value range.
#[must_use]
pub fn crop_tile(
    image: &PlanarImage,
    plan: &TilePlan,
    tile: &Tile,
    range: ValueRange,
) -> HostTensor {
    let Rect { height, width, .. } = tile.input;
    HostTensor::new(
        vec![1, image.channels(), height, width],
        crop(image, &tile.input, plan.request().fill, range),
    )
}

/// The pixel of `0..len` that stands at `position` when the image is mirrored about its ends, which are not repeated.
pub(crate) fn reflect(position: usize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    match position % period {
        forward if forward < len => forward,
        backward => period - backward,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BitDepth;

    #[test]
    fn reflection_repeats_for_short_images_and_never_repeats_the_edge() {
        let cases: [(usize, &[usize]); 4] = [
            (1, &[0, 0, 0, 0]),
            (2, &[0, 1, 0, 1, 0, 1]),
            (3, &[0, 1, 2, 1, 0, 1, 2, 1, 0]),
            (4, &[0, 1, 2, 3, 2, 1, 0, 1]),
        ];
        for (len, expected) in cases {
            let found: Vec<_> = (0..expected.len()).map(|p| reflect(p, len)).collect();
            assert_eq!(found, expected, "length {len}");
        }
    }

    #[test]
    fn fills_differ_only_outside_the_image() {
        let size = Size {
            height: 2,
            width: 3,
        };
        let image = PlanarImage::new(1, size, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], BitDepth::Eight);
        let rect = Rect {
            top: 1,
            left: 1,
            height: 3,
            width: 4,
        };
        let range = ValueRange::new(-1.0, 1.0).unwrap();
        let zero = crop(&image, &rect, Fill::Zero, range);
        assert_eq!(
            zero,
            [9.0, 11.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        );
        let of_mean = crop(&image, &rect, Fill::Zero, range.with_zeros([0.5; 3]));
        let padded = zero
            .iter()
            .zip(&of_mean)
            .filter(|(a, b)| a.to_bits() != b.to_bits());
        assert!(padded.clone().count() > 0 && padded.clone().all(|pair| pair == (&0.0, &0.5)));
        let reflected = crop(&image, &rect, Fill::Reflect, ValueRange::UNIT);
        assert_eq!(
            reflected,
            [5.0, 6.0, 5.0, 4.0, 2.0, 3.0, 2.0, 1.0, 5.0, 6.0, 5.0, 4.0]
        );
    }
}
