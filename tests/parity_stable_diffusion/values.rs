//! Outputs and gradients of every part.

use shutterbug::nn::{Adapter, Lora};
use shutterbug::stable_diffusion::{ClipTextEncoder, EmbeddedCaptions, TextConditioning};
use shutterbug::tokens::CaptionIds;
use shutterbug::torch::Compute;
use tch::{Kind, Tensor};

use super::case::{BFLOAT16, Case};
use super::sketches::wave;

/// Every so many positions of the gradient by the prompt embeddings are stored.
const GRADIENT_STRIDE: i64 = 6;

fn leaf(value: &Tensor) -> Tensor {
    value.detach().copy().set_requires_grad(true)
}

#[test]
fn encoders_give_what_the_reference_gives() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let conditioning = model.encode(&case.captions());
        case.close("encode.embeds", &conditioning.prompt_embeds(), 1e-4);
        case.close("encode.pooled", conditioning.pooled(), 1e-4);
    }
}

#[test]
fn gradients_reach_the_token_embeddings() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let captions = case.captions();
        let table =
            |ids: Vec<&[i64]>| Tensor::from_slice(&ids.concat()).view([captions.len() as i64, -1]);
        let embed = |encoder: &ClipTextEncoder, pick: fn(&CaptionIds) -> &[i64]| {
            let ids: Vec<&[i64]> = captions.iter().map(pick).collect();
            let ends: Vec<i64> = ids.iter().map(|ids| encoder.end_of_text(ids)).collect();
            (leaf(&encoder.tokens().forward(&table(ids))), ends)
        };
        let (clip_l_btd, clip_l_ends) = embed(model.clip_l(), |caption| &caption.clip_l);
        let (clip_g_btd, clip_g_ends) = embed(model.clip_g(), |caption| &caption.clip_g);
        let t5: Option<Vec<&[i64]>> =
            captions.iter().map(|caption| caption.t5.as_deref()).collect();
        let conditioning = model.encode_embedded(&EmbeddedCaptions {
            clip_l_btd: &clip_l_btd,
            clip_l_ends: &clip_l_ends,
            clip_g_btd: &clip_g_btd,
            clip_g_ends: &clip_g_ends,
            t5_ids_bt: t5.map(table).as_ref(),
        });
        let (embeds, pooled) = (conditioning.prompt_embeds(), conditioning.pooled());
        let loss =
            (&embeds * wave(&embeds)).sum(Kind::Float) + (pooled * wave(pooled)).sum(Kind::Float);
        loss.backward();
        case.same_gradient("encode.gradient_l", &clip_l_btd.grad());
        case.same_gradient("encode.gradient_g", &clip_g_btd.grad());
    }
}

#[test]
fn the_transformer_gives_the_reference_s_velocity_and_gradients() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let (latents, embeds, pooled) = (
            leaf(case.tensor("latents")),
            leaf(case.tensor("encode.embeds")),
            leaf(case.tensor("encode.pooled")),
        );
        let conditioning = TextConditioning::new(embeds.shallow_clone(), pooled.shallow_clone());
        let sigmas = case.tensor("transformer.sigmas");
        let velocity = model.velocity(&latents, sigmas, &conditioning, None);
        case.close("transformer.velocity", &velocity, 1e-4);
        (&velocity * wave(&velocity)).sum(Kind::Float).backward();
        case.same_gradient("transformer.gradient_latents", &latents.grad());
        case.same_gradient("transformer.gradient_pooled", &pooled.grad());
        let by_embeds = embeds.grad().slice(1, 0, None, GRADIENT_STRIDE);
        case.same_gradient("transformer.gradient_embeds", &by_embeds);
    }
}

/// An absent T5's zeros are computed once; the gradient must be that of all of them.
#[test]
fn folded_zeros_are_as_good_as_zeros() {
    let case = Case::open("sd3");
    let model = case.load(Compute::CPU);
    let (latents, sigmas) = (case.tensor("latents"), case.tensor("transformer.sigmas"));
    let gradient = |folded: bool| {
        let mut adapter = adapter(&case);
        let a = leaf(&adapter.layers["context_embedder"].a);
        let layer = adapter.layers.get_mut("context_embedder").unwrap();
        layer.a = a.shallow_clone();
        let captions = model.encode(&case.captions());
        let captions = if folded {
            captions
        } else {
            TextConditioning::new(captions.prompt_embeds(), captions.pooled().shallow_clone())
        };
        let velocity = model.velocity(latents, sigmas, &captions, Some(&adapter));
        (&velocity * wave(&velocity)).sum(Kind::Float).backward();
        (velocity, a.grad())
    };
    let ((folded, by_a), (plain, by_a_plain)) = (gradient(true), gradient(false));
    assert!(f64::try_from((folded - plain).abs().max()).unwrap() < 1e-4);
    assert!(f64::try_from((&by_a - &by_a_plain).norm() / by_a_plain.norm()).unwrap() < 1e-4);
}

