//! The places of the pocket world: what stands behind the things.

use tiny_skia::Transform;

use super::canvas::{Canvas, Rgb, blend, blob, curve, ellipse, line, polygon, rectangle};
use super::draws::Draws;
use super::scene::Place;

const WHITE: Rgb = [255, 255, 255];

fn here() -> Transform {
    Transform::identity()
}

/// A colour of nearly this shade.
fn near(colour: Rgb, draws: &mut Draws) -> Rgb {
    let shift = draws.swing() * 7.0;
    colour.map(|value| {
        (f64::from(value) + shift + draws.swing() * 5.0).round().clamp(0.0, 255.0) as u8
    })
}

fn at(draws: &mut Draws, low: f64, high: f64) -> f32 {
    draws.between(low, high) as f32
}

/// Draws a place; gives the height of the horizon, from 0 at the top to 1.
pub(super) fn draw_place(canvas: &mut Canvas, place: Place, draws: &mut Draws) -> f32 {
    match place {
        Place::Beach => beach(canvas, draws),
        Place::Meadow => meadow(canvas, draws),
        Place::Night => night(canvas, draws),
        Place::Room => room(canvas, draws),
        Place::Snow => snow(canvas, draws),
    }
}

fn cloud(canvas: &mut Canvas, draws: &mut Draws) {
    let (x, y) = (at(draws, 0.1, 0.9), at(draws, 0.07, 0.2));
    for (across, down, radius) in [(-0.07, 0.01, 0.045), (0.0, -0.015, 0.06), (0.07, 0.01, 0.045)] {
        canvas.fill(&ellipse(x + across, y + down, radius * 1.3, radius), WHITE, 0.8, here());
    }
}

fn sun(canvas: &mut Canvas, draws: &mut Draws) {
    let (x, y) = (at(draws, 0.1, 0.9), at(draws, 0.08, 0.18));
    canvas.fill(&ellipse(x, y, 0.1, 0.1), [255, 244, 190], 0.5, here());
    canvas.fill(&ellipse(x, y, 0.07, 0.07), [255, 226, 110], 1.0, here());
}

fn beach(canvas: &mut Canvas, draws: &mut Draws) -> f32 {
    let sea = at(draws, 0.3, 0.38);
    let sand = sea + at(draws, 0.17, 0.24);
    canvas.band(0.0, sea, near([128, 196, 236], draws), near([206, 232, 244], draws));
    if draws.chance(0.5) {
        sun(canvas, draws);
    } else {
        cloud(canvas, draws);
    }
    canvas.band(sea, sand + 0.02, near([34, 124, 178], draws), near([72, 176, 204], draws));
    for row in 0..2 {
        let y = sea + 0.05 + 0.07 * row as f32;
        let x = at(draws, 0.0, 0.6);
        let wave = curve(
            (x, y),
            &[((x + 0.07, y - 0.03), (x + 0.14, y)), ((x + 0.21, y + 0.03), (x + 0.28, y))],
        );
        canvas.stroke(&wave, [190, 228, 238], 0.014, here());
    }
    let dry = near([236, 212, 152], draws);
    canvas.band(sand, 1.0, blend(dry, WHITE, 0.15), blend(dry, [190, 150, 90], 0.25));
    let foam = curve(
        (-0.05, sand),
        &[((0.25, sand + 0.03), (0.5, sand)), ((0.75, sand - 0.03), (1.05, sand))],
    );
    canvas.stroke(&foam, [248, 250, 250], 0.025, here());
    for _ in 0..7 {
        let (x, y) = (at(draws, 0.02, 0.98), at(draws, f64::from(sand) + 0.06, 0.98));
        canvas.fill(&ellipse(x, y, 0.011, 0.008), [196, 164, 108], 1.0, here());
    }
    sand
}

fn meadow(canvas: &mut Canvas, draws: &mut Draws) -> f32 {
    let horizon = at(draws, 0.42, 0.52);
    canvas.band(0.0, horizon, near([120, 190, 240], draws), near([200, 230, 248], draws));
    cloud(canvas, draws);
    if draws.chance(0.5) {
        sun(canvas, draws);
    } else {
        cloud(canvas, draws);
    }
    let hill = near([112, 178, 92], draws);
    let top = at(draws, 0.5, 0.9);
    let hills = blob(
        (-0.1, horizon + 0.05),
        &[
            ((top - 0.4, horizon - 0.16), (top, horizon)),
            ((top + 0.2, horizon - 0.1), (1.1, horizon + 0.02)),
            ((1.1, 0.8), (-0.1, 0.8)),
        ],
    );
    canvas.fill(&hills, hill, 1.0, here());
    let grass = near([126, 196, 84], draws);
    canvas.band(horizon + 0.02, 1.0, grass, blend(grass, [60, 130, 50], 0.45));
    for _ in 0..12 {
        let (x, y) = (at(draws, 0.02, 0.98), at(draws, f64::from(horizon) + 0.1, 0.98));
        let blades = line(&[(x - 0.016, y - 0.035), (x, y), (x + 0.016, y - 0.035)]);
        canvas.stroke(&blades, [70, 140, 54], 0.011, here());
    }
    horizon
}

