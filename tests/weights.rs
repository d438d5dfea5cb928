//! Reading checkpoints: formats, shards, and every way in which a file can be wrong.

use std::error::Error;
use std::fs;
use std::path::Path;

use shutterbug::torch::{Checkpoint, Compute, LoadError, Weights};
use tch::{Device, Kind, Tensor};

fn write(path: &Path, tensors: &[(&str, Tensor)]) {
    Tensor::write_safetensors(tensors, path).unwrap();
}

fn arange(size: &[i64], kind: Kind) -> Tensor {
    let count: i64 = size.iter().product();
    Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(size).to_kind(kind)
}

fn open(folder: &Path) -> Weights {
    Weights::new(Checkpoint::open(folder, "model").unwrap(), Compute::CPU)
}

#[test]
fn every_stored_format_becomes_the_running_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(
        &file,
        &[
            ("layers.0.single", arange(&[2, 3], Kind::Float)),
            ("layers.0.half", arange(&[2, 3], Kind::Half)),
            ("layers.0.brain", arange(&[2, 3], Kind::BFloat16)),
        ],
    );
    for kind in [Kind::Float, Kind::BFloat16] {
        let compute = Compute { device: Device::Cpu, kind };
        let weights = Weights::new(Checkpoint::file(&file).unwrap(), compute);
        let layer = weights.at("layers").at(0);
        for name in ["single", "half", "brain"] {
            let tensor = layer.tensor(name, &[2, 3]).unwrap();
            assert_eq!(tensor, arange(&[2, 3], kind), "{name} as {kind:?}");
        }
        weights.finish(&[]).unwrap();
    }
}

#[test]
fn a_tensor_outlives_its_reader_and_writing_to_it_spares_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(&file, &[("w", arange(&[4], Kind::Float))]);
    let mut tensor = open(folder.path()).tensor("w", &[4]).unwrap();
    let _ = tensor.fill_(7.0);
    assert_eq!(Vec::<f32>::try_from(&tensor).unwrap(), [7.0; 4]);
    let again = open(folder.path()).tensor("w", &[4]).unwrap();
    assert_eq!(again, arange(&[4], Kind::Float));
}

#[test]
fn shards_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model-1.safetensors"), &[("a", arange(&[2], Kind::Float))]);
    write(&folder.path().join("model-2.safetensors"), &[("b", arange(&[3], Kind::Float))]);
    let index =
        r#"{"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let weights = open(folder.path());
    assert_eq!(weights.tensor("a", &[2]).unwrap(), arange(&[2], Kind::Float));
    assert_eq!(weights.tensor("b", &[3]).unwrap(), arange(&[3], Kind::Float));

    fs::remove_file(folder.path().join("model-2.safetensors")).unwrap();
    let error = Checkpoint::open(folder.path(), "model").err().unwrap();
    assert!(error.to_string().contains("model-2.safetensors"), "{error}");
}

#[test]
fn a_missing_misshapen_or_unused_tensor_is_named_with_its_file_and_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(
        &file,
        &[
            ("proj.weight", arange(&[2, 3], Kind::Float)),
            ("old.position_ids", arange(&[1], Kind::Float)),
        ],
    );
    let path = file.display().to_string();
    let weights = open(folder.path());

    let error = weights.at("proj").tensor("bias", &[2]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{path} lacks the tensor proj.bias [2]; ")), "{error}");

    let error = weights.at("proj").tensor("weight", &[3, 2]).unwrap_err().to_string();
    let expected = format!(
        "{path}: the tensor proj.weight has shape [2, 3], but the configuration asks for [3, 2]; "
    );
    assert!(error.starts_with(&expected), "{error}");

    let error = weights.finish(&["position_ids"]).unwrap_err().to_string();
    let expected =
        format!("{path} holds the tensor proj.weight [2, 3], which this model does not use; ");
    assert!(error.starts_with(&expected), "{error}");
    let error = weights.finish(&[]).unwrap_err().to_string();
    assert!(error.contains("old.position_ids [1] and 1 more, which"), "{error}");
    drop(weights.at("proj").tensor("weight", &[2, 3]).unwrap());
    weights.finish(&["position_ids"]).unwrap();
}

#[test]
fn an_inspection_finds_everything_and_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(
        &file,
        &[
            ("good", arange(&[2], Kind::Half)),
            ("long", arange(&[3], Kind::Float)),
            ("whole", Tensor::from_slice(&[1i64, 2])),
            ("stranger", arange(&[1], Kind::Float)),
            ("position_ids", arange(&[1], Kind::Float)),
        ],
    );
    let weights = Weights::inspecting(Checkpoint::file(&file).unwrap());
    assert!(weights.has("good") && !weights.has("absent"));
    for name in ["good", "long", "whole", "absent"] {
        assert_eq!(weights.tensor(name, &[2]).unwrap().size(), [2]);
    }
    let problems = weights.problems(&["position_ids"]);
    let kinds = [
        matches!(&problems[0], LoadError::Shape { tensor, found, .. } if tensor == "long" && *found == [3]),
        matches!(&problems[1], LoadError::Format { tensor, .. } if tensor == "whole"),
        matches!(&problems[2], LoadError::Missing { tensor, .. } if tensor == "absent"),
        matches!(&problems[3], LoadError::Unused { first, .. } if first == "stranger"),
    ];
    assert_eq!((kinds, problems.len()), ([true; 4], 4), "{problems:?}");
}

#[test]
fn a_file_cut_anywhere_says_how_long_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(&file, &[("w", arange(&[8], Kind::Float))]);
    let whole = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap());
    let all = whole.len() as u64;
    for (length, wanted) in
        [(0, 8), (4, 8), (9, header), (whole.len() / 2, header), (whole.len() - 1, all)]
    {
        fs::write(&file, &whole[..length]).unwrap();
        let error = Checkpoint::file(&file).err().unwrap();
        let LoadError::Truncated { expected, found, .. } = error else { panic!("{error:?}") };
        assert_eq!((expected, found), (wanted, length as u64));
        assert!(error.to_string().contains("model.safetensors is cut off: "), "{error}");
    }
    for broken in
        [[b"PK\x03\x04PK\x05\x06".as_slice(), &whole].concat(), [&whole[..], b"!"].concat()]
    {
        fs::write(&file, broken).unwrap();
        let error = Checkpoint::file(&file).err().unwrap();
        assert!(matches!(error, LoadError::Broken { .. }), "{error:?}");
        assert!(error.source().is_some());
    }
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = r#"{"weight_map":{"a":"../model-1.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let error = Checkpoint::open(folder.path(), "model").err().unwrap().to_string();
    assert!(error.contains("which is no plain file name"), "{error}");
}

#[test]
fn integers_are_no_weights() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write(&file, &[("w", Tensor::from_slice(&[1i64, 2]))]);
    let error = open(folder.path()).tensor("w", &[2]).unwrap_err().to_string();
    assert!(error.contains("the tensor w is stored as I64"), "{error}");
}

#[test]
fn an_empty_folder_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(folder.path(), "model").err().unwrap().to_string();
    assert!(
        error.contains("neither model.safetensors nor model.safetensors.index.json"),
        "{error}"
    );
}
