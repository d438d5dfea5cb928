//! The whole daemon against a Discord on loopback, with a scripted model.

#![expect(unreachable_pub, reason = "its modules are parts of one program")]

mod binary;
mod bot;
mod commands;
mod direct;
#[path = "../fake_discord/mod.rs"]
mod fake_discord;
mod limits;
mod photos;
mod replies;
mod restart;
#[path = "../scripted/mod.rs"]
mod scripted;
mod trouble;
