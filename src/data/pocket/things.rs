//! The things of the pocket world, each drawn in a box from -1 to 1 and standing on y = 1.

use tiny_skia::{Path, Transform};

use super::canvas::{Canvas, Rgb, blend, blob, curve, ellipse, line, polygon, rectangle};
use super::scene::{Colour, Object};

const BLACK: Rgb = [35, 32, 38];
const WHITE: Rgb = [252, 252, 250];
const BROWN: Rgb = [124, 82, 48];
const LEAF: Rgb = [62, 128, 58];
const GLASS: Rgb = [190, 222, 240];

impl Colour {
    /// Its usual shade.
    pub(super) fn rgb(self) -> Rgb {
        match self {
            Self::Red => [212, 38, 38],
            Self::Orange => [242, 130, 24],
            Self::Yellow => [246, 210, 40],
            Self::Green => [42, 150, 70],
            Self::Blue => [38, 88, 208],
            Self::Purple => [122, 58, 176],
            Self::Pink => [246, 138, 184],
            Self::White => [244, 244, 242],
        }
    }
}

/// A pen for one thing: its colour, and where it stands.
struct Pen<'a> {
    canvas: &'a mut Canvas,
    colour: Rgb,
    dark: Rgb,
    place: Transform,
}

/// Draws a thing in `colour`; `place` takes its box into the picture.
pub(super) fn draw_thing(canvas: &mut Canvas, object: Object, colour: Rgb, place: Transform) {
    let dark = blend(colour, BLACK, 0.55);
    let mut pen = Pen { canvas, colour, dark, place };
    match object {
        Object::Ball => pen.ball(),
        Object::Boat => pen.boat(),
        Object::Car => pen.car(),
        Object::Cat => pen.cat(),
        Object::Cup => pen.cup(),
        Object::Fish => pen.fish(),
        Object::Flower => pen.flower(),
        Object::House => pen.house(),
        Object::Star => pen.star(),
        Object::Tree => pen.tree(),
    }
}

