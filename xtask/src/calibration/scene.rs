//! Draws a dead-leaves image at twice its size and scales it down, which smooths the edges.

use image::RgbImage;

use super::plan::Pair;
use super::plane::Plane;
use super::random::{Purpose, Random, Span};
use super::shape::Shape;
use super::style::Style;
use super::texture::Texture;

/// The length, in rendering pixels, that densities and slopes of a [`Style`] refer to.
pub(super) const UNIT_PX: f64 = 768.0;
/// Rendering pixels per image pixel, along each axis.
const SUPERSAMPLING: usize = 2;
/// Colours of an image's palette.
const N_COLOURS: usize = 24;
/// Textures of an image.
const N_TEXTURES: usize = 6;
/// How far outside the image the centres of shapes may lie, in rendering pixels.
const MARGIN_PX: f64 = 50.0;

/// What a shape looks like, apart from its outline.
#[derive(Debug, Clone)]
struct Surface {
    colour: [f64; 3],
    center: [f64; 2],
    /// Change of brightness per rendering pixel along both axes.
    slope: [f64; 2],
    /// Index of the texture, and its amplitude.
    texture: Option<(usize, f64)>,
}

/// The clean image of `pair`.
pub(super) fn render(pair: &Pair) -> RgbImage {
    let style = pair.look.style();
    let mut random = Random::new(pair.number, Purpose::Scene);
    let width = pair.width_px as usize * SUPERSAMPLING;
    let height = pair.height_px as usize * SUPERSAMPLING;

    let textures: Vec<Texture> = (0..N_TEXTURES)
        .map(|_| Texture::draw(&mut random, &style))
        .collect();
    let tint = [(); 3].map(|()| random.within(Span::new(0.6, 1.2)));
    let (surfaces, labels) = scatter(&mut random, &style, width, height);
    let mut planes = paint(&surfaces, &labels, &textures, tint, width);
    if random.happens(style.blurred) {
        let sigma_px = random.within(style.blur_sigma_px);
        planes = planes.map(|plane| plane.blur(sigma_px));
    }
    let planes = planes.map(|plane| plane.halve());

    RgbImage::from_fn(pair.width_px, pair.height_px, |x, y| {
        let index = (y * pair.width_px + x) as usize;
        image::Rgb(
            [0, 1, 2]
                .map(|c: usize| (planes[c].samples[index].clamp(0.0, 1.0) * 255.0).round() as u8),
        )
    })
}

/// Scatters shapes and returns the surfaces with, for each rendering pixel, the index of the one seen there.
///
/// The shapes come from front to back, each covering what is still free: the model of Lee, Mumford and
/// Huang seen from below, where the picture does not depend on how long leaves have been falling. Surface 0
/// is the ground, seen where the shapes leave gaps.
fn scatter(
    random: &mut Random,
    style: &Style,
    width: usize,
    height: usize,
) -> (Vec<Surface>, Vec<u32>) {
    let palette = draw_palette(random, style);
    let slope = random.within(style.slope);
    let radii = draw_radii(random, style, (width * height) as f64 / (UNIT_PX * UNIT_PX));

    let center = [width as f64 / 2.0, height as f64 / 2.0];
    let mut surfaces = vec![Surface::draw(random, style, &palette, slope, center)];
    let mut labels = vec![0_u32; width * height];
    let mut n_free = labels.len();
    let mut crossings = Vec::new();
    for radius in radii {
        if n_free == 0 {
            break;
        }
        let center = [width, height]
            .map(|side| random.within(Span::new(-MARGIN_PX, side as f64 + MARGIN_PX)));
        let shape = Shape::draw(random, center, radius);
        let label = surfaces.len() as u32;
        for row in shape.rows(height) {
            let row_labels = &mut labels[row * width..][..width];
            shape.for_each_run(row, width, &mut crossings, |run| {
                for pixel in &mut row_labels[run] {
                    if *pixel == 0 {
                        *pixel = label;
                        n_free -= 1;
                    }
                }
            });
        }
        surfaces.push(Surface::draw(random, style, &palette, slope, center));
    }
    (surfaces, labels)
}

/// Colours around greys. Those of one image vary together along two axes, as under one light: most between
/// blue and yellow, less between magenta and green.
fn draw_palette(random: &mut Random, style: &Style) -> Vec<[f64; 3]> {
    const BLUE_YELLOW: [f64; 3] = [0.8, 0.2, -1.0];
    const MAGENTA_GREEN: [f64; 3] = [0.6, -0.8, 0.4];
    let exponent = random.within(style.brightness_exponent);
    let chroma = random.within(style.chroma);
    let cast = chroma * 0.3 * random.normal();
    (0..N_COLOURS)
        .map(|_| {
            let grey = style.brightness.at(libm::pow(random.uniform(), exponent));
            let blue_yellow = cast + chroma * random.normal();
            let magenta_green = chroma * 0.6 * random.normal();
            [0, 1, 2].map(|c: usize| {
                grey + blue_yellow * BLUE_YELLOW[c]
                    + magenta_green * MAGENTA_GREEN[c]
                    + chroma * 0.3 * random.normal()
            })
        })
        .collect()
}

/// Radii with a density in proportion to r^-exponent, for an image of `n_units` squares of [`UNIT_PX`].
fn draw_radii(random: &mut Random, style: &Style, n_units: f64) -> Vec<f64> {
    let n_shapes = (random.within(style.shapes_per_unit) * n_units).round() as usize;
    let power = 1.0 - random.within(style.radius_exponent);
    let low = libm::pow(random.within(style.radius_min_px), power);
    let high = libm::pow(random.within(style.radius_max_px), power);
    let span = Span::new(low, high);
    (0..n_shapes)
        .map(|_| libm::pow(random.within(span), 1.0 / power))
        .collect()
}

impl Surface {
    fn draw(
        random: &mut Random,
        style: &Style,
        palette: &[[f64; 3]],
        slope: f64,
        center: [f64; 2],
    ) -> Self {
        let base = palette[random.index(palette.len())];
        Self {
            colour: base.map(|sample| sample + style.colour_jitter * random.normal()),
            center,
            slope: [(); 2].map(|()| slope / UNIT_PX * random.normal()),
            texture: random.happens(style.textured).then(|| {
                let amplitude = (style.texture_amplitude * random.normal()).abs();
                (random.index(N_TEXTURES), amplitude)
            }),
        }
    }
}

/// The three colour channels, in [0, 1].
fn paint(
    surfaces: &[Surface],
    labels: &[u32],
    textures: &[Texture],
    tint: [f64; 3],
    width: usize,
) -> [Plane; 3] {
    let mut planes = [(); 3].map(|()| Plane {
        width,
        samples: Vec::with_capacity(labels.len()),
    });
    for (index, &label) in labels.iter().enumerate() {
        let (x, y) = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5);
        let surface = &surfaces[label as usize];
        let shade =
            surface.slope[0] * (x - surface.center[0]) + surface.slope[1] * (y - surface.center[1]);
        let texture = surface.texture.map_or(0.0, |(which, amplitude)| {
            amplitude * textures[which].at(x, y)
        });
        for (c, plane) in planes.iter_mut().enumerate() {
            // The sensor clips before the downsampling does, else bright areas would bleed over their edges.
            let sample = surface.colour[c] + shade + texture * tint[c];
            plane.samples.push(sample.clamp(0.0, 1.0) as f32);
        }
    }
    planes
}
