//! A 6-megapixel image through the denoiser: memory stays that of tiles, and the caller is told what tiles cost.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use image::{Rgb, RgbImage};

use crate::support::{Folder, NAFNET, Outcome, sample_model};

const WIDTH: u32 = 3000;
const HEIGHT: u32 = 2000;
const MOST_BYTES: u64 = 300_000_000;

/// High-water mark of a process's resident set, bytes; `None` once it has ended.
fn peak_bytes(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn a_large_image_takes_what_its_tiles_take() {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let samples = [
            x * 255 / WIDTH,
            y * 255 / HEIGHT,
            (7 * x + 13 * y) / 16 % 256,
        ];
        Rgb(samples.map(|sample| sample as u8))
    })
    .save(folder.path("photo.png"))
    .unwrap();

    let line = "run nafnet-denoise.onnx photo.png -o out.png --tile 256";
    let mut child = folder
        .command(line)
        // Every thread has a tile in flight; the figure is for two.
        .env("RAYON_NUM_THREADS", "2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut highest = 0;
    while child.try_wait().unwrap().is_none() {
        highest = peak_bytes(&child).unwrap_or_default().max(highest);
        sleep(Duration::from_millis(5));
    }
    let outcome = Outcome::new(line, &child.wait_with_output().unwrap());
    outcome.assert_code(0);

    // Input and output as planes of floats would be 144 MB by themselves. Two tiles in flight are 50 MB: less means that
    // the measurement went wrong.
    assert!(
        (50_000_000..MOST_BYTES).contains(&highest),
        "{highest} bytes"
    );
    let size = image::image_dimensions(folder.path("out.png")).unwrap();
    assert_eq!(size, (WIDTH, HEIGHT));
    outcome.assert_says(&["warning: photo.png: 12 node(s) look at the whole image"]);
}
