//! What Python calls a layer, and what the published checkpoints call it.

use tch::Tensor;

use crate::nn::Lora;

/// PEFT puts this before the names of a model's modules.
const PEFT: &str = "base_model.model.";

/// diffusers puts this before the names of the transformer's modules.
const TRANSFORMER: &str = "transformer.";

/// transformers' language model and the published checkpoints' name of it.
const LANGUAGE_MODEL: (&str, &str) = ("model.language_model.", "language_model.model.");

/// The head, likewise.
const HEAD: (&str, &str) = ("lm_head", "language_model.lm_head");

/// A format's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// PEFT's around transformers' mllama.
    Peft,
    /// diffusers' of the transformer.
    Diffusers,
}

impl Naming {
    /// The checkpoint's name of what the format's file calls `stored`.
    pub(super) fn checkpoint_name(self, stored: &str) -> Option<String> {
        match self {
            Self::Diffusers => stored.strip_prefix(TRANSFORMER).map(str::to_owned),
            Self::Peft => {
                let module = stored.strip_prefix(PEFT)?;
                Some(if let Some(rest) = module.strip_prefix(LANGUAGE_MODEL.0) {
                    format!("{}{rest}", LANGUAGE_MODEL.1)
                } else if module == HEAD.0 {
                    HEAD.1.to_owned()
                } else {
                    module.strip_prefix("model.")?.to_owned()
                })
            }
        }
    }

    /// Python's name of the module whose weights the checkpoint keeps as `name`.
    pub(super) fn module(self, name: &str) -> String {
        match self {
            Self::Diffusers => name.to_owned(),
            Self::Peft => {
                if let Some(rest) = name.strip_prefix(LANGUAGE_MODEL.1) {
                    format!("{}{rest}", LANGUAGE_MODEL.0)
                } else if name == HEAD.1 {
                    HEAD.0.to_owned()
                } else {
                    format!("model.{name}")
                }
            }
        }
    }

    /// What the format's file calls the module.
    pub(super) fn stored_name(self, module: &str) -> String {
        match self {
            Self::Diffusers => format!("{TRANSFORMER}{module}"),
            Self::Peft => format!("{PEFT}{module}"),
        }
    }

    /// Names and tensors of `lora` for the layer that the checkpoint calls `layer`.
    pub(super) fn pair(self, layer: &str, lora: &Lora) -> [(String, Tensor); 2] {
        let stored = self.stored_name(&self.module(layer));
        [
            (format!("{stored}.lora_A.weight"), lora.a.shallow_clone()),
            (format!("{stored}.lora_B.weight"), lora.b.shallow_clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (naming, stored, name) in [
            (
                Naming::Peft,
                "base_model.model.model.language_model.layers.3.cross_attn.q_proj",
                "language_model.model.layers.3.cross_attn.q_proj",
            ),
            (Naming::Peft, "base_model.model.lm_head", "language_model.lm_head"),
            (
                Naming::Peft,
                "base_model.model.model.vision_model.transformer.layers.0.mlp.fc1",
                "vision_model.transformer.layers.0.mlp.fc1",
            ),
            (
                Naming::Diffusers,
                "transformer.transformer_blocks.0.attn.to_out.0",
                "transformer_blocks.0.attn.to_out.0",
            ),
        ] {
            assert_eq!(naming.checkpoint_name(stored).as_deref(), Some(name));
            assert_eq!(naming.stored_name(&naming.module(name)), stored);
        }
        assert_eq!(Naming::Peft.checkpoint_name("transformer.x"), None);
    }
}
