//! The output image in the making: cores of tiles, put where they belong.

use tilecast_exec::HostTensor;

use crate::{PlanarImage, RunTiledError, Size, Tile, TilePlan, ValueRange};

/// Planes of the output image.
#[derive(Default)]
pub(crate) struct Pixels {
    /// 0 until the first tile says how many there are.
    channels: usize,
    /// `[C, H, W]`; empty until then.
    values: Vec<f32>,
}

impl Pixels {
    /// Copies the core of a tile's output to its place. `fed_channels` is how many planes the tile was fed, for the message.
    ///
    /// # Errors
    /// The output is not one image of the tile's size times the scale, or has another number of planes than the first.
    pub(crate) fn place(
        &mut self,
        plan: &TilePlan,
        fed_channels: usize,
        tile: &Tile,
        output: &HostTensor,
        value_range: ValueRange,
    ) -> Result<(), RunTiledError> {
        let scale = plan.request().scale;
        let Size { height, width } = plan.tile_size();
        let expected = [height * scale, width * scale];
        let channels = match *output.dims() {
            [1, channels, height, width]
                if [height, width] == expected
                    && channels > 0
                    && [0, channels].contains(&self.channels) =>
            {
                channels
            }
            _ => {
                return Err(RunTiledError::OutputShape {
                    fed: [1, fed_channels, height, width],
                    found: output.dims().to_vec(),
                    scale,
                });
            }
        };
        let size = plan.output_px();
        if self.channels == 0 {
            self.channels = channels;
            self.values = vec![0.0; channels * size.height * size.width];
        }
        let Tile { input, core } = tile;
        let width = core.width * scale;
        for channel in 0..channels {
            for row in 0..core.height * scale {
                let from_row = channel * expected[0] + (core.top - input.top) * scale + row;
                let from = from_row * expected[1] + (core.left - input.left) * scale;
                let to_row = channel * size.height + core.top * scale + row;
                let to = to_row * size.width + core.left * scale;
                let samples = &output.data()[from..from + width];
                for (to, from) in self.values[to..to + width].iter_mut().zip(samples) {
                    *to = value_range.to_image(*from);
                }
            }
        }
        Ok(())
    }

    /// The image, with the bit depth and colour profile of the one that it was made from.
    pub(crate) fn into_image(self, image: &PlanarImage, plan: &TilePlan) -> PlanarImage {
        let output = PlanarImage::new(
            self.channels,
            plan.output_px(),
            self.values,
            image.bit_depth(),
        );
        output.with_icc_profile(image.icc_profile().cloned())
    }
}
