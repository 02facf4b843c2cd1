//! SIGKILL to some nodes at once; they are started again when it ends.

use std::path::Path;

use super::{Ground, Wrong};

pub(super) struct Kill {
    nodes: Vec<u64>,
    pids: Vec<u32>,
}

impl Kill {
    pub(super) fn of(nodes: Vec<u64>) -> Self {
        Self { nodes, pids: Vec::new() }
    }
}

impl Wrong for Kill {
    fn begin(&mut self, ground: &mut Ground) {
        self.pids = ground.kill(&self.nodes);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let gone = self.pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        let refused = self.nodes.iter().all(|node| ground.is_refused(*node));
        (gone && refused).then(|| format!("no process {:?} any more, and connections are refused", self.pids))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.nodes.iter().for_each(|node| ground.start(*node));
    }
}
