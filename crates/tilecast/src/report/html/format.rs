//! Figures and building blocks that the sections of the page share.

use maud::{Markup, PreEscaped, html};

/// A size for people.
pub(super) fn megabytes(bytes: usize) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Memory for people.
pub(super) fn memory(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 1.0 {
        format!("{gib:.2} GiB")
    } else {
        format!("{:.0} MiB", gib * 1024.0)
    }
}

/// A figure that may be missing.
pub(super) fn figure(value: Option<f64>, decimals: usize, unit: &str) -> String {
    value.map_or("–".to_owned(), |v| format!("{v:.decimals$}{unit}"))
}

/// A table that scrolls by itself where the screen is narrow, also by keyboard.
pub(super) fn table(caption: &str, rows: &Markup) -> Markup {
    html! {
        div.table {
            p.caption aria-hidden="true" { (caption) }
            div.scroll role="region" aria-label=(caption) tabindex="0" {
                table aria-label=(caption) { (rows) }
            }
        }
    }
}

/// An image as a part of the page.
pub(super) fn data_uri(png: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut uri = String::with_capacity(png.len() * 4 / 3 + 32);
    uri.push_str("data:image/png;base64,");
    for chunk in png.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = bits >> (18 - 6 * digit) & 63;
                uri.push(char::from(DIGITS[index as usize]));
            } else {
                uri.push('=');
            }
        }
    }
    uri
}

/// The little Markdown of explanations: paragraphs, `code` and **strong**.
pub(super) fn prose(markdown: &str) -> Markup {
    let paragraphs = markdown.split("\n\n").map(str::trim);
    html! {
        @for paragraph in paragraphs.filter(|p| !p.is_empty()) {
            p { (inline(paragraph)) }
        }
    }
}

/// A paragraph with its marks as tags; what is between the marks is escaped.
pub(super) fn inline(text: &str) -> Markup {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str(&html! { code { (part) } }.into_string());
            continue;
        }
        for (index, part) in part.split("**").enumerate() {
            let words = if index % 2 == 1 {
                html! { strong { (part) } }
            } else {
                html! { (part) }
            };
            out.push_str(&words.into_string());
        }
    }
    PreEscaped(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let encoded = |text: &str| data_uri(text.as_bytes()).split_off(22);
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }

    #[test]
    fn marks_become_tags_and_the_rest_is_text() {
        assert_eq!(
            prose("**Why.** a < `b*c`\n\nmore").into_string(),
            "<p><strong>Why.</strong> a &lt; <code>b*c</code></p><p>more</p>"
        );
    }
}
