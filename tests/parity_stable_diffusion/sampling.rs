//! Whole runs.

use std::ops::ControlFlow;

use shutterbug::stable_diffusion::{Cancelled, Guided};
use shutterbug::torch::Compute;

use super::case::{Case, go_on};

#[test]
fn a_whole_guided_run_gives_the_reference_s_picture() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let latents = case.run(&model, case.settings.guidance);
        let pictures = model.decode(&latents);
        case.close("run.latents", &latents, 1e-2);
        case.close("run.pictures", &pictures, 2.0 / 255.0);
    }
}

#[test]
fn a_batch_is_its_captions_one_by_one() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let together = case.run(&model, case.settings.guidance);
        let negative = model.encode(&case.negative());
        for (i, caption) in case.captions().into_iter().enumerate() {
            let caption = model.encode(&[caption]);
            let guidance = case.settings.guidance;
            let guided = Guided { caption: &caption, negative: &negative, guidance };
            let latents = case.tensor("latents").narrow(0, i as i64, 1);
            let alone =
                model.draw(&guided, &latents, case.settings.steps, None, &mut go_on).unwrap();
            let error = (alone - together.narrow(0, i as i64, 1)).abs().max();
            assert!(f64::try_from(error).unwrap() < 1e-3, "{}", case.name);
        }
    }
}

/// Without guidance the caption's own velocity counts, as it does with any guidance away from the
/// caption itself.
#[test]
fn guidance_of_one_leaves_the_negative_caption_out() {
    let case = Case::open("sd3.5-large");
    let model = case.load(Compute::CPU);
    let plain = case.run(&model, 1.0);
    let captions = model.encode(&case.captions());
    let guided = Guided { caption: &captions, negative: &captions, guidance: 3.0 };
    let steps = case.settings.steps;
    let same = model.draw(&guided, case.tensor("latents"), steps, None, &mut go_on).unwrap();
    assert!(f64::try_from((&plain - same).abs().max()).unwrap() < 1e-3);
    let away = case.run(&model, 3.0);
    assert!(f64::try_from((plain - away).abs().max()).unwrap() > 1e-1);
}

#[test]
fn a_watcher_sees_every_step_and_can_stop() {
    let case = Case::open("sd3");
    let model = case.load(Compute::CPU);
    let captions = model.encode(&case.captions());
    let guided = Guided { caption: &captions, negative: &captions, guidance: 1.0 };
    let mut seen = Vec::new();
    let mut last = None;
    let drawn = model.draw(&guided, case.tensor("latents"), 3, None, &mut |step| {
        seen.push((step.step, step.steps));
        last = Some(step.clean_estimate());
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
    // At the end no noise is left, so that the estimate is the result.
    let difference = drawn.unwrap() - last.unwrap();
    assert!(f64::try_from(difference.abs().max()).unwrap() < 1e-5);

    let mut asked = 0;
    let drawn = model.draw(&guided, case.tensor("latents"), 9, None, &mut |step| {
        asked += 1;
        if step.step == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(drawn.unwrap_err(), Cancelled);
    assert_eq!(asked, 2);
}

#[test]
fn only_sizes_that_fit_are_accepted() {
    // Patches of 2 latents, latents of 2 pixels, positions for 9 patches.
    let model = Case::open("sd3").load(Compute::CPU);
    assert_eq!(model.latents_shape(None).unwrap(), [4, 8, 8]);
    assert_eq!(model.latents_shape(Some((36, 4))).unwrap(), [4, 2, 18]);
    for size in [(40, 4), (4, 40), (6, 8), (8, 0)] {
        let error = model.latents_shape(Some(size)).unwrap_err();
        let (width, height) = size;
        let expected = format!(
            "a picture of {width}×{height} can't be drawn: both sides must be multiples of 4 and at most 36 pixels"
        );
        assert_eq!(error.to_string(), expected);
    }
}
