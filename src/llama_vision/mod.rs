//! Llama 3.2 Vision: the image perceptron and the text dialogue generator of the end-to-end model.
//!
//! Photos go through the vision encoder and the projector once (`LlamaVision::perceive`); the
//! decoder reads them by gated cross-attention while it writes (`LlamaVision::generate`). Weights
//! are those of Hugging Face's `MllamaForConditionalGeneration` by their published names.

mod batch;
mod beam;
mod cache;
mod config;
mod decoder;
mod footprint;
mod generate;
mod grammar;
mod model;
mod reading;
mod rope;
mod sampling;
mod sight;
mod vision;

pub use config::{
    Config, Embeddings, RopeConfig, RopeStretch, TextConfig, VisionActivation, VisionConfig,
};
pub use generate::{Decoding, Finish, Generation, GenerationSettings, TokenWatcher, Written};
pub use grammar::PhotoRules;
pub use model::{BUFFERS, LlamaVision, Prompt, TRAINED_TAGS};
pub use reading::SeenPhoto;
pub use sight::{Sight, cross_attention_mask, sights};
pub use vision::PhotoTiles;
