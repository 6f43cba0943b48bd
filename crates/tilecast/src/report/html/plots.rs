//! The plots of the page, as inline SVG of a fixed width that fits a narrow screen, so that their text stays readable.

use maud::{Markup, html};

/// Width of a plot, pixels.
const WIDTH: f64 = 340.0;
/// Space left of the plot for the numbers of its axis, and right of it.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
/// Space below for numbers and the name of the axis.
const BOTTOM: f64 = 40.0;
/// Names of points stand at least so far from each other.
const NAME_GAP: f64 = 14.0;
/// Width of a letter of a name, about.
const LETTER: f64 = 6.6;

/// A point of a scatter plot.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Written beside it.
    pub(super) name: String,
    /// On the Pareto front: drawn filled.
    pub(super) is_front: bool,
}

/// Points over two axes; `joined` draws a line from each to the next.
pub(super) fn scatter(
    points: &[Point],
    [x_name, y_name]: [&str; 2],
    description: &str,
    joined: bool,
) -> Markup {
    const HEIGHT: f64 = 250.0;
    let x_axis = Axis::new(points.iter().map(|p| p.x));
    let y_axis = Axis::new(points.iter().map(|p| p.y));
    let x = |value: f64| LEFT + x_axis.share(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - y_axis.share(value) * (HEIGHT - BOTTOM - TOP);
    let names = place_names(points, &x, &y);
    let path: Vec<String> = points
        .iter()
        .map(|p| format!("{:.1},{:.1}", x(p.x), y(p.y)))
        .collect();
    html! {
        svg.plot role="img" aria-label=(description) width=(WIDTH) height=(HEIGHT)
            viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
            @for tick in &y_axis.ticks {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(y(*tick))) y2=(px(y(*tick))) {}
                text x=(LEFT - 6.0) y=(px(y(*tick) + 4.0)) text-anchor="end" { (y_axis.label(*tick)) }
            }
            @for tick in &x_axis.ticks {
                line.grid x1=(px(x(*tick))) x2=(px(x(*tick))) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                text x=(px(x(*tick))) y=(HEIGHT - BOTTOM + 16.0) text-anchor="middle" { (x_axis.label(*tick)) }
            }
            line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
            text x=(px(f64::midpoint(LEFT, WIDTH - RIGHT))) y=(HEIGHT - 6.0) text-anchor="middle" { (x_name) }
            text x="4" y="12" { (y_name) }
            @if joined && points.len() > 1 {
                polyline.path points=(path.join(" ")) {}
            }
            @for (point, name) in points.iter().zip(&names) {
                circle.dot.front[point.is_front] cx=(px(x(point.x))) cy=(px(y(point.y))) r="5" {
                    title { (point.name) ": " (x_name) " " (x_axis.label(point.x)) ", " (y_name) " " (y_axis.label(point.y)) }
                }
                @if !point.name.is_empty() {
                    text x=(px(name.x)) y=(px(name.y)) text-anchor=(name.anchor) { (point.name) }
                }
            }
        }
    }
}

struct Name {
    x: f64,
    y: f64,
    anchor: &'static str,
}

/// Names beside their points, on the side where there is more room, none over another.
fn place_names(points: &[Point], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> Vec<Name> {
    let mut names: Vec<Name> = points
        .iter()
        .map(|p| {
            let (px, py) = (x(p.x), y(p.y) + 4.0);
            let width = p.name.chars().count() as f64 * LETTER;
            if px + 10.0 + width <= WIDTH {
                Name {
                    x: px + 10.0,
                    y: py,
                    anchor: "start",
                }
            } else {
                Name {
                    x: (px - 10.0).max(width.min(WIDTH - RIGHT)),
                    y: py,
                    anchor: "end",
                }
            }
        })
        .collect();
    let mut order: Vec<usize> = (0..names.len())
        .filter(|&i| !points[i].name.is_empty())
        .collect();
    order.sort_by(|&a, &b| names[a].y.total_cmp(&names[b].y));
    for pair in 1..order.len() {
        let above = names[order[pair - 1]].y;
        let name = &mut names[order[pair]];
        name.y = name.y.max(above + NAME_GAP);
    }
    names
}

/// One artifact's images on an axis of decibels.
pub(super) struct Row {
    pub(super) name: String,
    /// One per image, in decibels.
    pub(super) values: Vec<f64>,
    /// Places of the worst and the median image among them.
    pub(super) marked: [usize; 2],
}

/// A dot per image, a row per artifact.
pub(super) fn dots(rows: &[Row], axis_name: &str, description: &str) -> Markup {
    const ROW: f64 = 40.0;
    const TOP: f64 = 12.0;
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let axis = Axis::new(rows.iter().flat_map(|row| row.values.iter().copied()));
    let x = |value: f64| 12.0 + axis.share(value) * (WIDTH - 28.0);
    let y = |row: usize| TOP + ROW * row as f64;
    html! {
        svg.plot role="img" aria-label=(description) width=(WIDTH) height=(height)
            viewBox={ "0 0 " (WIDTH) " " (height) } {
            @for tick in &axis.ticks {
                line.grid x1=(px(x(*tick))) x2=(px(x(*tick))) y1=(TOP) y2=(height - BOTTOM) {}
                text x=(px(x(*tick))) y=(height - BOTTOM + 16.0) text-anchor="middle" { (axis.label(*tick)) }
            }
            text x=(WIDTH / 2.0) y=(height - 6.0) text-anchor="middle" { (axis_name) }
            @for (index, row) in rows.iter().enumerate() {
                text x="4" y=(y(index) + 10.0) { (row.name) }
                line.axis x1="4" x2=(WIDTH - 4.0) y1=(y(index) + 24.0) y2=(y(index) + 24.0) {}
                @for value in &row.values {
                    circle.dot cx=(px(x(*value))) cy=(y(index) + 24.0) r="4" {}
                }
                @for (class, place) in ["median", "worst"].into_iter().zip([row.marked[1], row.marked[0]]) {
                    circle class={ "dot " (class) } cx=(px(x(row.values[place]))) cy=(y(index) + 24.0) r="4" {
                        title { (class) " " (axis.label(row.values[place])) }
                    }
                }
            }
        }
    }
}

/// A bar in a cell of a table, which has the number beside it; `share` is 0 to 1.
pub(super) fn bar(share: f64) -> Markup {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        1.0
    };
    html! {
        svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.back x="0" y="0" width="100" height="10" {}
            rect.fill x="0" y="0" width=(px(100.0 * share)) height="10" {}
        }
    }
}

