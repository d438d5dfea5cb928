//! How good a system is, on dialogues that it never saw.
//!
//! Every turn of A's in a held-out dialogue is a decision: the true dialogue before it is given, the
//! system replies greedily, and metrics hold the reply against what A said ([`Suite`], [`Case`]).
//! Metrics are pure functions from a case to something that adds up; [`bootstrap`] turns the sums
//! of every dialogue into figures with intervals, [`report`] writes them down.

pub mod answers;
pub mod bootstrap;
mod calibration;
mod case;
pub mod comparison;
mod draws;
mod error;
mod judge;
mod losses;
mod overlap;
pub mod photos;
pub mod report;
mod results;
mod sheet;
mod suite;
mod swap;
pub mod timing;

pub use calibration::{share_bias, sharing_rate};
pub use case::{Answer, Case, DrawnPhoto};
pub use error::EvaluateError;
pub use judge::{Lessons, PocketJudge, RIGHT_LEAST, is_fit};
pub use losses::Mean;
pub use overlap::Overlap;
pub use photos::{Judge, Judgement, PROPERTIES, Properties};
pub use report::Report;
pub use results::Results;
pub use sheet::contact_sheet;
pub use suite::{Decision, ShareProbabilities, Suite};
pub use swap::PhotoSwap;