fn night(canvas: &mut Canvas, draws: &mut Draws) -> f32 {
    let horizon = at(draws, 0.6, 0.68);
    canvas.band(0.0, horizon + 0.05, near([14, 18, 52], draws), near([44, 50, 104], draws));
    for _ in 0..22 {
        let (x, y) = (at(draws, 0.02, 0.98), at(draws, 0.02, f64::from(horizon) - 0.06));
        let radius = at(draws, 0.006, 0.014);
        canvas.fill(&ellipse(x, y, radius, radius), [250, 246, 214], 0.95, here());
    }
    let (x, y) = (at(draws, 0.12, 0.88), at(draws, 0.1, 0.18));
    canvas.fill(&ellipse(x, y, 0.08, 0.08), [250, 242, 200], 1.0, here());
    canvas.fill(&ellipse(x + 0.04, y - 0.02, 0.07, 0.07), [22, 26, 62], 1.0, here());
    let ground = near([26, 40, 54], draws);
    let hills = blob(
        (-0.1, horizon + 0.03),
        &[
            ((0.25, horizon - 0.07), (0.55, horizon + 0.01)),
            ((0.8, horizon - 0.05), (1.1, horizon + 0.04)),
            ((1.2, 1.2), (0.5, 1.1)),
            ((0.0, 1.2), (-0.1, horizon + 0.03)),
        ],
    );
    canvas.band(horizon + 0.04, 1.0, ground, blend(ground, [10, 16, 26], 0.5));
    canvas.fill(&hills, ground, 1.0, here());
    horizon
}

fn room(canvas: &mut Canvas, draws: &mut Draws) -> f32 {
    let floor = at(draws, 0.6, 0.68);
    let wall = near([228, 206, 172], draws);
    canvas.band(0.0, floor, blend(wall, WHITE, 0.1), wall);
    let wood = near([150, 104, 66], draws);
    canvas.band(floor, 1.0, blend(wood, WHITE, 0.12), blend(wood, [80, 50, 30], 0.25));
    for row in 0..3 {
        let y = floor + 0.1 + 0.1 * row as f32;
        canvas.stroke(&line(&[(-0.1, y), (1.1, y)]), blend(wood, [70, 40, 20], 0.5), 0.01, here());
    }
    canvas.stroke(&line(&[(-0.1, floor), (1.1, floor)]), [250, 244, 232], 0.035, here());
    let x = at(draws, 0.08, 0.6);
    canvas.fill(&rectangle(x, 0.09, 0.3, 0.28), [170, 212, 240], 1.0, here());
    canvas.fill(&ellipse(x + 0.11, 0.18, 0.06, 0.025), WHITE, 0.8, here());
    let frame = [250, 246, 238];
    for bar in [
        polygon(&[(x, 0.09), (x + 0.3, 0.09), (x + 0.3, 0.37), (x, 0.37)]),
        line(&[(x + 0.15, 0.09), (x + 0.15, 0.37)]),
        line(&[(x, 0.23), (x + 0.3, 0.23)]),
    ] {
        canvas.stroke(&bar, frame, 0.028, here());
    }
    floor
}

fn snow(canvas: &mut Canvas, draws: &mut Draws) -> f32 {
    let horizon = at(draws, 0.46, 0.55);
    canvas.band(0.0, horizon + 0.04, near([150, 168, 190], draws), near([204, 214, 224], draws));
    for _ in 0..4 {
        let (x, height) = (at(draws, 0.03, 0.97), at(draws, 0.16, 0.26));
        let base = horizon + 0.05;
        let fir =
            polygon(&[(x, base - height), (x + 0.3 * height, base), (x - 0.3 * height, base)]);
        canvas.fill(&fir, near([58, 92, 84], draws), 1.0, here());
        let cap = polygon(&[
            (x, base - height),
            (x + 0.1 * height, base - 0.66 * height),
            (x - 0.1 * height, base - 0.66 * height),
        ]);
        canvas.fill(&cap, [240, 246, 250], 1.0, here());
    }
    let white = near([240, 245, 250], draws);
    canvas.band(horizon + 0.03, 1.0, white, blend(white, [176, 196, 222], 0.4));
    let drift = blob(
        (-0.1, horizon + 0.06),
        &[
            ((0.3, horizon - 0.03), (0.6, horizon + 0.05)),
            ((0.85, horizon), (1.1, horizon + 0.06)),
            ((0.5, horizon + 0.16), (-0.1, horizon + 0.06)),
        ],
    );
    canvas.fill(&drift, white, 1.0, here());
    for _ in 0..16 {
        let (x, y) = (at(draws, 0.02, 0.98), at(draws, 0.02, 0.6));
        canvas.fill(&ellipse(x, y, 0.013, 0.013), WHITE, 0.95, here());
    }
    horizon
}
