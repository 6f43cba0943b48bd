//! What a file says about its image besides the pixels.

use std::sync::Arc;

use super::exif::Exif;

/// Colour profile, EXIF and the like of an image file, to be written with the image that is made from it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// ICC profile, as it is. It fits the colours of its file: a grey profile is of no use to an RGB image.
    pub icc_profile: Option<Arc<[u8]>>,
    /// EXIF. The orientation is among it: pixels stay as they are stored, so it stays as it is.
    pub exif: Option<Exif>,
    /// XMP, a text in XML.
    pub xmp: Option<Vec<u8>>,
    /// What only a PNG file can say: resolution, gamma, texts.
    pub(super) png: Option<Box<png::Info<'static>>>,
}

/// Keyword of a PNG text that is XMP.
pub(super) const XMP_KEYWORD: &str = "XML:com.adobe.xmp";
