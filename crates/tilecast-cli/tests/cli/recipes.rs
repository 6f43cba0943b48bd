//! The recipes for other networks than the sample, on the committed exports: a few small images, small tiles.

use std::fs;

use crate::support::{Folder, repository};

/// A recipe, and the side of its tiles in this test, pixels.
const RECIPES: [(&str, u32); 3] = [("realesrgan", 48), ("unet-bn", 64), ("swinir", 72)];

#[test]
fn recipes_for_other_networks_meet_their_gates() {
    let folder = Folder::with_images();
    for (name, tile_px) in RECIPES {
        let recipe = repository().join(format!("recipes/{name}.yaml"));
        let images = folder.path("images");
        let line = format!(
            "quantize {} --out {name} --json --set calibration.images={} --set tiling.validate_tile={tile_px}",
            recipe.display(),
            images.display()
        );
        let report = folder.succeed_with_json(&line);
        assert_eq!(report["passed"], true, "{name}");
        assert_eq!(report["tiling"]["equivalence"], "exact", "{name}");
        let int8 = report["artifacts"][1]["nodes"]["int8"].as_u64();
        assert!(
            int8.is_some_and(|n| n > 0),
            "{name}: {int8:?} nodes in INT8"
        );
    }
}

#[test]
fn every_recipe_is_listed_and_names_its_schema() {
    let mut names: Vec<String> = fs::read_dir(repository().join("recipes"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    for name in &names {
        let text = fs::read_to_string(repository().join(format!("recipes/{name}.yaml"))).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "# yaml-language-server: $schema=../docs/recipe.schema.json"
        );
    }
    let mut tested: Vec<&str> = RECIPES.iter().map(|(name, _)| *name).collect();
    // The sample's is the test of the main job.
    tested.push("nafnet");
    tested.sort_unstable();
    assert_eq!(names, tested);
}
