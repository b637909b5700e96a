//! Points of two measures: one to the right, one upwards.

use std::fmt::Write as _;

use super::{Axis, LEFT, RIGHT, rule, text};

/// About the width of a character of a label, and the height of a line of them.
const CHARACTER: f64 = 6.5;
const LINE: f64 = 12.0;

/// A panel whose two axes both have values.
#[derive(Debug)]
pub struct Plane {
    /// Its upper edge in the picture.
    pub top: f64,
    /// How high it is.
    pub height: f64,
    /// The values from left to right.
    pub x: Axis,
    /// The values from the bottom up.
    pub y: Axis,
}

impl Plane {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let bottom = self.top + self.height;
        (LEFT + (RIGHT - LEFT) * self.x.part(x), bottom - self.height * self.y.part(y))
    }

    /// Grid, ticks, and the name of each axis.
    pub fn frame(&self, out: &mut String, x_name: &str, y_name: &str) {
        let bottom = self.top + self.height;
        text(out, LEFT, self.top - 10.0, "name", "start", y_name);
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at((0.0, *value));
            let class = if *value == 0.0 { "axis" } else { "grid" };
            rule(out, class, (LEFT, y), (RIGHT, y));
            text(out, LEFT - 8.0, y + 4.0, "tick", "end", label);
        }
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at((*value, 0.0));
            let class = if *value == 0.0 { "axis" } else { "grid" };
            rule(out, class, (x, self.top), (x, bottom));
            text(out, x, bottom + 16.0, "tick", "middle", label);
        }
        text(out, f64::midpoint(LEFT, RIGHT), bottom + 36.0, "name", "middle", x_name);
    }

    /// Points, each of a class, at a place and with a label beside it. A label that would lie upon one before
    /// it moves upwards, out of the way.
    pub fn points(&self, out: &mut String, points: &[(&str, (f64, f64), String)]) {
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for (class, place, label) in points {
            let (x, y) = self.at(*place);
            let _ =
                writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>");
            // On the side with more room.
            let (dx, anchor) =
                if x < f64::midpoint(LEFT, RIGHT) { (9.0, "start") } else { (-9.0, "end") };
            let width = CHARACTER * label.chars().count() as f64;
            let left = if dx > 0.0 { x + dx } else { x + dx - width };
            let mut top = y - 6.0;
            let over = |top: f64, (l, r, t): &(f64, f64, f64)| {
                left < *r && left + width > *l && (top - t).abs() < LINE
            };
            while taken.iter().any(|one| over(top, one)) {
                top -= LINE;
            }
            taken.push((left, left + width, top));
            text(out, x + dx, top, "tick", anchor, label);
        }
    }

    /// A line through points, in their order.
    pub fn line(&self, out: &mut String, class: &str, places: &[(f64, f64)]) {
        let points: Vec<String> = places
            .iter()
            .map(|place| {
                let (x, y) = self.at(*place);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        if points.len() > 1 {
            let points = points.join(" ");
            let _ = writeln!(out, "<polyline class=\"line {class}\" points=\"{points}\"/>");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_where_their_values_are() {
        let plane = Plane {
            top: 100.0,
            height: 300.0,
            x: Axis::new(10.0, "USD"),
            y: Axis::logarithmic(700.0, "s"),
        };
        assert_eq!(plane.at((0.0, 0.0)), (LEFT, 400.0));
        assert_eq!(plane.at((10.0, 1000.0)), (RIGHT, 100.0));
        let (_, one) = plane.at((0.0, 1.0));
        let (_, ten) = plane.at((0.0, 10.0));
        assert!((330.0..380.0).contains(&one) && (270.0..320.0).contains(&ten), "{one} {ten}");
        let mut out = String::new();
        plane.frame(&mut out, "cost", "over");
        let points = ["<0.8>", "<0.9>"].map(|label| ("best", (2.0, 10.0), label.to_owned()));
        plane.points(&mut out, &points);
        let heights: Vec<&str> = out
            .lines()
            .filter(|line| line.contains("&lt;"))
            .filter_map(|line| line.split("y=").nth(1))
            .collect();
        assert!(heights.len() == 2 && heights[0] != heights[1], "{heights:?}");
        plane.line(&mut out, "best", &[(0.0, 1.0), (1.0, 0.0)]);
        for part in [">1000 s</text>", ">10 USD</text>", "&lt;0.8&gt;", "<circle", "<polyline"] {
            assert!(out.contains(part), "`{part}` is missing: {out}");
        }
        assert!(!out.contains("NaN"));
    }
}
