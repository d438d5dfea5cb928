//! Dialogues into what the models read, and what they write into elements: token ids, image tiles
//! and spans as plain vectors, no tensors.
//!
//! * [`PromptBuilder`] makes a [`Prompt`] of a dialogue: chat template, special tokens, budget.
//! * [`ImageProcessor`] cuts photos into tiles.
//! * [`ReplyDecoder`] turns generated tokens into text deltas, captions and elements.
//! * [`CaptionTokenizers`] encode captions for the image generator.

mod assembly;
mod bytes;
mod canvas;
mod caption;
mod chat_template;
mod error;
mod files;
mod image_processor;
mod llama_tokenizer;
mod plain_tokenizer;
mod reply;
mod resize;
mod view;
mod vocabulary;

pub use assembly::{Budget, Prompt, PromptBuilder, Span, SpanKind};
pub use caption::{CaptionTokenizer, CaptionTokenizers, EncodedCaption};
pub use chat_template::Closing;
pub use error::{PromptError, PromptLoadError};
pub use image_processor::{Detail, ImageProcessor, ImageTiles};
pub use llama_tokenizer::LlamaTokenizer;
pub use plain_tokenizer::TextToken;
pub use reply::{ReplyDecoder, Step};
pub use vocabulary::{LlamaIds, VocabularyError, write_clip_vocabulary, write_llama_vocabulary};
