//! Stable Diffusion 3: CLIP and T5 text encoders, the multimodal diffusion transformer, the
//! autoencoder, the flow-matching schedule and the guided sampler. SD 3.5 medium and large are
//! configurations of the same code. Knows no tokenizer.

mod clip;
mod conditioning;
mod config;
mod footprint;
mod mmdit;
mod part;
mod pipeline;
mod sampler;
mod schedule;
mod size;
mod t5;
mod vae;

pub use clip::{ClipOutput, ClipTextEncoder};
pub use conditioning::{EmbeddedCaptions, TextConditioning};
pub use config::{
    ClipActivation, ClipConfig, MmditConfig, PipelineIndex, QkNorm, SchedulerConfig,
    StableDiffusion3Config, T5Config, VaeConfig,
};
pub use mmdit::{Context, Mmdit, Modulations};
pub use part::Part;
pub use pipeline::StableDiffusion3;
pub use sampler::{Cancelled, Guided, Step, StepWatcher, sample};
pub use schedule::{FlowMatchSchedule, shifted};
pub use size::SizeError;
pub use t5::T5Encoder;
pub use vae::{LatentDistribution, Vae};
