//! All that is needed to make the artifacts again: the command, the recipe, and what every file was.

use maud::{Markup, html};

use super::super::{FileFacts, Report};
use super::format::table;

pub(super) fn section(report: &Report) -> Markup {
    let quoted = |change: &String| change.replace('\'', "'\\''");
    let files = html! {
        (head())
        tbody {
            (line("recipe", &report.recipe.name, &report.recipe.sha256))
            (line("model", &report.model.name, &report.model.sha256))
            @for artifact in &report.artifacts { (line("artifact", &artifact.path, &artifact.sha256)) }
        }
    };
    let images = html! {
        (head())
        tbody {
            (image_lines("calibrated on", &report.calibration.images))
            (image_lines("held out", &report.calibration.holdout))
        }
    };
    html! {
        p { (report.tool.name) " " (report.tool.version) ":" }
        pre tabindex="0" {
            code {
                "tilecast quantize " (report.recipe.name) ".yaml"
                @for change in &report.request.overrides { " --set '" (quoted(change)) "'" }
            }
        }
        details {
            summary { "The recipe, " code { (report.recipe.name) ".yaml" } }
            pre tabindex="0" { code { (report.request.recipe) } }
        }
        (table("Files", &files))
        details {
            summary { (report.calibration.images.len() + report.calibration.holdout.len()) " images" }
            (table("Images", &images))
        }
    }
}

fn head() -> Markup {
    html! { thead { tr { th scope="col" { "what" } th.name scope="col" { "file" } th scope="col" { "SHA-256" } } } }
}

fn image_lines(what: &str, files: &[FileFacts]) -> Markup {
    html! { @for file in files { (line(what, &file.name, &file.sha256)) } }
}

fn line(what: &str, name: &str, sha256: &str) -> Markup {
    html! { tr { td { (what) } th.name scope="row" { (name) } td { code { (sha256) } } } }
}
