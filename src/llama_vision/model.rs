//! The whole model: loading, seeing photos, and passes over whole sequences.
//!
//! Axes in names: n photo, k tile, p position within a tile, f feature width, b sequence,
//! t position, s photo position, d width, v vocabulary.

use std::collections::HashMap;
use std::path::Path;

use tch::{Kind, Tensor, no_grad};

use super::batch::Batch;
use super::config::Config;
use super::decoder::Decoder;
use super::reading::SeenPhoto;
use super::rope;
use super::vision::{PhotoTiles, VisionEncoder};
use crate::nn::{Activations, Adapter, Bias, Linear, TokenRows};
use crate::tokens::PhotoTags;
use crate::torch::{Checkpoint, Compute, LoadError, Weights};

/// Buffers that old files carry.
pub const BUFFERS: &[&str] = &["rotary_emb.inv_freq"];

/// What the header of a weights file says, key and value, if the photo tags were trained with all
/// other rows.
pub const TRAINED_TAGS: (&str, &str) = ("shutterbug.photo_tags", "trained");

/// Token ids of a prompt and the photos that its `<|image|>` tokens stand for, in order.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// At least one.
    pub ids: &'a [u32],
    /// One for every `<|image|>`.
    pub photos: &'a [SeenPhoto],
}

/// Llama 3.2 Vision: the image perceptron and the text dialogue generator.
pub struct LlamaVision {
    config: Config,
    compute: Compute,
    vision: VisionEncoder,
    projector: Linear,
    decoder: Decoder,
    /// `[head width / 2]`.
    frequencies: Tensor,
}

impl LlamaVision {
    /// File name, without extension, of the weights in a Hugging Face directory.
    pub const STEM: &str = "model";

    /// Loads a Hugging Face directory of `MllamaForConditionalGeneration`. Every tensor is
    /// consumed.
    ///
    /// The rows of `tags` in the embedding and in the head become the means of all other rows: as
    /// reserved tokens they were never trained. Files that say that theirs were, by
    /// `TRAINED_TAGS` in their header, keep them.
    pub fn load(dir: &Path, compute: Compute, tags: Option<PhotoTags>) -> Result<Self, LoadError> {
        let config = Config::read(dir)?;
        let rows = config.text.vocabulary;
        if let Some(tag) = tags.and_then(|tags| {
            [tags.img, tags.img_end].into_iter().find(|&tag| i64::from(tag) >= rows)
        }) {
            return Err(LoadError::Config {
                path: dir.join("config.json"),
                reason: format!("the photo tag {tag} is no token of a vocabulary of {rows}"),
            });
        }
        let checkpoint = Checkpoint::open(dir, Self::STEM)?;
        let trained = checkpoint.metadata(TRAINED_TAGS.0) == Some(TRAINED_TAGS.1);
        let weights = Weights::new(checkpoint, compute);
        let model = Self::from_weights(&weights, config)?;
        weights.finish(BUFFERS)?;
        if let Some(tags) = tags.filter(|_| !trained) {
            model.neutralise(tags);
        }
        Ok(model)
    }

    /// Holds a directory's weights against its configuration, without reading a tensor: the number
    /// of tensors, or everything that is wrong.
    pub fn inspect(dir: &Path) -> Result<usize, Vec<LoadError>> {
        Weights::inspect(dir, Self::STEM, BUFFERS, |weights| {
            Self::from_weights(weights, Config::read(dir)?)
        })
    }

