//! What clients do and what is done to the nodes: from a seed alone, so that a run can be run again.
//!
//! What depends on the run itself stays open, and is said in a way that each run can fill in: "the leader", "the revision
//! that this client saw last".

pub mod fault;
pub mod nemesis;
pub mod workload;

use std::fmt;

use crate::dice::Dice;
use fault::Kind;
use nemesis::{Fault, plan};
use workload::{Client, Profile};

/// What a schedule is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Decides all the rest.
    pub seed: u64,
    /// How long it lasts, in seconds.
    pub seconds: u64,
    /// How many nodes there are at the beginning.
    pub nodes: u64,
    /// The faults to choose from. None of them: nothing is done to the nodes.
    pub kinds: Vec<Kind>,
    /// The clients.
    pub profile: Profile,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    settings: Settings,
    faults: Vec<Fault>,
}

impl Schedule {
    /// Makes it.
    pub fn new(settings: Settings) -> Self {
        let faults = plan(&settings, Dice::new(settings.seed).named("nemesis"));
        Self { settings, faults }
    }

    /// The faults, in the order of their beginnings.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The clients. Each knows what it does next, for ever.
    pub fn clients(&self) -> Vec<Client> {
        self.settings.profile.clients(&Dice::new(self.settings.seed), self.settings.nodes)
    }

    /// All of it as text, with the first steps of each client: the same seed gives the same text.
    pub fn text(&self, steps_of_each: usize) -> String {
        let mut text = format!("{self}");
        for mut client in self.clients() {
            text += &format!("\nclient {}: {}\n", client.number(), client.role());
            for _ in 0..steps_of_each {
                text += &format!("  {}\n", client.next_step());
            }
        }
        text
    }
}

/// The faults, one a line.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { seed, seconds, nodes, .. } = &self.settings;
        writeln!(f, "seed {seed}, {seconds} s, {nodes} nodes, {} faults", self.faults.len())?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}
