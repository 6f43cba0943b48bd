//! Whether a JPEG file is all there.
//!
//! The decoder paints what it has not got in grey and reports success. A measurement on such an image would be wrong
//! without a sign, so the markers of the file (ITU-T T.81, annex B) are followed to its end before it is decoded.

use std::io::{self, BufRead, Seek};

/// Whether the markers lead to an end-of-image marker. Reads from the start of the file and leaves it anywhere.
pub(super) fn has_end(file: &mut (impl BufRead + Seek)) -> io::Result<bool> {
    const FILL: u8 = 0xff;
    const STUFFED: u8 = 0x00;
    const TEMPORARY: u8 = 0x01;
    const RESTART_0: u8 = 0xd0;
    const START_OF_IMAGE: u8 = 0xd8;
    const END_OF_IMAGE: u8 = 0xd9;

    loop {
        // In front of a marker stands another segment, which was skipped, or coded data, where 0xff is always stuffed.
        file.skip_until(FILL)?;
        let mut marker = FILL;
        while marker == FILL {
            match read_byte(file)? {
                Some(byte) => marker = byte,
                None => return Ok(false),
            }
        }
        match marker {
            END_OF_IMAGE => return Ok(true),
            STUFFED | TEMPORARY | RESTART_0..=START_OF_IMAGE => {}
            _ => {
                // Skipped by length: a segment may hold a thumbnail, with an end of its own.
                let (Some(high), Some(low)) = (read_byte(file)?, read_byte(file)?) else {
                    return Ok(false);
                };
                let n_bytes = i64::from(u16::from_be_bytes([high, low]));
                file.seek_relative((n_bytes - 2).max(0))?;
            }
        }
    }
}

fn read_byte(file: &mut impl BufRead) -> io::Result<Option<u8>> {
    let mut byte = [0];
    match file.read_exact(&mut byte) {
        Ok(()) => Ok(Some(byte[0])),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_end_is_found_behind_segments_and_coded_data() {
        let cases: [(&str, &[u8], bool); 8] = [
            ("shortest", b"\xff\xd8\xff\xd9", true),
            ("bytes after the end", b"\xff\xd8\xff\xd9and more", true),
            ("fill before a marker", b"\xff\xd8\xff\xff\xff\xd9", true),
            (
                "stuffing and restarts in coded data",
                b"\xff\xd8\xff\xda\0\x02ab\xff\0c\xff\xd3d\xff\xd9",
                true,
            ),
            (
                "an end inside a segment",
                b"\xff\xd8\xff\xe1\0\x04\xff\xd9",
                false,
            ),
            (
                "an end after such a segment",
                b"\xff\xd8\xff\xe1\0\x04\xff\xd9\xff\xd9",
                true,
            ),
            ("cut in a length", b"\xff\xd8\xff\xe1\0", false),
            ("cut in coded data", b"\xff\xd8\xff\xda\0\x02abc\xff", false),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(
                has_end(&mut Cursor::new(bytes)).unwrap(),
                expected,
                "{name}"
            );
        }
    }
}
