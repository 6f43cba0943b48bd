//! What artifacts do to images: the worst and the median one to look at, and the figures of all.

use maud::{Markup, html};
use tilecast_tile::Size;

use super::super::{ArtifactReport, ImageQuality, Report};
use super::format::{data_uri, figure, table};
use super::plots::{Row, dots};
use crate::compare::{ImageComparison, by_quality};
use crate::pictures::{Picture, TileLines};

pub(super) fn section(report: &Report, images: &[ImageComparison]) -> Markup {
    let rows: Vec<Row> = report
        .artifacts
        .iter()
        .enumerate()
        .filter(|_| !images.is_empty())
        .map(|(index, artifact)| row(index, artifact, images))
        .collect();
    html! {
        @if !rows.is_empty() {
            figure {
                figcaption { "A dot per held-out image; red is the worst one, dark the median." }
                (dots(&rows, "PSNR against FP32, dB", &describe(&rows)))
            }
        }
        @for (index, artifact) in report.artifacts.iter().enumerate() {
            h3 { (artifact.name) }
            @if !images.is_empty() { (looks(index, artifact, images)) }
        }
        h3 { "All held-out images" }
        p.muted {
            "Seam ratio: how much steeper the result is across tile lines than beside them, and what FP32 has there without "
            "tiles. Overlap step: difference in brightness of two tiles in the middle where both have pixels. Tiling alone: "
            "FP32 in tiles against FP32 whole."
        }
        @for artifact in &report.artifacts {
            details {
                summary { (artifact.name) ": figures of " (artifact.quality.images.len()) " images" }
                (figures(artifact))
            }
        }
    }
}

fn row(index: usize, artifact: &ArtifactReport, images: &[ImageComparison]) -> Row {
    let order = by_quality(images, index);
    let quality = &artifact.quality.images;
    Row {
        name: artifact.name.clone(),
        values: quality
            .iter()
            .map(|i| i.psnr_db.unwrap_or(f64::NAN))
            .collect(),
        marked: [order[0], order[order.len() / 2]],
    }
}

fn describe(rows: &[Row]) -> String {
    let all: Vec<String> = rows
        .iter()
        .map(|row| {
            let [worst, median] = row.marked.map(|place| row.values[place]);
            format!("{}: worst {worst:.2} dB, median {median:.2} dB", row.name)
        })
        .collect();
    all.join("; ")
}

/// The worst and the median image, or of the kept pictures the one that is nearest to it.
fn looks(index: usize, artifact: &ArtifactReport, images: &[ImageComparison]) -> Markup {
    let order = by_quality(images, index);
    let middle = order.len() / 2;
    let picture = |place: usize| images[order[place]].scores[index].picture.as_ref();
    let median = (0..order.len())
        .filter(|&place| picture(place).is_some())
        .min_by_key(|place| place.abs_diff(middle));
    let median = median.filter(|&place| place != 0);
    html! {
        @if let Some(worst) = picture(0) {
            (look("worst", order[0], worst, artifact, index))
        }
        @if let Some(place) = median {
            @if let Some(median) = picture(place) {
                (look("median", order[place], median, artifact, index))
            }
        }
    }
}

