//! The shapes of the leaves, and which pixels they cover.

use std::f64::consts::TAU;
use std::ops::Range;

use super::random::{Random, Span};

/// A shape, in rendering pixels.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A turned ellipse.
    Ellipse(Ellipse),
    /// A polygon, filled by the even-odd rule.
    Polygon(Vec<[f64; 2]>),
}

/// The points d around `center` with `xx`·dx² + 2·`xy`·dx·dy + `yy`·dy² ≤ 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ellipse {
    center: [f64; 2],
    xx: f64,
    xy: f64,
    yy: f64,
    half_height: f64,
}

impl Shape {
    /// Draws a shape of about this radius: 45 % ellipses, 40 % polygons, 15 % thick lines.
    pub(super) fn draw(random: &mut Random, center: [f64; 2], radius: f64) -> Self {
        let kind = random.uniform();
        if kind < 0.45 {
            Self::draw_ellipse(random, center, radius)
        } else if kind < 0.85 {
            Self::draw_polygon(random, center, radius)
        } else {
            Self::draw_line(random, center, radius)
        }
    }

    fn draw_ellipse(random: &mut Random, center: [f64; 2], radius: f64) -> Self {
        let minor = radius * random.within(Span::new(0.4, 1.0));
        let angle = random.within(Span::new(0.0, TAU));
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        let (p, q) = (1.0 / (radius * radius), 1.0 / (minor * minor));
        let (xx, xy, yy) = (
            p * cos * cos + q * sin * sin,
            (p - q) * sin * cos,
            p * sin * sin + q * cos * cos,
        );
        Self::Ellipse(Ellipse {
            center,
            xx,
            xy,
            yy,
            // The largest dy at which the quadratic in dx has a root.
            half_height: (xx / (xx * yy - xy * xy)).sqrt(),
        })
    }

    /// A star-shaped polygon of three to seven corners.
    fn draw_polygon(random: &mut Random, center: [f64; 2], radius: f64) -> Self {
        let n_corners = 3 + random.index(5);
        let mut angles: Vec<f64> = (0..n_corners)
            .map(|_| random.within(Span::new(0.0, TAU)))
            .collect();
        angles.sort_by(f64::total_cmp);
        Self::Polygon(
            angles
                .into_iter()
                .map(|angle| {
                    let reach = radius * random.within(Span::new(0.5, 1.2));
                    [
                        center[0] + reach * libm::cos(angle),
                        center[1] + reach * libm::sin(angle),
                    ]
                })
                .collect(),
        )
    }

    /// A line up to six radii long that starts at `center`.
    fn draw_line(random: &mut Random, center: [f64; 2], radius: f64) -> Self {
        let angle = random.within(Span::new(0.0, TAU));
        let length = radius * random.within(Span::new(1.0, 6.0));
        // Thinner lines than one pixel would fall between pixel centres and show as dots.
        let half_width = (radius * random.within(Span::new(0.05, 0.4))).max(1.0) / 2.0;
        let (cos, sin) = (libm::cos(angle), libm::sin(angle));
        let corner = |along: f64, across: f64| {
            [
                center[0] + along * cos - across * sin,
                center[1] + along * sin + across * cos,
            ]
        };
        Self::Polygon(vec![
            corner(0.0, -half_width),
            corner(length, -half_width),
            corner(length, half_width),
            corner(0.0, half_width),
        ])
    }

    /// The rows whose centre lines the shape may meet, within an image of this height.
    pub(super) fn rows(&self, height: usize) -> Range<usize> {
        let (top, bottom) = match self {
            Self::Ellipse(ellipse) => (
                ellipse.center[1] - ellipse.half_height,
                ellipse.center[1] + ellipse.half_height,
            ),
            Self::Polygon(corners) => corners.iter().fold(
                (f64::INFINITY, f64::NEG_INFINITY),
                |(top, bottom), corner| (top.min(corner[1]), bottom.max(corner[1])),
            ),
        };
        pixels_between(top, bottom, height)
    }

    /// Calls `paint` with each run of pixels of `row` whose centres lie in the shape, within an image of
    /// this width. `crossings` is working memory.
    pub(super) fn for_each_run(
        &self,
        row: usize,
        width: usize,
        crossings: &mut Vec<f64>,
        mut paint: impl FnMut(Range<usize>),
    ) {
        let y = row as f64 + 0.5;
        crossings.clear();
        match self {
            Self::Ellipse(ellipse) => ellipse.cross(y, crossings),
            Self::Polygon(corners) => cross_polygon(corners, y, crossings),
        }
        for ends in crossings.chunks_exact(2) {
            paint(pixels_between(ends[0], ends[1], width));
        }
    }
}

impl Ellipse {
    fn cross(&self, y: f64, crossings: &mut Vec<f64>) {
        let dy = y - self.center[1];
        let discriminant = self.xy * self.xy * dy * dy - self.xx * (self.yy * dy * dy - 1.0);
        if discriminant > 0.0 {
            let (middle, half) = (-self.xy * dy / self.xx, discriminant.sqrt() / self.xx);
            crossings.push(self.center[0] + middle - half);
            crossings.push(self.center[0] + middle + half);
        }
    }
}

/// Where the line at `y` crosses the polygon's edges, from left to right; always an even number of times,
/// since an edge holds its upper end but not its lower one.
fn cross_polygon(corners: &[[f64; 2]], y: f64, crossings: &mut Vec<f64>) {
    let ends = corners.iter().cycle().skip(1);
    for (&[x0, y0], &[x1, y1]) in corners.iter().zip(ends) {
        if (y0 <= y) != (y1 <= y) {
            crossings.push(x0 + (y - y0) / (y1 - y0) * (x1 - x0));
        }
    }
    crossings.sort_by(f64::total_cmp);
}

/// The pixels of `0..n` whose centres lie in `[low, high)`.
fn pixels_between(low: f64, high: f64, n: usize) -> Range<usize> {
    // A float-to-integer cast saturates, so what lies left of the image becomes 0.
    let first = |edge: f64| ((edge - 0.5).ceil() as usize).min(n);
    first(low)..first(high)
}
