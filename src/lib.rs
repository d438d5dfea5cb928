//! Shutterbug: a Discord bot that sees a channel's photos, talks, and shares photos of its own.
//!
//! Data goes one way through the house: door → dialogue → prompt → engine (perceive → talk →
//! bridge → draw) → delivery → journal.
//!
//! * [`cli`] holds the commands and [`config`] their settings; [`telemetry`] is the log.
//! * [`daemon`] joins the doors, the engine and the journal in one loop.
//! * [`discord`] is the gateway door: messages in, replies with photos out.
//! * [`engine`] owns the one thread that computes, and the fair queue before it.
//! * [`journal`] remembers what was said and answered, and forgets it when asked.
//! * [`systems`] holds what can answer: a dialogue in, a reply with text and photos out.
//! * [`data`] reads and writes dialogues in files.
//! * [`prompt`] turns dialogues into what the models read, and what they write into elements.
//! * [`imaging`] reads and writes photo files.
//! * [`stable_diffusion`] draws: text encoders, transformer, autoencoder, sampler.
//! * [`dialogue`] holds the nouns that everything else speaks of.
//! * [`llama_vision`] sees photos and writes text, deciding where a photo belongs.
//! * [`nn`] are the layers, each written once, and [`torch`] what libtorch needs and tch lacks.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod data;
pub mod dialogue;
pub mod discord;
pub mod engine;
pub mod imaging;
pub mod journal;
pub mod llama_vision;
pub mod nn;
pub mod prompt;
pub mod stable_diffusion;
pub mod systems;
pub mod telemetry;
pub mod torch;