/// What a range keeps of what was observed, in a cell of a table.
pub(super) fn range_bar(observed: [f32; 2], kept: [f32; 2]) -> Markup {
    let low = f64::from(observed[0].min(kept[0]));
    let high = f64::from(observed[1].max(kept[1]));
    let share = |value: f32| {
        if high > low {
            100.0 * (f64::from(value) - low) / (high - low)
        } else {
            0.0
        }
    };
    let [observed_from, observed_to] = observed.map(share);
    let [kept_from, kept_to] = kept.map(share);
    html! {
        svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.back x="0" y="0" width="100" height="10" {}
            rect.tail x=(px(observed_from)) y="0" width=(px((observed_to - observed_from).max(0.5))) height="10" {}
            rect.kept x=(px(kept_from)) y="0" width=(px((kept_to - kept_from).max(0.5))) height="10" {}
        }
    }
}

/// An axis from the first to the last of its ticks.
struct Axis {
    ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// Holds all finite values, with a few round numbers.
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A single value gets some room around it.
        let span = (high - low).max(high.abs() * 0.02).max(1e-6);
        let rough = span / 4.0;
        let magnitude = 10.0_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|&s| s >= rough).unwrap_or(rough);
        let (first, mut last) = ((low / step).floor(), (high / step).ceil());
        if last <= first {
            last = first + 1.0;
        }
        let n_steps = (last - first).round() as usize;
        Self {
            ticks: (0..=n_steps).map(|i| (first + i as f64) * step).collect(),
            decimals: (-step.log10().floor()).clamp(0.0, 6.0) as usize,
        }
    }

    /// Where a value lies, 0 to 1; what is not finite lies at the beginning.
    fn share(&self, value: f64) -> f64 {
        let (first, last) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        if value.is_finite() {
            ((value - first) / (last - first)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    fn label(&self, value: f64) -> String {
        let decimals = self.decimals;
        let is_tick = self.ticks.iter().any(|tick| (tick - value).abs() < 1e-9);
        let decimals = if is_tick { decimals } else { decimals + 1 };
        format!("{value:.decimals$}")
    }
}

/// A coordinate, as short as it need be.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_between_round_numbers() {
        let axis = Axis::new([49.39, 76.6].into_iter());
        assert_eq!(axis.ticks, [40.0, 50.0, 60.0, 70.0, 80.0]);
        assert!((axis.share(60.0) - 0.5).abs() < 1e-12);
        assert_eq!(
            (axis.label(50.0), axis.label(51.07)),
            ("50".into(), "51.1".into())
        );
        for values in [vec![], vec![3.0], vec![f64::NAN, 1.0, 1.0], vec![0.0, 0.0]] {
            let axis = Axis::new(values.iter().copied());
            assert!(axis.ticks.len() > 1, "{values:?}");
            assert!((0.0..=1.0).contains(&axis.share(1.0)));
        }
        assert!(axis.share(f64::NAN).abs() < 1e-12);
    }

    #[test]
    fn names_do_not_lie_on_each_other() {
        let point = |y| Point {
            x: 1.0,
            y,
            name: "int8-ort-cpu".into(),
            is_front: true,
        };
        let points = [point(1.0), point(1.001), point(1.0)];
        let names = place_names(&points, &|_| 300.0, &|y| 100.0 * y);
        let mut ys: Vec<f64> = names.iter().map(|n| n.y).collect();
        ys.sort_by(f64::total_cmp);
        assert!(
            ys.windows(2).all(|w| w[1] - w[0] >= NAME_GAP - 1e-9),
            "{ys:?}"
        );
        assert!(names.iter().all(|n| n.anchor == "end"));
    }
}
