//! `run` on a network without global operators: tiles and the whole image give the same file.

use image::{ImageBuffer, Rgb};

use crate::support::{Folder, SRVGG, sample_model};

const WIDTH: u32 = 200;
const HEIGHT: u32 = 136;

/// Two gradients and a fine pattern, in steps that 8 bits do not have.
fn sixteen_bit_image() -> ImageBuffer<Rgb<u16>, Vec<u16>> {
    ImageBuffer::from_fn(WIDTH, HEIGHT, |x, y| {
        let pattern = (x * x + 3 * y * y + 7 * x * y) % 251;
        let samples = [x * 300 + pattern, y * 450 + pattern, 200 * pattern + x];
        Rgb(samples.map(|sample| u16::try_from(sample).unwrap()))
    })
}

#[test]
fn tiles_and_the_whole_image_give_the_same_16_bit_file() {
    let folder = Folder::with_images();
    sixteen_bit_image().save(folder.path("input.png")).unwrap();
    let run = |tile_px: usize, output: &str| {
        let line = format!("run {SRVGG} input.png -o {output} --tile {tile_px} --json");
        let document = folder.succeed_with_json(&line);
        assert_eq!(document["equivalence"], "exact");
        let image = image::open(folder.path(output)).unwrap();
        assert_eq!(image.color(), image::ColorType::Rgb16);
        (document["images"][0]["tiles"].clone(), image.into_rgb16())
    };
    let (n_tiles, tiled) = run(64, "tiled.png");
    let (n_whole, whole) = run(4096, "whole.png");
    // Cores of 40 px, with a halo of 12 on each side: (200 - 24) / 40 and (136 - 24) / 40, rounded up.
    assert_eq!((n_tiles, n_whole), (15.into(), 1.into()));
    assert_eq!(tiled.dimensions(), (2 * WIDTH, 2 * HEIGHT));
    assert_eq!(whole.dimensions(), tiled.dimensions());

    let levels = |image: &ImageBuffer<Rgb<u16>, Vec<u16>>| {
        let samples = image.as_raw();
        (
            *samples.iter().min().unwrap(),
            *samples.iter().max().unwrap(),
        )
    };
    let (darkest, brightest) = levels(&whole);
    assert!(brightest - darkest > 40_000, "the image is not flat");
    let largest = tiled
        .as_raw()
        .iter()
        .zip(whole.as_raw())
        .map(|(a, b)| a.abs_diff(*b))
        .max();
    assert!(largest <= Some(1), "differs by {largest:?} of 65535");
}

#[test]
fn eight_bit_images_stay_eight_bit() {
    let folder = Folder::with_images();
    folder.succeed(&format!("run {SRVGG} images/2.png -o new.png"));
    let image = image::open(folder.path("new.png")).unwrap();
    assert_eq!(image.color(), image::ColorType::Rgb8);
    assert_eq!((image.width(), image.height()), (192, 144));
}

#[test]
fn windows_make_another_network_that_tiles_equal() {
    let folder = Folder::with_images();
    let model = "exports/nafnet-pad-ts17.onnx";
    std::fs::create_dir(folder.path("exports")).unwrap();
    folder.write(model, sample_model(model));
    sixteen_bit_image().save(folder.path("input.png")).unwrap();
    let run = |options: &str, output: &str| {
        let line = format!("run {model} input.png -o {output} --json {options}");
        let document = folder.succeed_with_json(&line);
        assert_eq!(document["equivalence"], "approximate");
        let tiles = document["images"][0]["tiles"].as_u64().unwrap();
        (
            tiles,
            image::open(folder.path(output)).unwrap().into_rgb16(),
        )
    };
    let (n_tiles, tiled) = run("--local-window 8 --tile 128", "tiled.png");
    let (n_whole, whole) = run("--local-window 8 --tile 4096", "whole.png");
    let (_, global) = run("--tile 4096", "global.png");
    assert!(n_tiles > 1 && n_whole == 1, "{n_tiles} tiles");
    let differences = |other: &ImageBuffer<Rgb<u16>, Vec<u16>>| {
        let pairs = whole.as_raw().iter().zip(other.as_raw());
        pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    assert!(differences(&tiled) <= 2, "{}", differences(&tiled));
    assert!(differences(&global) > 100, "{}", differences(&global));
    folder
        .fail(
            &format!("run {model} input.png -o o.png --local-window 8 --sweeps 2"),
            2,
        )
        .assert_says(&["--sweeps"]);
}

#[test]
fn a_model_of_fixed_size_is_run_in_tiles_of_that_size() {
    let folder = Folder::with_images();
    sixteen_bit_image().save(folder.path("input.png")).unwrap();
    folder.succeed(&format!(
        "convert {SRVGG} --to fp16 -o fixed.onnx --bind h=64,w=96"
    ));
    folder.succeed(&format!("convert {SRVGG} --to fp16 -o open.onnx"));
    let run = |options: &str, output: &str| {
        let line = format!("run {options} -o {output} --json");
        let document = folder.succeed_with_json(&line);
        assert_eq!(document["equivalence"], "exact");
        let image = &document["images"][0];
        let tile = (
            image["tile_width"].as_u64().unwrap(),
            image["tile_height"].as_u64().unwrap(),
        );
        let pixels = image::open(folder.path(output)).unwrap().into_rgb16();
        (tile, pixels)
    };
    let (_, whole) = run("open.onnx input.png --tile 4096", "whole.png");
    for options in ["--tile 512", "--memory 1GiB"] {
        let (tile, tiled) = run(&format!("fixed.onnx input.png {options}"), "tiled.png");
        assert_eq!(tile, (96, 64));
        let pairs = whole.as_raw().iter().zip(tiled.as_raw());
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // Half precision has steps of 32 of 65536 below 1.
        assert!(worst <= 64, "{worst}");
    }
}
