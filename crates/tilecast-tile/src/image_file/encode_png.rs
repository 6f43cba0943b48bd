//! Pixels to the bytes of a PNG file, for pages that hold their images and for maps of errors.

use png::{BitDepth, ColorType, Encoder, EncodingError};

use crate::Size;

/// Pixels of 8 bits, row by row.
#[derive(Clone, Copy, Debug)]
pub enum PngPixels<'a> {
    /// Three bytes per pixel.
    Rgb(&'a [u8]),
    /// One byte per pixel, its place in the palette.
    Indexed {
        /// At most 256 colours.
        palette: &'a [[u8; 3]],
        /// One index per pixel.
        indices: &'a [u8],
    },
}

/// A PNG file in memory.
///
/// # Errors
/// The pixels are not those of an image of this size, or it has none.
pub fn encode_png(size: Size, pixels: PngPixels<'_>) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let side = |px: usize| u32::try_from(px).unwrap_or(u32::MAX);
    let mut encoder = Encoder::new(&mut file, side(size.width), side(size.height));
    encoder.set_depth(BitDepth::Eight);
    let data = match pixels {
        PngPixels::Rgb(data) => {
            encoder.set_color(ColorType::Rgb);
            data
        }
        PngPixels::Indexed { palette, indices } => {
            encoder.set_color(ColorType::Indexed);
            encoder.set_palette(palette.concat());
            indices
        }
    };
    let mut writer = encoder.write_header()?;
    writer.write_image_data(data)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        height: 2,
        width: 3,
    };

    #[test]
    fn what_is_encoded_is_decoded() {
        let rgb: Vec<u8> = (0..18).map(|i| i * 7).collect();
        let file = encode_png(SIZE, PngPixels::Rgb(&rgb)).unwrap();
        let image = image::load_from_memory(&file).unwrap().into_rgb8();
        assert_eq!((image.dimensions(), image.as_raw()), ((3, 2), &rgb));
        let palette = [[0, 0, 0], [255, 128, 0]];
        let indices = [0, 1, 1, 0, 1, 0];
        let pixels = PngPixels::Indexed {
            palette: &palette,
            indices: &indices,
        };
        let image = image::load_from_memory(&encode_png(SIZE, pixels).unwrap()).unwrap();
        assert_eq!(image.into_rgb8().get_pixel(1, 0).0, [255, 128, 0]);
    }

    #[test]
    fn too_few_pixels_are_refused() {
        assert!(encode_png(SIZE, PngPixels::Rgb(&[0; 17])).is_err());
    }
}
