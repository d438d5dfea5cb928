//! Antialiased shapes in units of the picture.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Paint, Path, PathBuilder,
    Pixmap, Point, Rect, SpreadMode, Stroke, Transform,
};

use crate::dialogue::Pixels;

/// A point: rightwards and downwards.
pub(super) type Spot = (f32, f32);

/// A colour: red, green and blue.
pub(super) type Rgb = [u8; 3];

/// A square picture; its own coordinates run from 0 to 1 rightwards and downwards.
pub(super) struct Canvas {
    pixmap: Pixmap,
    to_pixels: Transform,
}

impl Canvas {
    /// A black picture of `side_px` by `side_px`.
    pub(super) fn new(side_px: u32) -> Self {
        let pixmap = Pixmap::new(side_px, side_px).expect("a picture has pixels and fits memory");
        Self { pixmap, to_pixels: Transform::from_scale(side_px as f32, side_px as f32) }
    }

    /// Fills a path that is given in `place`'s coordinates. `opacity` is from 0 to 1.
    pub(super) fn fill(&mut self, path: &Path, colour: Rgb, opacity: f32, place: Transform) {
        let transform = place.post_concat(self.to_pixels);
        self.pixmap.fill_path(path, &paint(colour, opacity), FillRule::Winding, transform, None);
    }

    /// Draws along a path with a round pen of this width, both in `place`'s coordinates.
    pub(super) fn stroke(&mut self, path: &Path, colour: Rgb, width: f32, place: Transform) {
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        let transform = place.post_concat(self.to_pixels);
        self.pixmap.stroke_path(path, &paint(colour, 1.0), &stroke, transform, None);
    }

    /// Fills the whole width from `top` to `bottom`, running from one colour to another.
    pub(super) fn band(&mut self, top: f32, bottom: f32, from: Rgb, to: Rgb) {
        let stops = vec![GradientStop::new(0.0, opaque(from)), GradientStop::new(1.0, opaque(to))];
        let (start, end) = (Point::from_xy(0.0, top), Point::from_xy(0.0, bottom));
        let identity = Transform::identity();
        let shader = LinearGradient::new(start, end, stops, SpreadMode::Pad, identity)
            .expect("a band has a height");
        let paint = Paint { shader, anti_alias: true, ..Paint::default() };
        let path = rectangle(-0.1, top, 1.2, bottom - top);
        self.pixmap.fill_path(&path, &paint, FillRule::Winding, self.to_pixels, None);
    }

    /// The picture.
    pub(super) fn into_pixels(self) -> Pixels {
        let (width, height) = (self.pixmap.width(), self.pixmap.height());
        let pixels = self.pixmap.pixels().iter();
        let rgb = pixels.flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        Pixels { width, height, rgb }
    }
}

fn opaque([red, green, blue]: Rgb) -> Color {
    Color::from_rgba8(red, green, blue, 255)
}

fn paint(colour: Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let mut color = opaque(colour);
    color.set_alpha(opacity);
    paint.set_color(color);
    paint
}

/// `colour` moved towards `other` by a share from 0 to 1.
pub(super) fn blend(colour: Rgb, other: Rgb, share: f64) -> Rgb {
    let channel = |i: usize| {
        (f64::from(colour[i]) * (1.0 - share) + f64::from(other[i]) * share).round() as u8
    };
    [channel(0), channel(1), channel(2)]
}

/// A rectangle by its upper left corner and its size.
pub(super) fn rectangle(x: f32, y: f32, width: f32, height: f32) -> Path {
    PathBuilder::from_rect(
        Rect::from_xywh(x, y, width, height).expect("the drawing's rectangles have a size"),
    )
}

/// An ellipse by its middle and its half axes.
pub(super) fn ellipse(x: f32, y: f32, across: f32, down: f32) -> Path {
    let rect = Rect::from_xywh(x - across, y - down, 2.0 * across, 2.0 * down);
    PathBuilder::from_oval(rect.expect("the drawing's ellipses have a size"))
        .expect("an ellipse is a path")
}

/// A polygon by its corners.
pub(super) fn polygon(corners: &[Spot]) -> Path {
    let mut builder = line_through(corners);
    builder.close();
    builder.finish().expect("the drawing's polygons have corners")
}

/// Straight lines from point to point.
pub(super) fn line(points: &[Spot]) -> Path {
    line_through(points).finish().expect("the drawing's lines have two ends")
}

fn line_through(points: &[Spot]) -> PathBuilder {
    let mut builder = PathBuilder::new();
    if let Some(&(x, y)) = points.first() {
        builder.move_to(x, y);
    }
    for &(x, y) in points.iter().skip(1) {
        builder.line_to(x, y);
    }
    builder
}

/// Curves through points: each pair after the first point is a control point and an end.
pub(super) fn curve(start: Spot, pieces: &[(Spot, Spot)]) -> Path {
    curved(start, pieces).finish().expect("the drawing's curves have two ends")
}

/// The same, closed.
pub(super) fn blob(start: Spot, pieces: &[(Spot, Spot)]) -> Path {
    let mut builder = curved(start, pieces);
    builder.close();
    builder.finish().expect("the drawing's outlines have two ends")
}

fn curved(start: Spot, pieces: &[(Spot, Spot)]) -> PathBuilder {
    let mut builder = PathBuilder::new();
    builder.move_to(start.0, start.1);
    for (control, end) in pieces {
        builder.quad_to(control.0, control.1, end.0, end.1);
    }
    builder
}