fn look(
    which: &str,
    image: usize,
    picture: &Picture,
    artifact: &ArtifactReport,
    index: usize,
) -> Markup {
    let quality = &artifact.quality.images[image];
    let id = format!("{which}-{index}");
    let part = picture.part;
    let part_px = Size {
        height: part.height,
        width: part.width,
    };
    let amplification = picture.amplification;
    let place = if picture.map.is_some() {
        format!("the part with the most error ({part})")
    } else {
        "all of it".to_owned()
    };
    let has_lines = quality.tiles > 1;
    let frame = |size: Size| format!("aspect-ratio: {} / {}", size.width, size.height);
    html! {
        h4 {
            (which) " image: " code { (quality.name) } ", " (figure(quality.psnr_db, 2, " dB"))
            @if let Some(delta_e) = quality.delta_e { (format!(", ΔE {:.3}", delta_e.mean)) }
        }
        div {
            @if has_lines {
                input.show-lines type="checkbox" id=(id);
                " "
                label for=(id) { "show where tiles meet" }
            }
            div.views {
                figure.view.compare {
                    figcaption { "FP32 left of the line, " (artifact.name) " right of it: " (place) "." }
                    div.frame style=(frame(part_px)) {
                        img src=(data_uri(&picture.reference)) alt={ "FP32 result of " (quality.name) ", " (place) };
                        img.candidate src=(data_uri(&picture.candidate)) alt={ (artifact.name) " result, the same part" };
                        (lines(&picture.lines, part.top, part.left, part_px))
                    }
                    input type="range" min="0" max="100" value="50" aria-label={ "How much of " (quality.name) " is shown in FP32, percent" }
                        data-left="FP32" data-right=(artifact.name);
                    div.ends aria-hidden="true" { span { "all " (artifact.name) } span { "all FP32" } }
                }
                figure.view {
                    figcaption {
                        "Error of that part, " (amplification) "× amplified: the lightest is "
                        (format!("{:.2} %", 100.0 / f64::from(amplification))) " of the range or more."
                    }
                    div.frame style=(frame(part_px)) {
                        img src=(data_uri(&picture.error))
                            alt={ "Map of the error of the part, largest difference " (figure(quality.max_abs, 4, "")) };
                        (lines(&picture.lines, part.top, part.left, part_px))
                    }
                }
                @if let Some(map) = &picture.map {
                    figure.view {
                        figcaption {
                            "Error of the whole image, " (picture.image_px) " px, " (amplification)
                            "× amplified, largest of each block; the white frame is the part shown."
                        }
                        div.frame style=(frame(picture.image_px)) {
                            img src=(data_uri(map)) alt={ "Map of the error of the whole image " (quality.name) };
                            (lines(&picture.lines, 0, 0, picture.image_px))
                            svg viewBox={ "0 0 " (picture.image_px.width) " " (picture.image_px.height) }
                                preserveAspectRatio="none" aria-hidden="true" {
                                rect.part x=(part.left) y=(part.top) width=(part.width) height=(part.height) {}
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where tiles meet, over a part of an image; shown by the checkbox before it.
fn lines(lines: &TileLines, top: usize, left: usize, size: Size) -> Markup {
    let inside = |lines: &[usize], from: usize, length: usize| -> Vec<usize> {
        let inside = lines.iter().filter(|&&at| at >= from && at < from + length);
        inside.map(|at| at - from).collect()
    };
    let Size { height, width } = size;
    html! {
        svg.tile-lines viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" aria-hidden="true" {
            @for y in inside(&lines.rows, top, height) { line x1="0" x2=(width) y1=(y) y2=(y) {} }
            @for x in inside(&lines.columns, left, width) { line y1="0" y2=(height) x1=(x) x2=(x) {} }
        }
    }
}

fn figures(artifact: &ArtifactReport) -> Markup {
    let rows = html! {
        thead {
            tr {
                th.name scope="col" { "image" }
                th.n scope="col" { "size" }
                th.n scope="col" { "tiles" }
                th.n scope="col" { "PSNR" }
                th.n scope="col" { "SSIM" }
                th.n scope="col" { "SSIMULACRA2" }
                th.n scope="col" { "ΔE mean" }
                th.n scope="col" { "ΔE 99 %" }
                th.n scope="col" { "ΔE worst" }
                th.n scope="col" { "largest error" }
                th.n scope="col" { "lost" }
                th.n scope="col" { "seam ratio" }
                th.n scope="col" { "FP32 whole" }
                th.n scope="col" { "overlap step" }
                th.n scope="col" { "tiling alone" }
            }
        }
        tbody { @for image in &artifact.quality.images { (image_row(image)) } }
    };
    table("Against FP32, tiled alike", &rows)
}

fn image_row(image: &ImageQuality) -> Markup {
    let seams = image.seams;
    let step = seams.and_then(|s| s.overlap).map(|o| o.worst.dc_step);
    html! {
        tr {
            th.name scope="row" { (image.name) }
            td.n { (image.width) "×" (image.height) }
            td.n { (image.tiles) }
            td.n { (figure(image.psnr_db, 2, " dB")) }
            td.n { (figure(image.ssim, 5, "")) }
            td.n { (figure(image.ssimulacra2, 2, "")) }
            td.n { (figure(image.delta_e.map(|d| d.mean), 3, "")) }
            td.n { (figure(image.delta_e.map(|d| d.p99), 2, "")) }
            td.n { (figure(image.delta_e.map(|d| d.max), 2, "")) }
            td.n { (figure(image.max_abs, 4, "")) }
            td.n { (figure(image.truth.map(|t| t.drop_db), 3, " dB")) }
            td.n { (figure(seams.and_then(|s| s.ratio), 3, "")) }
            td.n { (figure(seams.and_then(|s| s.whole_ratio), 3, "")) }
            td.n { (figure(step, 6, "")) }
            td.n { (figure(image.tiling_psnr_db, 2, " dB")) }
        }
    }
}
