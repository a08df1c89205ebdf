//! How the learned policy learns: proximal policy optimisation (Schulman et al. 2017) of both levels in the
//! simulator. Pure: which thread does what is the caller's.
//!
//! ```text
//! member ─► twin (the rule, once)  ─┐
//!        └► episode (a sampler) ────┴─► differences of rewards ─► advantages ─► ppo ─► weights
//! ```
//!
//! An app is an agent: all share one network, each is paid by its own promise and its own cores, and what the
//! rule is paid in the same second of the same member is taken off (a control variate: the twin's reward
//! depends on no action of the learner). Groups and domains are paid the sum over their apps. What traffic looks
//! like is learned before all of it ([`Windows`]), a teacher that knows the traffic to come says what to imitate first
//! ([`Teacher`]), and a price of a core-hour holds the cost ([`Price`]).

mod advantage;
mod episode;
mod gates;
mod members;
mod pay;
pub mod ppo;
mod price;
mod sampler;
mod settings;
mod shapes;
mod statistics;
mod teacher;
mod watch;

pub use episode::{Circumstances, Episode, Totals, Twin, as_it_is, episode, twin};
pub use gates::{Gates, Limits, Place, Reached, ShiftedWorld};
pub use members::{Member, World, is_usual, member, shifted};
pub use price::Price;
pub use sampler::Explore;
pub use settings::{Ablation, Pay, Settings, Shapes, Teacher};
pub use shapes::{Contrast, Windows};
pub use statistics::Statistics;
pub use watch::{Watched, gaps, watch};

#[cfg(test)]
mod tests;