/// The adapter of the reference, under diffusers' layer names.
fn adapter(case: &Case) -> Adapter {
    let layers = case
        .reference
        .iter()
        .filter_map(|(name, a)| {
            let layer = name.strip_prefix("lora.")?.strip_suffix(".lora_A.weight")?;
            let b = case.tensor(&format!("lora.{layer}.lora_B.weight"));
            let (a, b) = (a.shallow_clone(), b.shallow_clone());
            Some((layer.to_owned(), Lora { a, b, scale: case.settings.lora_scale }))
        })
        .collect();
    Adapter::of_layers(layers)
}

#[test]
fn low_rank_updates_reach_every_layer_of_the_transformer() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let conditioning = TextConditioning::new(
            case.tensor("encode.embeds").shallow_clone(),
            case.tensor("encode.pooled").shallow_clone(),
        );
        let (latents, sigmas) = (case.tensor("latents"), case.tensor("transformer.sigmas"));
        let adapter = adapter(&case);
        assert!(adapter.layers.len() > 20, "{}: {}", case.name, adapter.layers.len());
        let velocity = model.velocity(latents, sigmas, &conditioning, Some(&adapter));
        case.close("transformer.velocity_lora", &velocity, 1e-4);
        // The base is untouched by it.
        let velocity = model.velocity(latents, sigmas, &conditioning, None);
        case.close("transformer.velocity", &velocity, 1e-4);
    }
}

#[test]
fn the_autoencoder_gives_what_the_reference_gives() {
    for case in Case::all() {
        // Half precision elsewhere must not touch it.
        let model = case.load(BFLOAT16);
        let latents = leaf(case.tensor("latents"));
        let picture = model.vae().decode(&latents);
        case.close("vae.decoded", &picture, 1e-4);
        (&picture * wave(&picture)).sum(Kind::Float).backward();
        case.same_gradient("vae.gradient_latents", &latents.grad());

        let picture = leaf(case.tensor("vae.picture"));
        let distribution = model.vae().encode(&picture);
        let sample = distribution.sample(case.tensor("vae.noise"));
        case.close("vae.mean", &distribution.mean_bchw, 1e-4);
        case.close("vae.sample", &sample, 1e-4);
        (&sample * wave(&sample)).sum(Kind::Float).backward();
        case.same_gradient("vae.gradient_picture", &picture.grad());
    }
}

#[test]
fn pictures_become_the_latents_that_become_them() {
    for case in Case::all() {
        let model = case.load(Compute::CPU);
        let (scale, shift) = {
            let config = &model.config().vae;
            (config.scaling_factor, config.shift_factor.unwrap_or(0.0))
        };
        let picture = (case.tensor("vae.picture") + 1.0) / 2.0;
        let noise = case.tensor("vae.noise");
        let mean = model.encode_image(&picture, None) / scale + shift;
        case.close("vae.mean", &mean, 1e-4);
        let sample = model.encode_image(&picture, Some(noise)) / scale + shift;
        case.close("vae.sample", &sample, 1e-4);
        let decoded = model.decode(&((case.tensor("latents") - shift) * scale));
        let expected = (case.tensor("vae.decoded") / 2.0 + 0.5).clamp(0.0, 1.0);
        assert!(f64::try_from((decoded - expected).abs().max()).unwrap() < 1e-4, "{}", case.name);
    }
}

#[test]
fn bfloat16_is_as_close_as_the_reference_s() {
    for case in Case::all() {
        let model = case.load(BFLOAT16);
        let captions = model.encode(&case.captions());
        case.as_good_in_bfloat16("encode.embeds", &captions.prompt_embeds());
        case.as_good_in_bfloat16("encode.pooled", captions.pooled());
        let given = TextConditioning::new(
            case.tensor("encode.embeds").to_kind(Kind::BFloat16),
            case.tensor("encode.pooled").to_kind(Kind::BFloat16),
        );
        let (latents, sigmas) = (case.tensor("latents"), case.tensor("transformer.sigmas"));
        let velocity = model.velocity(latents, sigmas, &given, None);
        assert_eq!(velocity.kind(), Kind::BFloat16);
        case.as_good_in_bfloat16("transformer.velocity", &velocity);
        case.as_good_in_bfloat16("run.latents", &case.run(&model, case.settings.guidance));
    }
}
