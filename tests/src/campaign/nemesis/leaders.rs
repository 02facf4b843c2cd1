//! Who leads: what each node says of itself, asked again and again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use flagraft_chaos::{
    incidents::{Log, What},
    recorder::Recorder,
};
use tokio::task::JoinSet;

use crate::{api::Api, metrics::Metrics, wait};

/// How often a node is asked.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a node may take to say: one that says nothing leads nobody.
const SAID_WITHIN: Duration = Duration::from_millis(800);

/// Asks the nodes until it is dropped.
pub(super) struct Leaders {
    claims: Arc<Mutex<Claims>>,
    _tasks: JoinSet<()>,
}

/// The nodes that say that they lead, each with its term. One that was overthrown may not know it yet.
#[derive(Default)]
struct Claims {
    terms: BTreeMap<u64, u64>,
    noted: Option<(u64, u64)>,
}

impl Claims {
    /// A node says that it leads in a term, or does not. What is to be noted, if another leads now than before.
    fn said(&mut self, node: u64, term: Option<u64>) -> Option<What> {
        match term {
            Some(term) => self.terms.insert(node, term),
            None => self.terms.remove(&node),
        };
        let newest = self.newest();
        if newest == self.noted {
            return None;
        }
        let (_, last) = self.noted.unwrap_or_default();
        self.noted = newest;
        Some(What::Leader { node: newest.map(|(node, _)| node), term: newest.map_or(last, |(_, term)| term) })
    }

    /// The node of the highest term, and the term.
    fn newest(&self) -> Option<(u64, u64)> {
        self.terms.iter().map(|(node, term)| (*node, *term)).max_by_key(|(_, term)| *term)
    }
}

impl Leaders {
    /// Begins to ask these nodes, and notes who leads.
    pub(super) fn watch(nodes: &[Api], clock: &Arc<Recorder>, incidents: &Arc<Log>) -> Self {
        let claims = Arc::new(Mutex::new(Claims::default()));
        let ask = |(node, api): (u64, &Api)| {
            let (api, claims) = (api.clone(), Arc::clone(&claims));
            let (clock, incidents) = (Arc::clone(clock), Arc::clone(incidents));
            async move {
                loop {
                    let term = term_if_it_leads(&api).await;
                    note(&claims, &incidents, &clock, node, term);
                    wait::pace(PAUSE).await;
                }
            }
        };
        let tasks = (1..).zip(nodes).map(ask).collect();
        Self { claims, _tasks: tasks }
    }

    /// Who leads, if somebody says so.
    pub(super) fn now(&self) -> Option<u64> {
        self.claims.lock().expect("no holder panics").newest().map(|(node, _)| node)
    }
}

fn note(claims: &Mutex<Claims>, incidents: &Log, clock: &Recorder, node: u64, term: Option<u64>) {
    // Held until it is noted, so that what is noted is in order.
    let mut claims = claims.lock().expect("no holder panics");
    if let Some(what) = claims.said(node, term) {
        incidents.note(clock.now_ns(), what).expect("noted");
    }
}

async fn term_if_it_leads(node: &Api) -> Option<u64> {
    let metrics = Metrics::said_by(node, SAID_WITHIN).await?;
    (metrics.get("flagraft_raft_role{role=\"leader\"}") == 1).then(|| metrics.get("flagraft_raft_term"))
}
