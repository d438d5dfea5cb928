//! Every tensor of every part, set aside alone.

use std::cell::RefCell;
use std::collections::BTreeMap;

use shutterbug::stable_diffusion::{
    Part, StableDiffusion3, StableDiffusion3Config, TextConditioning,
};
use shutterbug::torch::{Compute, Weights};

use super::case::Case;
use super::set_aside::every_tensor_matters;

/// Tensors that files hold and no output depends on. The bias of a key adds the same to every score
/// of a query, which the softmax takes away again; where keys are normalised it does not. And the
/// text's queries in the last block ask for what nobody reads.
fn changes_nothing(config: &StableDiffusion3Config, part: Part, name: &str) -> bool {
    match part {
        Part::ClipL | Part::ClipG => name.ends_with("k_proj.bias"),
        Part::T5 => false,
        Part::Transformer => {
            let last = config.transformer.num_layers - 1;
            let query = format!("transformer_blocks.{last}.attn.");
            name.strip_prefix(&query).is_some_and(|rest| {
                rest.starts_with("add_q_proj.") || rest.starts_with("norm_added_q.")
            }) || config.transformer.qk_norm.is_none() && name.ends_with("attn2.to_k.bias")
        }
        Part::Vae => name.ends_with("to_k.bias"),
    }
}

#[test]
fn no_tensor_could_be_missing_unnoticed() {
    for case in Case::all() {
        let opened = RefCell::new(BTreeMap::new());
        let config = StableDiffusion3Config::read(&case.model).unwrap();
        let model = StableDiffusion3::from_weights(config, Compute::CPU, |part, compute| {
            let weights = Weights::trainable(part.open(&case.model)?, compute, &[""]);
            opened.borrow_mut().insert(part, weights.clone());
            Ok(weights)
        })
        .unwrap();
        let captions = case.captions();
        let conditioning = TextConditioning::new(
            case.tensor("encode.embeds").shallow_clone(),
            case.tensor("encode.pooled").shallow_clone(),
        );
        let (latents, sigmas) = (case.tensor("latents"), case.tensor("transformer.sigmas"));
        for (part, weights) in opened.take() {
            every_tensor_matters(
                &format!("{} {part:?}", case.name),
                &weights.tensors(),
                |name| changes_nothing(model.config(), part, name),
                |_| match part {
                    Part::ClipL | Part::ClipG | Part::T5 => {
                        let encoded = model.encode(&captions);
                        vec![encoded.prompt_embeds(), encoded.pooled().shallow_clone()]
                    }
                    Part::Transformer => vec![model.velocity(latents, sigmas, &conditioning, None)],
                    Part::Vae => {
                        let moments = model.vae().encode(case.tensor("vae.picture"));
                        vec![
                            model.vae().decode(latents),
                            moments.sample(case.tensor("vae.noise")),
                            moments.mean_bchw,
                        ]
                    }
                },
            );
        }
    }
}
