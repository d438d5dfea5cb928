//! The image generator: from a caption's ids to a picture.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::stable_diffusion::{Guided, StableDiffusion3};
use crate::tokens::CaptionIds;
use crate::torch::{Compute, resident_bytes_max};

/// Time an image generator on a given caption
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// diffusers folder of the image generator (StableDiffusion3Pipeline)
    #[arg(long, value_name = "DIR")]
    diffusion: PathBuf,

    /// safetensors file with `latents [1, c, h, w]` and, for the caption and the negative one,
    /// `{caption,negative}_{clip_l,clip_g}_ids [t]`
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,

    /// Diffusion steps
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,

    /// Classifier-free guidance
    #[arg(long, value_name = "G", default_value_t = 5.0)]
    guidance: f64,

    /// safetensors file for `picture [1, 3, h, w]` in 0…1
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Named tensors of a safetensors file.
pub(super) struct Inputs {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Inputs {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let tensors = Tensor::read_safetensors(path)
            .with_context(|| format!("can't read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), tensors: tensors.into_iter().collect() })
    }

    pub(super) fn tensor(&self, name: &str) -> anyhow::Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("{} lacks `{name}`", self.path.display()))
    }

    pub(super) fn integers(&self, name: &str) -> anyhow::Result<Vec<i64>> {
        Ok(Vec::try_from(self.tensor(name)?.to_kind(Kind::Int64).flatten(0, -1))?)
    }
}

pub(super) fn run(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    let inputs = Inputs::read(&arguments.inputs)?;
    let ids = |which: &str| -> anyhow::Result<CaptionIds> {
        Ok(CaptionIds {
            clip_l: inputs.integers(&format!("{which}_clip_l_ids"))?,
            clip_g: inputs.integers(&format!("{which}_clip_g_ids"))?,
            t5: None,
        })
    };
    let latents_bchw = inputs.tensor("latents")?;

    let model = StableDiffusion3::load(&arguments.diffusion, compute)?;

    let captions = [&ids("caption")?, &ids("negative")?];
    let picture = |steps| timed_picture(&model, captions, latents_bchw, steps, arguments.guidance);
    let (_, one_step_s) = picture(1);
    let (picture_bchw, picture_s) = picture(usize::from(arguments.steps));
    Tensor::write_safetensors(&[("picture", &picture_bchw)], &arguments.out)
        .with_context(|| format!("can't write {}", arguments.out.display()))?;
    Ok(json!({
        "one_step_s": one_step_s,
        "picture_s": picture_s,
        "resident_bytes_max": resident_bytes_max(),
    }))
}

/// One picture in 0…1, float32 on the CPU, and the seconds from encoded captions to it.
pub(super) fn timed_picture(
    model: &StableDiffusion3,
    [caption, negative]: [&CaptionIds; 2],
    latents_bchw: &Tensor,
    steps: usize,
    guidance: f64,
) -> (Tensor, f64) {
    let _no_grad = tch::no_grad_guard();
    let encode = |ids: &CaptionIds| model.encode(std::slice::from_ref(ids));
    let (caption, negative) = (encode(caption), encode(negative));
    let guided = Guided { caption: &caption, negative: &negative, guidance };
    let begun = Instant::now();
    let latents_bchw = model
        .draw(&guided, latents_bchw, steps, None, &mut |_| ControlFlow::Continue(()))
        .expect("nobody cancels");
    let picture_bchw = model.decode(&latents_bchw).to_device(tch::Device::Cpu);
    (picture_bchw, begun.elapsed().as_secs_f64())
}
