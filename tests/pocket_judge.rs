//! The judge of the pocket world's pictures: it learns, and is the same when it is read again.

use shutterbug::data::pocket::{PocketWorld, Split};
use shutterbug::evaluation::{EvaluateError, Judge, Lessons, PocketJudge};

#[test]
fn a_judge_learns_and_judges_alike_when_it_is_read_again() {
    let mut losses = Vec::new();
    let lessons = Lessons { seed: 3, steps: 16 };
    let judge = PocketJudge::learn(lessons, &mut |_, loss| losses.push(loss)).unwrap();
    assert_eq!(losses.len(), 16);
    assert!(losses[15] < 0.8 * losses[0], "{losses:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judge.safetensors");
    judge.save(&path).unwrap();
    let again = PocketJudge::load(&path).unwrap();
    let world = PocketWorld { seed: 4 };
    let pictures: Vec<_> =
        (0..70).map(|index| world.snapshot(Split::Validation, index).pixels).collect();
    assert_eq!(judge.judge(&pictures), again.judge(&pictures));
}

#[test]
fn another_file_is_no_judge() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judge.safetensors");
    let error = PocketJudge::load(&path).err().unwrap();
    assert!(matches!(error, EvaluateError::Judge(_)), "{error}");
    let tiny = "tests/fixtures/tiny/diffusion/vae/diffusion_pytorch_model.safetensors";
    let error = PocketJudge::load(tiny.as_ref()).err().unwrap();
    assert!(error.to_string().contains("evaluate judge"), "{error}");
}
