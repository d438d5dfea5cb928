//! A configuration's model, and what the reference computes with it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shutterbug::stable_diffusion::{Guided, StableDiffusion3, Step};
use shutterbug::tokens::CaptionIds;
use shutterbug::torch::Compute;
use tch::{Device, Kind, Tensor};

pub(crate) const CASES: [&str; 4] = ["sd3", "sd3.5-medium", "sd3.5-large", "computed-positions"];
pub(crate) const BFLOAT16: Compute = Compute { device: Device::Cpu, kind: Kind::BFloat16 };

pub(crate) fn root() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(root) => Path::new(&root).join("stable_diffusion"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stable_diffusion"),
    }
}

#[derive(Deserialize)]
pub(crate) struct Caption {
    pub(crate) clip_l: Vec<i64>,
    pub(crate) clip_g: Vec<i64>,
    pub(crate) t5: Option<Vec<i64>>,
}

#[derive(Deserialize)]
pub(crate) struct Settings {
    pub(crate) steps: usize,
    pub(crate) guidance: f64,
    pub(crate) lora_scale: f64,
    /// The empty text, then the captions.
    pub(crate) captions: Vec<Caption>,
    pub(crate) bfloat16_errors: HashMap<String, f64>,
}

/// One configuration: where its model lies, and what the reference says.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) model: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) reference: HashMap<String, Tensor>,
}

impl Case {
    pub(crate) fn open(name: &'static str) -> Self {
        let dir = root().join(name);
        let settings = std::fs::read(dir.join("reference.json")).unwrap();
        let reference = Tensor::read_safetensors(dir.join("reference.safetensors")).unwrap();
        Self {
            name,
            model: dir.join("model"),
            settings: serde_json::from_slice(&settings).unwrap(),
            reference: reference.into_iter().collect(),
        }
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CASES.into_iter().map(Self::open)
    }

    pub(crate) fn load(&self, compute: Compute) -> StableDiffusion3 {
        StableDiffusion3::load(&self.model, compute).unwrap()
    }

    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        &self.reference[name]
    }

    pub(crate) fn negative(&self) -> Vec<CaptionIds> {
        self.ids(0..1)
    }

    pub(crate) fn captions(&self) -> Vec<CaptionIds> {
        self.ids(1..self.settings.captions.len())
    }

    pub(crate) fn ids(&self, which: std::ops::Range<usize>) -> Vec<CaptionIds> {
        let ids = |caption: &Caption| CaptionIds {
            clip_l: caption.clip_l.clone(),
            clip_g: caption.clip_g.clone(),
            t5: caption.t5.clone(),
        };
        self.settings.captions[which].iter().map(ids).collect()
    }

    /// Fails unless `ours` is within `tolerance` of the reference everywhere.
    pub(crate) fn close(&self, name: &str, ours: &Tensor, tolerance: f64) {
        let theirs = self.tensor(name);
        assert_eq!(ours.size(), theirs.size(), "{}: shape of {name}", self.name);
        let error = f64::try_from((ours.to_kind(Kind::Float) - theirs).abs().max()).unwrap();
        assert!(error <= tolerance, "{}: {name} is off by {error}", self.name);
    }

    /// Fails unless the gradient is the reference's: ‖g − g'‖ ≤ 1e-4 ‖g'‖.
    pub(crate) fn same_gradient(&self, name: &str, ours: &Tensor) {
        let theirs = self.tensor(name);
        assert_eq!(ours.size(), theirs.size(), "{}: shape of {name}", self.name);
        let error = f64::try_from((ours - theirs).norm() / theirs.norm()).unwrap();
        assert!(error <= 1e-4, "{}: {name} is off by {error}", self.name);
    }

    /// Fails if `ours` in bfloat16 is farther from the reference in float32 than 1.5 times the
    /// reference in bfloat16 is.
    pub(crate) fn as_good_in_bfloat16(&self, name: &str, ours: &Tensor) {
        let error = (ours.to_kind(Kind::Float) - self.tensor(name)).abs().mean(Kind::Float);
        let (error, theirs) = (f64::try_from(error).unwrap(), self.settings.bfloat16_errors[name]);
        assert!(error <= 1.5 * theirs, "{}: {name} is off by {error}, not {theirs}", self.name);
    }

    /// A whole run for the captions.
    pub(crate) fn run(&self, model: &StableDiffusion3, guidance: f64) -> Tensor {
        let captions = model.encode(&self.captions());
        let negative = model.encode(&self.negative());
        let guided = Guided { caption: &captions, negative: &negative, guidance };
        let steps = self.settings.steps;
        model.draw(&guided, self.tensor("latents"), steps, None, &mut go_on).unwrap()
    }
}

pub(crate) fn go_on(_: &Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
