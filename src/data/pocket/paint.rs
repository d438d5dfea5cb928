//! Scenes into pictures.

use tiny_skia::Transform;

use super::canvas::{Canvas, Rgb, blend, ellipse};
use super::draws::Draws;
use super::places::draw_place;
use super::scene::{Scene, Side, Size, Thing};
use super::things::draw_thing;
use crate::dialogue::Pixels;

/// A picture of the scene, `side_px` by `side_px`. The same scene always gives the same picture.
///
/// # Panics
/// If `side_px` is 0.
pub fn paint(scene: &Scene, side_px: u32) -> Pixels {
    let mut draws = Draws::of(&[scene.variation]);
    let mut canvas = Canvas::new(side_px);
    let horizon = draw_place(&mut canvas, scene.place, &mut draws);
    let company = scene.things.len() > 1;
    // What stands lower is nearer, and covers what is behind it.
    let mut standing: Vec<(Stand, &Thing)> = scene
        .things
        .iter()
        .map(|thing| (Stand::of(*thing, company, horizon, &mut draws), thing))
        .collect();
    standing.sort_by(|(one, _), (other, _)| one.foot.total_cmp(&other.foot));
    for (stand, thing) in standing {
        let shadow = ellipse(stand.x, stand.foot, stand.half * 0.9, stand.half * 0.16);
        canvas.fill(&shadow, [20, 24, 40], 0.28, Transform::identity());
        let colour = shade(thing.colour.rgb(), &mut draws);
        draw_thing(&mut canvas, thing.object, colour, stand.place());
    }
    canvas.into_pixels()
}

/// Where a thing stands, in units of the picture.
struct Stand {
    x: f32,
    /// Where it touches the ground.
    foot: f32,
    /// Half of its width and height.
    half: f32,
    tilt_degrees: f32,
    mirrored: bool,
}

impl Stand {
    fn of(thing: Thing, company: bool, horizon: f32, draws: &mut Draws) -> Self {
        let x = match thing.side {
            Side::Left => 0.27,
            Side::Middle => 0.5,
            Side::Right => 0.73,
        };
        let half = match (thing.size, company) {
            (Size::Big, false) => 0.265,
            (Size::Big, true) => 0.235,
            (Size::Small, _) => 0.16,
        } * (1.0 + 0.07 * draws.swing());
        let lowest = 0.95;
        let highest = (f64::from(horizon) + 0.12).max(2.0 * half + 0.14).min(lowest - 0.02);
        Self {
            x: (x + 0.03 * draws.swing()) as f32,
            foot: draws.between(highest, lowest) as f32,
            half: half as f32,
            tilt_degrees: (7.0 * draws.swing()) as f32,
            mirrored: draws.chance(0.5),
        }
    }

    /// From the thing's box, -1 to 1 with its foot at 1, into the picture.
    fn place(&self) -> Transform {
        let mirror = if self.mirrored { -1.0 } else { 1.0 };
        Transform::from_translate(0.0, -1.0)
            .post_rotate(self.tilt_degrees)
            .post_scale(self.half * mirror, self.half)
            .post_translate(self.x, self.foot)
    }
}

/// A shade of a colour that is still called by its name.
fn shade(colour: Rgb, draws: &mut Draws) -> Rgb {
    let light = draws.swing();
    let target = if light > 0.0 { [255; 3] } else { [0; 3] };
    let towards = if light > 0.0 { 0.12 } else { 0.16 };
    let shaded = blend(colour, target, light.abs() * towards);
    shaded.map(|value| (f64::from(value) + draws.swing() * 8.0).round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Colour, Object, Place};
    use super::*;

    fn scene(object: Object, colour: Colour, place: Place, side: Side, variation: u64) -> Scene {
        let things = vec![Thing { object, colour, side, size: Size::Big }];
        Scene { place, things, variation }
    }

    /// How far a picture's pixels are from another's, on average.
    fn distance(one: &Pixels, other: &Pixels) -> f64 {
        let sum: u64 = one.rgb.iter().zip(&other.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / one.rgb.len() as f64
    }

    #[test]
    fn a_scene_has_one_picture_and_a_caption_many() {
        let red = scene(Object::Ball, Colour::Red, Place::Beach, Side::Left, 1);
        assert_eq!(paint(&red, 64), paint(&red, 64));
        let again = Scene { variation: 2, ..red.clone() };
        assert!(distance(&paint(&red, 64), &paint(&again, 64)) > 3.0);
        let large = paint(&red, 96);
        assert_eq!((large.width, large.height, large.rgb.len()), (96, 96, 96 * 96 * 3));
    }

    #[test]
    fn a_thing_is_where_its_scene_says_and_in_its_colour() {
        for variation in 0..40 {
            for (side, columns) in
                [(Side::Left, 10..28), (Side::Middle, 27..37), (Side::Right, 36..54)]
            {
                let picture =
                    paint(&scene(Object::Ball, Colour::Red, Place::Snow, side, variation), 64);
                let is_red = |pixel: &[u8]| pixel[0] > 150 && pixel[1] < 90 && pixel[2] < 90;
                let columns_of_red: Vec<usize> = (0..64 * 64)
                    .filter(|at| is_red(&picture.rgb[at * 3..at * 3 + 3]))
                    .map(|at| at % 64)
                    .collect();
                assert!(columns_of_red.len() > 200, "{variation}: {}", columns_of_red.len());
                let middle = columns_of_red.iter().sum::<usize>() / columns_of_red.len();
                assert!(columns.contains(&middle), "{side:?} {variation}: {middle}");
            }
        }
    }
}