    /// Builds the model over `weights`, by the names of the published checkpoints.
    pub fn from_weights(weights: &Weights, config: Config) -> Result<Self, LoadError> {
        let (features, width) = (config.vision.features(), config.text.width);
        let projector = weights.at("multi_modal_projector");
        let compute = weights.compute();
        Ok(Self {
            vision: VisionEncoder::load(&weights.at("vision_model"), &config.vision)?,
            projector: Linear::load(&projector, features, width, Bias::Yes)?,
            decoder: Decoder::load(&weights.at("language_model"), &config.text)?,
            frequencies: rope::frequencies(
                config.text.rope,
                config.text.head_width(),
                compute.device,
            ),
            config,
            compute,
        })
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What training passes keep for the backward pass from now on.
    pub fn set_activations(&mut self, activations: Activations) {
        self.decoder.set_activations(activations);
    }

    /// The rows of `ids` in the embedding and in the head, by the tables' names: float32 leaves
    /// that require gradients, to be trained in an adapter.
    ///
    /// # Panics
    /// If an id is beyond the vocabulary.
    pub fn token_rows(&self, ids: &[u32]) -> HashMap<String, TokenRows> {
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let places = Tensor::from_slice(&ids).to_device(self.compute.device);
        let rows = |(name, table_vd): (&str, Tensor)| {
            let rows_kd = no_grad(|| table_vd.index_select(0, &places).to_kind(Kind::Float));
            (
                name.to_owned(),
                TokenRows { ids: ids.clone(), rows_kd: rows_kd.set_requires_grad(true) },
            )
        };
        self.decoder.token_tables().map(rows).into()
    }

    /// Sets both tags' rows to the mean of the other rows, in float32: as reserved tokens they
    /// were never trained. Weights are private copy-on-write mappings: only the pages of these
    /// rows are copied.
    pub fn neutralise(&self, tags: PhotoTags) {
        no_grad(|| {
            let tags = [tags.img, tags.img_end].map(i64::from);
            for (_, table_vd) in self.decoder.token_tables() {
                // A table that several tensors share is set twice to nearly the same: harmless.
                let table_vd = table_vd.narrow(0, 0, self.config.text.vocabulary);
                let sum_d = table_vd.sum_dim_intlist(0i64, false, Kind::Float);
                let own_d =
                    tags.iter().fold(sum_d.zeros_like(), |sum, &tag| sum + table_vd.get(tag));
                let mean_d = (sum_d - own_d) / (self.config.text.vocabulary - 2) as f64;
                for tag in tags {
                    table_vd.get(tag).copy_(&mean_d);
                }
            }
        });
    }

    /// The vision encoder's features of `photos`, `[n, k, p, f]` (transformers,
    /// `MllamaVisionModel`).
    ///
    /// # Panics
    /// If there is no photo, or one of another size than the configuration's.
    pub fn features(&self, photos: &[PhotoTiles], adapter: Option<&Adapter>) -> Tensor {
        self.vision.forward(photos, adapter)
    }

    /// Looks at photos: features, projected to the decoder's width.
    ///
    /// # Panics
    /// As `features`, except that there may be no photo.
    pub fn perceive(&self, photos: &[PhotoTiles], adapter: Option<&Adapter>) -> Vec<SeenPhoto> {
        let positions = self.config.vision.tile_positions();
        let mut seen = Vec::with_capacity(photos.len());
        for photos in photos.chunks(self.config.vision.photos_at_once()) {
            let features_nkpf = self.features(photos, adapter);
            let states_nsd = self.projector.forward(&features_nkpf, adapter).flatten(1, 2);
            for (photo, states_1sd) in photos.iter().zip(states_nsd.split(1, 0)) {
                let shown = photo.tiles as i64 * positions;
                seen.push(SeenPhoto { states_sd: states_1sd.squeeze_dim(0), shown });
            }
        }
        seen
    }

    /// Logits `[b, t, v]` at every position of `prompts` in the running dtype, differentiable in
    /// every weight and adapter. Shorter prompts are padded on the left; what stands at padding
    /// positions means nothing.
    ///
    /// # Panics
    /// If a prompt is empty, has another number of photos than of `<|image|>` tokens, or an id
    /// beyond the embedding.
    pub fn logits(&self, prompts: &[Prompt<'_>], adapter: Option<&Adapter>) -> Tensor {
        let batch = Batch::new(self, prompts, 0);
        let hidden_btd = self.decoder.forward(&batch.ids_bt, &batch.prefill(adapter), None);
        self.decoder.logits(&hidden_btd, adapter)
    }

    /// As `logits`, at the `places` of each prompt alone, one prompt after the other: `[n, v]`. With
    /// a large vocabulary the logits of the other positions would take most of the memory.
    ///
    /// # Panics
    /// As `logits`, or if a place is beyond its prompt.
    pub fn logits_at(
        &self,
        prompts: &[Prompt<'_>],
        places: &[Vec<usize>],
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let batch = Batch::new(self, prompts, 0);
        let hidden_btd = self.decoder.forward(&batch.ids_bt, &batch.prefill(adapter), None);
        let length = hidden_btd.size()[1];
        let mut rows = Vec::new();
        for (b, (prompt, places)) in (0..).zip(prompts.iter().zip(places)) {
            let padding = length - prompt.ids.len() as i64;
            for &place in places {
                assert!(place < prompt.ids.len(), "places lie within their prompts");
                rows.push(b * length + padding + place as i64);
            }
        }
        let rows_n = Tensor::from_slice(&rows).to_device(self.compute.device);
        let hidden_nd = hidden_btd.flatten(0, 1).index_select(0, &rows_n);
        self.decoder.logits(&hidden_nd, adapter)
    }

    pub(super) fn compute(&self) -> Compute {
        self.compute
    }

    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(super) fn frequencies(&self) -> &Tensor {
        &self.frequencies
    }
}
