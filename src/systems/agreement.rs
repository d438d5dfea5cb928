//! What the parts of a model say of each other, held side by side.

use std::path::Path;

use super::error::ModelError;
use crate::llama_vision::{Config, TextConfig};
use crate::prompt::{CaptionTokenizers, ImageProcessor, LlamaTokenizer};
use crate::stable_diffusion::StableDiffusion3Config;
use crate::tokens::CLIP_POSITIONS;

/// Holds the image processor and the tokenizer's `<|image|>` against the model in `llama` that
/// reads photos.
pub(super) fn sight(
    llama: &Path,
    processor: &ImageProcessor,
    tokenizer: &LlamaTokenizer,
    config: &Config,
) -> Result<(), ModelError> {
    let (tile_px, tiles_max) = (config.vision.tile_size as usize, config.vision.tiles_max as usize);
    let image = tokenizer.image();
    let (path, reason) = if (processor.tile_px(), processor.tiles_max()) != (tile_px, tiles_max) {
        let reason = format!(
            "it makes {} tiles of {} pixels, but the vision encoder in config.json reads \
             {tiles_max} of {tile_px}; both must be of the same model",
            processor.tiles_max(),
            processor.tile_px()
        );
        ("preprocessor_config.json", reason)
    } else if image != config.image_token {
        let reason = format!(
            "<|image|> is {image}, but config.json says {}; both must be of the same model",
            config.image_token
        );
        ("tokenizer.json", reason)
    } else {
        return Ok(());
    };
    Err(ModelError::Base { path: llama.join(path), reason })
}

/// Holds the language model's tokenizer against the token table that its ids index.
pub(super) fn llama_vocabulary(
    llama: &Path,
    tokenizer: &LlamaTokenizer,
    config: &Config,
) -> Result<(), ModelError> {
    let rows = (config.text.vocabulary + TextConfig::EXTRA_ROWS) as usize;
    let tokens = tokenizer.rows();
    if tokens > rows {
        return Err(ModelError::Vocabulary {
            tokenizer: llama.join("tokenizer.json"),
            tokens,
            weights: llama.to_owned(),
            tensor: "language_model.model.embed_tokens.weight",
            rows,
        });
    }
    Ok(())
}

/// Holds the text encoders' tokenizers against the token tables that their ids index.
pub(super) fn caption_vocabularies(
    diffusion: &Path,
    tokenizers: &CaptionTokenizers,
    config: &StableDiffusion3Config,
) -> Result<(), ModelError> {
    const CLIP_TABLE: &str = "text_model.embeddings.token_embedding.weight";
    let mut pairs = Vec::new();
    for (tokenizer, folder, weights, encoder) in [
        (&tokenizers.clip_l, "tokenizer", "text_encoder", &config.clip_l),
        (&tokenizers.clip_g, "tokenizer_2", "text_encoder_2", &config.clip_g),
    ] {
        let positions = encoder.max_position_embeddings;
        if positions != CLIP_POSITIONS as i64 {
            return Err(ModelError::Base {
                path: diffusion.join(weights).join("config.json"),
                reason: format!(
                    "max_position_embeddings is {positions}; captions are written in \
                     {CLIP_POSITIONS} positions, as CLIP's published text encoders have"
                ),
            });
        }
        pairs.push((tokenizer.rows(), folder, weights, CLIP_TABLE, encoder.vocab_size));
    }
    match (&tokenizers.t5, &config.t5) {
        (Some(tokenizer), Some(encoder)) => {
            let rows = encoder.vocab_size;
            pairs.push((tokenizer.rows(), "tokenizer_3", "text_encoder_3", "shared.weight", rows));
        }
        (None, Some(_)) => {
            return Err(ModelError::Base {
                path: diffusion.join("tokenizer_3"),
                reason: "model_index.json names T5 as text_encoder_3, but its tokenizer is not \
                         there; download it, or set text_encoder_3 to [null, null]"
                    .to_owned(),
            });
        }
        (_, None) => {}
    }
    for (tokens, tokenizer, weights, tensor, rows) in pairs {
        let rows = rows as usize;
        if tokens > rows {
            let (tokenizer, weights) = (diffusion.join(tokenizer), diffusion.join(weights));
            return Err(ModelError::Vocabulary { tokenizer, tokens, weights, tensor, rows });
        }
    }
    Ok(())
}