impl Pen<'_> {
    const OUTLINE: f32 = 0.09;

    /// A part in the thing's colour, outlined.
    fn body(&mut self, path: &Path) {
        self.canvas.fill(path, self.colour, 1.0, self.place);
        self.canvas.stroke(path, self.dark, Self::OUTLINE, self.place);
    }

    /// A part in another colour, outlined.
    fn part(&mut self, path: &Path, colour: Rgb) {
        self.canvas.fill(path, colour, 1.0, self.place);
        self.canvas.stroke(path, blend(colour, BLACK, 0.55), Self::OUTLINE * 0.8, self.place);
    }

    /// A spot without outline.
    fn spot(&mut self, path: &Path, colour: Rgb) {
        self.canvas.fill(path, colour, 1.0, self.place);
    }

    fn stroke(&mut self, path: &Path, colour: Rgb, width: f32) {
        self.canvas.stroke(path, colour, width, self.place);
    }

    fn ball(&mut self) {
        self.body(&ellipse(0.0, 0.08, 0.9, 0.9));
        let seam = blend(self.colour, WHITE, 0.75);
        let seam = if self.colour.iter().all(|&value| value > 215) { self.dark } else { seam };
        self.stroke(&curve((-0.72, -0.42), &[((0.1, -0.1), (0.34, 0.9))]), seam, 0.16);
        self.stroke(&curve((-0.1, -0.78), &[((0.55, -0.5), (0.84, 0.3))]), seam, 0.12);
        self.canvas.fill(&ellipse(-0.34, -0.4, 0.17, 0.12), WHITE, 0.75, self.place);
    }

    fn boat(&mut self) {
        self.stroke(&line(&[(0.0, -0.95), (0.0, 0.4)]), BROWN, 0.12);
        let sail = blend(self.colour, WHITE, 0.25);
        self.part(&polygon(&[(0.1, -0.9), (0.85, 0.18), (0.1, 0.18)]), sail);
        self.part(&polygon(&[(-0.1, -0.6), (-0.1, 0.18), (-0.65, 0.18)]), sail);
        let hull = blob(
            (-0.98, 0.38),
            &[
                ((0.0, 0.5), (0.98, 0.38)),
                ((0.8, 0.98), (0.5, 1.0)),
                ((0.0, 1.05), (-0.5, 1.0)),
                ((-0.8, 0.98), (-0.98, 0.38)),
            ],
        );
        self.body(&hull);
    }

    fn car(&mut self) {
        let cabin = polygon(&[(-0.62, 0.14), (-0.4, -0.42), (0.32, -0.42), (0.64, 0.14)]);
        self.body(&cabin);
        self.spot(&polygon(&[(-0.46, 0.08), (-0.32, -0.28), (-0.06, -0.28), (-0.06, 0.08)]), GLASS);
        self.spot(&polygon(&[(0.06, 0.08), (0.06, -0.28), (0.26, -0.28), (0.46, 0.08)]), GLASS);
        let shell = blob(
            (-0.98, 0.62),
            &[
                ((-1.02, 0.16), (-0.7, 0.14)),
                ((0.0, 0.1), (0.72, 0.14)),
                ((1.02, 0.18), (0.98, 0.62)),
                ((1.0, 0.72), (0.9, 0.72)),
                ((0.0, 0.74), (-0.9, 0.72)),
                ((-1.0, 0.72), (-0.98, 0.62)),
            ],
        );
        self.body(&shell);
        for x in [-0.54, 0.54] {
            self.spot(&ellipse(x, 0.74, 0.26, 0.26), BLACK);
            self.spot(&ellipse(x, 0.74, 0.11, 0.11), [190, 190, 196]);
        }
        self.spot(&ellipse(0.9, 0.36, 0.07, 0.08), [255, 240, 170]);
    }

    fn cat(&mut self) {
        let tail = curve((0.42, 0.86), &[((1.0, 0.85), (0.86, 0.2))]);
        self.stroke(&tail, self.dark, 0.3);
        self.stroke(&tail, self.colour, 0.17);
        self.body(&ellipse(0.0, 0.5, 0.54, 0.5));
        for side in [-1.0, 1.0] {
            let ear = polygon(&[(side * 0.5, -0.98), (side * 0.56, -0.38), (side * 0.12, -0.62)]);
            self.body(&ear);
        }
        self.body(&ellipse(0.0, -0.28, 0.58, 0.48));
        for side in [-1.0, 1.0] {
            self.spot(&ellipse(side * 0.24, -0.34, 0.11, 0.13), WHITE);
            self.spot(&ellipse(side * 0.24, -0.33, 0.06, 0.11), BLACK);
            self.stroke(&line(&[(side * 0.3, -0.1), (side * 0.72, -0.18)]), self.dark, 0.045);
            self.stroke(&line(&[(side * 0.3, -0.04), (side * 0.7, 0.02)]), self.dark, 0.045);
        }
        self.spot(&polygon(&[(-0.1, -0.16), (0.1, -0.16), (0.0, -0.04)]), [232, 120, 130]);
        self.stroke(&line(&[(-0.16, 0.98), (-0.16, 0.66)]), self.dark, 0.06);
        self.stroke(&line(&[(0.16, 0.98), (0.16, 0.66)]), self.dark, 0.06);
    }

    fn cup(&mut self) {
        let handle =
            curve((0.5, -0.05), &[((1.15, -0.1), (0.92, 0.34)), ((0.8, 0.62), (0.42, 0.6))]);
        self.stroke(&handle, self.dark, 0.28);
        self.stroke(&handle, self.colour, 0.14);
        let wall = blob(
            (-0.72, -0.25),
            &[
                ((-0.7, 0.6), (-0.42, 0.98)),
                ((0.0, 1.08), (0.42, 0.98)),
                ((0.62, 0.6), (0.62, -0.25)),
            ],
        );
        self.body(&wall);
        self.part(&ellipse(-0.05, -0.25, 0.67, 0.17), [96, 60, 36]);
        let steam = [225, 228, 232];
        for x in [-0.28, 0.14] {
            let wisp =
                curve((x, -0.5), &[((x - 0.2, -0.62), (x, -0.74)), ((x + 0.2, -0.86), (x, -0.98))]);
            self.stroke(&wisp, steam, 0.08);
        }
    }

    fn fish(&mut self) {
        self.body(&polygon(&[(0.5, 0.3), (0.98, -0.18), (0.98, 0.82)]));
        self.body(&blob(
            (-0.98, 0.3),
            &[
                ((-0.5, -0.5), (0.1, -0.28)),
                ((0.5, -0.1), (0.66, 0.3)),
                ((0.5, 0.72), (0.1, 0.9)),
                ((-0.5, 1.1), (-0.98, 0.3)),
            ],
        ));
        self.body(&blob(
            (-0.1, -0.3),
            &[((0.1, -0.75), (0.42, -0.6)), ((0.3, -0.3), (0.36, -0.14))],
        ));
        self.spot(&ellipse(-0.55, 0.14, 0.15, 0.15), WHITE);
        self.spot(&ellipse(-0.57, 0.14, 0.075, 0.085), BLACK);
        self.stroke(&curve((-0.24, -0.12), &[((-0.02, 0.3), (-0.24, 0.72))]), self.dark, 0.07);
        self.stroke(&curve((0.1, 0.2), &[((0.22, 0.34), (0.1, 0.48))]), self.dark, 0.06);
        self.stroke(&curve((-0.92, 0.42), &[((-0.8, 0.5), (-0.68, 0.46))]), self.dark, 0.06);
    }

    fn flower(&mut self) {
        self.stroke(&curve((0.0, 0.0), &[((0.08, 0.5), (0.0, 1.0))]), LEAF, 0.13);
        self.spot(
            &blob((0.02, 0.72), &[((0.3, 0.3), (0.62, 0.44)), ((0.4, 0.78), (0.02, 0.72))]),
            LEAF,
        );
        self.spot(
            &blob((0.02, 0.84), &[((-0.26, 0.42), (-0.6, 0.56)), ((-0.38, 0.9), (0.02, 0.84))]),
            LEAF,
        );
        for petal in 0..6 {
            let angle = f64::from(petal) * std::f64::consts::TAU / 6.0;
            let (x, y) = ((angle.sin() * 0.38) as f32, (angle.cos() * 0.38) as f32);
            self.body(&ellipse(x, y - 0.3, 0.29, 0.29));
        }
        let warm =
            self.colour[0] > 225 && (100..225).contains(&self.colour[1]) && self.colour[2] < 100;
        let middle = if warm { [120, 70, 30] } else { [250, 205, 60] };
        self.part(&ellipse(0.0, -0.3, 0.22, 0.22), middle);
    }

    fn house(&mut self) {
        self.part(&rectangle(0.36, -0.86, 0.22, 0.5), [150, 96, 80]);
        self.body(&rectangle(-0.74, -0.14, 1.48, 1.12));
        let roof = blend(self.colour, BLACK, 0.32);
        self.part(&polygon(&[(-0.98, -0.1), (0.0, -0.98), (0.98, -0.1)]), roof);
        self.part(&rectangle(-0.52, 0.3, 0.4, 0.68), BROWN);
        self.part(&rectangle(0.12, 0.22, 0.42, 0.38), [250, 236, 160]);
        self.stroke(&line(&[(0.33, 0.22), (0.33, 0.6)]), BLACK, 0.05);
        self.stroke(&line(&[(0.12, 0.41), (0.54, 0.41)]), BLACK, 0.05);
    }

    fn star(&mut self) {
        let corner = |index: usize| {
            let radius = if index.is_multiple_of(2) { 1.02 } else { 0.44 };
            let angle = index as f64 * std::f64::consts::PI / 5.0;
            ((angle.sin() * radius) as f32, (0.1 - angle.cos() * radius) as f32)
        };
        let corners: Vec<(f32, f32)> = (0..10).map(corner).collect();
        self.body(&polygon(&corners));
        self.canvas.fill(&ellipse(-0.16, -0.14, 0.1, 0.1), WHITE, 0.6, self.place);
    }

    fn tree(&mut self) {
        self.part(&polygon(&[(-0.15, 0.2), (0.15, 0.2), (0.22, 1.0), (-0.22, 1.0)]), BROWN);
        let crown = [(-0.42, 0.06, 0.42), (0.42, 0.06, 0.42), (0.0, -0.44, 0.5), (0.0, 0.0, 0.46)];
        for (x, y, radius) in crown {
            let outline = ellipse(x, y, radius + 0.06, radius + 0.06);
            self.spot(&outline, self.dark);
        }
        for (x, y, radius) in crown {
            self.spot(&ellipse(x, y, radius, radius), self.colour);
        }
        let light = blend(self.colour, WHITE, 0.35);
        self.stroke(&curve((-0.3, -0.5), &[((-0.2, -0.78), (0.1, -0.76))]), light, 0.09);
        self.stroke(&curve((-0.66, 0.02), &[((-0.62, -0.18), (-0.44, -0.2))]), light, 0.08);
    }
}
