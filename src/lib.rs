//! Shutterbug: a Discord bot that sees a channel's photos, talks, and shares photos of its own.
//!
//! This page is the map of the house, in the order in which a message passes through it:
//! door → dialogue → prompt → engine (perceive → talk → draw) → delivery → journal.
//! `tests/tidy.rs` holds the arrows that are allowed between modules.
//!
//! Coming in:
//! * [`cli`]: one file or folder a command; builds the parts that its command needs and hands them
//!   over.
//! * [`config`]: raw TOML and environment into checked settings; the only reader of the
//!   environment.
//! * [`daemon`]: one closed event enum, and the loop that joins doors, engine and journal.
//! * [`discord`]: the gateway door. Messages become dialogues, replies become messages. Knows no
//!   tensors and no storage.
//! * [`imaging`]: photo files into pixels under limits, and pixels into PNG.
//!
//! Thinking:
//! * [`dialogue`]: the nouns that everything else speaks of. Pure: no IO, no async, no tensors.
//! * [`prompt`]: dialogues into token ids and image tiles, tokens into text and captions. Plain
//!   vectors, no tensors.
//! * [`engine`]: the one thread on which the bot's model lives, behind a bounded fair queue.
//! * [`systems`]: what can answer, behind one small trait: the end-to-end model, and the pipeline that
//!   it is compared with; model directories, joined or made anew.
//! * [`llama_vision`]: the image perceptron and the text dialogue generator, which decides where a
//!   photo belongs. Knows nothing of diffusion.
//! * [`stable_diffusion`]: text encoders, transformer, autoencoder, schedule and sampler. Knows
//!   nothing of Llama.
//! * [`bridge`]: from the language model's choice of words to the text encoders' input,
//!   differentiable; at inference captions are simply written anew in the encoders' vocabulary.
//!   Knows neither model.
//! * [`tokens`]: the ids in which tokenizers and models speak to each other.
//! * [`nn`]: layers, each written once; [`torch`]: what libtorch needs and tch lacks.
//!
//! Learning:
//! * [`adapters`]: what was learned beside the base weights, in the formats that Python writes.
//! * [`training`]: objectives, optimizer and schedule, checkpoints; advances by micro-steps.
//! * [`evaluation`]: one metric a file, the suite that puts held-out decisions to a system, the judge
//!   of pictures, and the report. Knows nothing of training.
//!
//! Staying:
//! * [`journal`]: what was said and answered, and how it is forgotten; the only user of the
//!   workspace's record store, `migrations-free-store`.
//! * [`data`]: dialogues to learn from: our JSON Lines, PhotoChat, DialogCC, and the pocket world,
//!   whose photos are drawn and whose truth is known.
//! * [`telemetry`]: the log.

pub mod adapters;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod data;
pub mod dialogue;
pub mod discord;
pub mod engine;
pub mod evaluation;
pub mod imaging;
pub mod journal;
pub mod llama_vision;
pub mod nn;
pub mod prompt;
pub mod stable_diffusion;
pub mod systems;
pub mod telemetry;
pub mod tokens;
pub mod torch;
pub mod training;
