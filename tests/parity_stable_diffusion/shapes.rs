//! Parameter tables of the published models.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shutterbug::stable_diffusion::{
    ClipConfig, ClipTextEncoder, Mmdit, MmditConfig, T5Config, T5Encoder, Vae, VaeConfig,
};
use shutterbug::torch::{LoadError, Weights};

use super::case::root;

#[derive(Deserialize)]
struct ShapeTable<C> {
    config: C,
    tensors: Vec<(String, Vec<i64>)>,
}

/// Names and shapes of a published part; `{a-b}` in a name stands for a run of layers.
fn published<C: DeserializeOwned>(part: &str) -> (C, BTreeMap<String, Vec<i64>>) {
    let text = std::fs::read(root().join("shapes").join(format!("{part}.json"))).unwrap();
    let table: ShapeTable<C> = serde_json::from_slice(&text).unwrap();
    let mut shapes = BTreeMap::new();
    for (name, shape) in table.tensors {
        let Some((before, rest)) = name.split_once('{') else {
            shapes.insert(name, shape);
            continue;
        };
        let (run, after) = rest.split_once('}').unwrap();
        let (first, last) = run.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        for layer in first..=last {
            shapes.insert(format!("{before}{layer}{after}"), shape.clone());
        }
    }
    (table.config, shapes)
}

/// Fails unless `load` asks for exactly the tensors of `part`, which has `parameters` parameters
/// (a stored table of positions apart).
fn same_table<C: DeserializeOwned, M>(
    part: &str,
    parameters: i64,
    load: impl Fn(&Weights, &C) -> Result<M, LoadError>,
) {
    let (config, shapes) = published(part);
    let learned = shapes.iter().filter(|(name, _)| *name != "pos_embed.pos_embed");
    let count: i64 = learned.map(|(_, shape)| shape.iter().product::<i64>()).sum();
    assert_eq!(count, parameters, "{part}");
    let weights = Weights::shapes_only();
    load(&weights, &config).unwrap();
    assert_eq!(weights.asked(), shapes, "{part}");
}

#[test]
fn tables_of_the_published_models_are_ours() {
    let mmdit = |part, parameters| {
        same_table(part, parameters, |weights, config: &MmditConfig| Mmdit::load(weights, config));
    };
    mmdit("transformer-sd3-medium", 2_028_328_000);
    mmdit("transformer-sd3.5-medium", 2_243_171_520);
    mmdit("transformer-sd3.5-large", 8_056_627_520);
    let clip = |part, parameters| {
        let load = |weights: &Weights, config: &ClipConfig| ClipTextEncoder::load(weights, config);
        same_table(part, parameters, load);
    };
    clip("clip-l", 123_650_304);
    clip("clip-g", 694_659_840);
    same_table("vae", 83_819_683, |weights, config: &VaeConfig| Vae::load(weights, config));
    same_table("t5-xxl", 4_762_310_656, |weights, config: &T5Config| {
        T5Encoder::load(weights, config)
    });
}
