//! Flagraft's client, as a service links it: it holds a copy of the definitions, which came from a file here, and no node
//! is there.

use std::{cell::RefCell, fs, time::Duration};

use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag, User, document::put},
};
use flagraft_bench_eval::catalog::{Catalog, PROJECT};
use flagraft_client::{Client, Context, Reader};
use flagraft_core::feed::encode::snapshot;
use tokio::runtime::Runtime;

use super::{Engine, flagraft::ENVIRONMENT};

/// Operations of one change.
const BATCH: usize = 100;

/// Each evaluation asks the client, which looks whether there is a newer copy.
pub struct Linked {
    client: Client,
    _runtime: Runtime,
}

/// Each evaluation asks the client's reader of this thread.
pub struct Read {
    reader: RefCell<Reader>,
    _linked: Linked,
}

impl Engine for Linked {
    const NAME: &'static str = "Flagraft's client";
    type Context = Context;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        let mut catalog = Catalog::new(&[ENVIRONMENT]);
        for flags in flags.chunks(BATCH) {
            catalog.must(flags.iter().map(|flag| put(flag, ENVIRONMENT)).collect());
        }
        let definitions = snapshot(&catalog.state, PROJECT, ENVIRONMENT);
        let definitions = definitions.ok_or_else(|| Failure("there is no environment".to_owned()))?;
        let file = std::env::temp_dir().join(format!("flagraft-bench-{}.json", std::process::id()));
        fs::write(&file, serde_json::to_vec(&definitions)?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let started = runtime.block_on(async {
            // Nobody listens there, and it is asked seldom.
            let client =
                Client::builder().endpoint("http://127.0.0.1:9").token("fr_svc_bench").bootstrap(&file);
            client.backoff_min(Duration::from_secs(3600)).backoff_max(Duration::from_secs(3600)).start().await
        });
        fs::remove_file(&file)?;
        let client = started.map_err(|error| Failure(error.to_string()))?;
        Ok(Self { client, _runtime: runtime })
    }

    fn context(user: &User) -> Result<Context, Failure> {
        let context = Context::of(&user.key).with("country", user.country.as_str());
        Ok(context.with("plan", user.plan.as_str()).with("version", user.version.as_str()))
    }

    fn is_on(&self, key: &str, context: &Context) -> bool {
        self.client.bool_value(key, context, false)
    }
}

impl Engine for Read {
    const NAME: &'static str = "Flagraft's client, a reader of the thread";
    type Context = Context;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        let linked = Linked::load(flags)?;
        Ok(Self { reader: RefCell::new(linked.client.reader()), _linked: linked })
    }

    fn context(user: &User) -> Result<Context, Failure> {
        Linked::context(user)
    }

    fn is_on(&self, key: &str, context: &Context) -> bool {
        self.reader.borrow_mut().now().bool_value(key, context, false)
    }
}
