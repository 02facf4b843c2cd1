//! What clients do, for ever: each its own sequence of steps with a time to think before each.

use std::fmt;

use crate::dice::Dice;

/// How many clients of which role there are, and what flags they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Clients that write, and read what they wrote.
    pub writers: u32,
    /// Clients that read in all ways, anywhere.
    pub readers: u32,
    /// Clients that read through one node.
    pub sessions: u32,
    /// Followers of the stream.
    pub followers: u32,
    /// Critical flags: `critical-0` and so on.
    pub critical: u64,
    /// Ordinary flags: `ordinary-0` and so on.
    pub ordinary: u64,
    /// The typical time between two operations of a client, in microseconds.
    pub think_us: u64,
}

/// What critical flags are called, before their number.
const CRITICAL: &str = "critical";
/// What the others are called.
const ORDINARY: &str = "ordinary";

/// So many flags of one name.
fn numbered(name: &'static str, count: u64) -> impl Iterator<Item = String> {
    (0..count).map(move |flag| format!("{name}-{flag}"))
}

impl Default for Profile {
    fn default() -> Self {
        Self { writers: 4, readers: 6, sessions: 3, followers: 3, critical: 4, ordinary: 4, think_us: 10_000 }
    }
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It writes, and reads what it wrote.
    Writer,
    /// It reads in all ways, anywhere.
    Reader,
    /// It reads through one node, as a session.
    Session {
        /// That node.
        node: u64,
    },
    /// It follows the stream.
    Follower,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait before, in microseconds.
    pub think_us: u64,
    /// Whom to ask. Who is tried next, if that fails, is the client's affair.
    pub node: u64,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One change, of one flag or of several.
    Write {
        /// Which are set to what. No value is ever used again.
        set: Vec<(String, u64)>,
    },
    /// Read one flag.
    Read {
        /// Which.
        flag: String,
        /// What to ask for.
        ask: Ask,
    },
    /// Read all flags at once.
    ReadAll {
        /// What to ask for.
        ask: Ask,
    },
    /// Follow the stream from where one is.
    Follow {
        /// After how many events to move on.
        events_max: u64,
    },
}

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: what the flag's criticality gives.
    Nothing,
    /// `linearizable`.
    Linearizable,
    /// The greatest revision that this client saw, as a minimum.
    OwnRevision,
    /// An age of at most this.
    MaxAgeMs(u64),
}

impl Profile {
    pub(super) fn clients(&self, dice: &Dice, nodes: u64) -> Vec<Client> {
        let roles = std::iter::repeat_n(Role::Writer, self.writers as usize)
            .chain(std::iter::repeat_n(Role::Reader, self.readers as usize))
            .chain((0..u64::from(self.sessions)).map(|session| Role::Session { node: session % nodes + 1 }))
            .chain(std::iter::repeat_n(Role::Follower, self.followers as usize));
        let client = |(number, role)| Client {
            number,
            role,
            nodes,
            think_us: self.think_us,
            critical: numbered(CRITICAL, self.critical).collect(),
            ordinary: numbered(ORDINARY, self.ordinary).collect(),
            wrote: 0,
            dice: dice.named(&format!("client {number}")),
        };
        (1..).zip(roles).map(client).collect()
    }

    /// All flags, those that are critical first.
    pub fn flags(&self) -> impl Iterator<Item = String> {
        numbered(CRITICAL, self.critical).chain(numbered(ORDINARY, self.ordinary))
    }

    /// Whether this flag is a critical one.
    pub fn is_critical(&self, flag: &str) -> bool {
        numbered(CRITICAL, self.critical).any(|critical| critical == flag)
    }
}

/// A client, which knows what it does next.
#[derive(Clone, Debug)]
pub struct Client {
    number: u32,
    role: Role,
    nodes: u64,
    think_us: u64,
    critical: Vec<String>,
    ordinary: Vec<String>,
    wrote: u64,
    dice: Dice,
}

impl Client {
    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What it is there for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What it does next.
    pub fn next_step(&mut self) -> Step {
        let think_us = self.dice.around(self.think_us);
        let anywhere = self.dice.from_to(1, self.nodes);
        let (node, action) = match self.role {
            Role::Writer if self.dice.percent(70) => (anywhere, self.write()),
            Role::Writer => (anywhere, self.read(Ask::OwnRevision)),
            Role::Reader => {
                let ask = match self.dice.below(100) {
                    0..60 => Ask::Nothing,
                    60..75 => Ask::Linearizable,
                    75..90 => Ask::OwnRevision,
                    _ => Ask::MaxAgeMs(self.dice.from_to(20, 2_000)),
                };
                (anywhere, self.read(ask))
            }
            Role::Session { node } => (node, self.read(Ask::Nothing)),
            Role::Follower => (anywhere, Action::Follow { events_max: self.dice.from_to(1, 200) }),
        };
        Step { think_us, node, action }
    }

    fn write(&mut self) -> Action {
        self.wrote += 1;
        // Who wrote it, and how many it wrote before: no two are alike.
        let value = (u64::from(self.number) << 32) | self.wrote;
        // A change of two flags is of two of a kind, or of one each.
        let mut all = [&self.critical[..], &self.ordinary[..]].concat();
        self.dice.shuffle(&mut all);
        all.truncate(if self.dice.percent(30) { 2 } else { 1 });
        Action::Write { set: all.into_iter().map(|flag| (flag, value)).collect() }
    }

    fn read(&mut self, ask: Ask) -> Action {
        if self.dice.percent(15) {
            return Action::ReadAll { ask };
        }
        let critical = self.dice.percent(50);
        let flags = if critical { &self.critical } else { &self.ordinary };
        let other = if critical { &self.ordinary } else { &self.critical };
        match self.dice.pick(flags).or(other.first()) {
            Some(flag) => Action::Read { flag: flag.clone(), ask },
            None => Action::ReadAll { ask },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer => f.write_str("writer"),
            Self::Reader => f.write_str("reader"),
            Self::Session { node } => write!(f, "session through node {node}"),
            Self::Follower => f.write_str("follower"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Linearizable => f.write_str(", linearizable"),
            Self::OwnRevision => f.write_str(", at least as seen"),
            Self::MaxAgeMs(age) => write!(f, ", at most {age} ms old"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}.{:03} ms  node {}  ", self.think_us / 1000, self.think_us % 1000, self.node)?;
        match &self.action {
            Action::Write { set } => {
                f.write_str("write")?;
                set.iter().try_for_each(|(flag, value)| {
                    write!(f, " {flag}={}:{}", value >> 32, value & 0xffff_ffff)
                })
            }
            Action::Read { flag, ask } => write!(f, "read {flag}{ask}"),
            Action::ReadAll { ask } => write!(f, "read all{ask}"),
            Action::Follow { events_max } => write!(f, "follow for {events_max} events"),
        }
    }
}
