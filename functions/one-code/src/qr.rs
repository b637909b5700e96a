//! A QR code as SVG.

use std::fmt::Write as _;

use qrcodegen::{Mask, QrCode, QrCodeEcc, QrSegment, Version};

/// Modules of white around the code, as ISO/IEC 18004 wants.
const QUIET: i32 = 4;

/// A picture of `text`; `None` when it is too long for a QR code.
///
/// The code is never smaller than version 10 and has the strongest error correction, since it is
/// read from scratched screens. The mask is fixed: trying all eight is nine tenths of the work, and
/// every reader copes with each of them.
pub(crate) fn svg(text: &str) -> Option<String> {
    let segments = [QrSegment::make_bytes(text.as_bytes())];
    let mask = Some(Mask::new(3));
    let code = QrCode::encode_segments_advanced(
        &segments,
        QrCodeEcc::High,
        Version::new(10),
        Version::MAX,
        mask,
        false,
    )
    .ok()?;
    let side = code.size() + 2 * QUIET;
    // A subpath that is filled is closed without saying so.
    let mut out = String::with_capacity(12 * 1024);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\" role=\"img\"><title>Your code</title>\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\""
    );
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let run = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
            let width = i32::try_from(run).unwrap_or(0);
            if width > 0 {
                let _ = write!(out, "M{} {}h{width}v1h-{width}", x + QUIET, y + QUIET);
            }
            x += width + 1;
        }
    }
    out.push_str("\"/></svg>");
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_a_token_has_the_size_of_a_real_one() {
        let token = format!("u{}.green.1795435500.{}", "a".repeat(24), "x".repeat(43));
        let svg = svg(&token).unwrap();
        assert!((6_000..=12_000).contains(&svg.len()), "{}", svg.len());
        assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>"));
    }

    /// What is drawn is what the code says, module by module.
    #[test]
    fn the_path_draws_the_modules() {
        let text = "u000001";
        let segments = [QrSegment::make_bytes(text.as_bytes())];
        let (low, mask) = (Version::new(10), Some(Mask::new(3)));
        let code = QrCode::encode_segments_advanced(
            &segments,
            QrCodeEcc::High,
            low,
            Version::MAX,
            mask,
            false,
        )
        .unwrap();
        let svg = svg(text).unwrap();
        let path = svg.rsplit("d=\"").next().unwrap().split('"').next().unwrap();
        let mut drawn = std::collections::BTreeSet::new();
        for run in path.split('M').skip(1) {
            let (start, rest) = run.split_once('h').unwrap();
            let (x, y) = start.split_once(' ').unwrap();
            let width: i32 = rest.split('v').next().unwrap().parse().unwrap();
            let (x, y): (i32, i32) = (x.parse().unwrap(), y.parse().unwrap());
            drawn.extend((x..x + width).map(|x| (x - QUIET, y - QUIET)));
        }
        for y in 0..code.size() {
            for x in 0..code.size() {
                assert_eq!(drawn.contains(&(x, y)), code.get_module(x, y), "{x} {y}");
            }
        }
    }

    #[test]
    fn a_text_too_long_is_refused() {
        assert!(svg(&"x".repeat(3000)).is_none());
    }
}
