//! Flagraft's client: flags evaluated in the process that asks, in nanoseconds, by the same engine that the nodes use.
//!
//! A [`Client`] holds a copy of the definitions of one environment and keeps it up from any node of the cluster. It answers
//! from that copy, whatever becomes of nodes and networks, and says how old the copy is. What it promises of each answer is
//! in the repository's `docs/client.md`.
//!
//! ```no_run
//! use flagraft_client::{Client, Context};
//!
//! # async fn shop() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .endpoint("http://10.0.0.1:7401")
//!     .endpoint("http://10.0.0.2:7401")
//!     .token(std::env::var("FLAGRAFT_TOKEN")?)
//!     .copies_in("/var/lib/shop/flags")
//!     .start()
//!     .await?;
//! client.ready(std::time::Duration::from_secs(5)).await;
//!
//! let user = Context::of("user-17").with("country", "DE");
//! if client.bool_value("checkout-v2", &user, false) {
//!     // ...
//! }
//! client.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! There is no global state: two clients in one process know nothing of each other. All that a client runs ends with
//! [`Client::shutdown`], or with its last handle.
//!
//! With the feature `admin` there is the management API too: the module `admin`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

// What a service calls.
#[cfg(feature = "admin")]
pub mod admin;
mod builder;
mod changes;
mod client;
mod clock;
mod context;
mod details;
mod observer;
#[cfg(feature = "openfeature")]
pub mod openfeature;
mod reader;
mod status;
mod value;
mod view;

// How an answer is made.
mod answer;
mod decide;
mod held;
mod remote;

// What is told of it.
mod books;
mod reporter;
mod tally;

// How the copy is kept up.
mod disk;
mod endpoints;
mod fault;
mod hedge;
mod place;
mod prober;
mod saver;
mod settings;
mod shared;
mod snapshot;
mod sse;
mod stream;
mod transport;
mod updater;

pub use self::{
    builder::{Builder, StartError},
    changes::{Change, Changed, Changes},
    client::Client,
    clock::{Clock, SystemClock},
    context::Context,
    details::{Consistency, Details, ErrorCode, EvaluationFault, Reason, Source},
    observer::{Observer, Request},
    reader::Reader,
    remote::Unconfirmed,
    status::Status,
    view::View,
};
