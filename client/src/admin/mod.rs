//! The management API, typed: what the command line is made of, and deployers, operators and tests of one's own.
//!
//! ```no_run
//! use flagraft_client::admin::{AdminClient, AdminErrorKind, Why, flags, requests};
//!
//! # async fn release() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = AdminClient::builder()
//!     .endpoint("http://10.0.0.1:7401")
//!     .endpoint("http://10.0.0.2:7401")
//!     .token(std::env::var("FLAGRAFT_ADMIN_TOKEN")?)
//!     .build()?;
//!
//! let call = flags::enable("shop", "checkout-v2", "production", Why::new("launch").ticket("OPS-812"));
//! match admin.send(&call).await {
//!     Ok(answer) => println!("on since revision {}", answer.read()?.revision),
//!     // Sending the same call again is the same request: it happens once. Or ask what became of it.
//!     Err(error) if error.kind() == AdminErrorKind::OutcomeUnknown => {
//!         let asked = requests::get(call.idempotency_key().unwrap_or_default());
//!         println!("{:?}", admin.send(&asked).await?.read()?.outcome);
//!     }
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - A **call** is a value: [`flags::enable`] and its like make a [`Call`], and [`AdminClient::send`] makes it happen. So what
//!   a call may say beside its own arguments (its `Idempotency-Key`, a condition, how new a read has to be) is said the same way
//!   of every call, is not forgotten when it is repeated, and is tested without a node. A method of the client for each call,
//!   with each of these as a further argument or builder, says no more.
//! - An **answer** is the JSON that came, with its type: [`Answer::json`] is passed on with all that a later node says, and
//!   [`Answer::read`] is for who decides by it. A node of a later version makes no command fail that only shows what it says.
//!   In the other direction [`AsJson`] takes a type of [`flagraft_core`], or JSON that is sent as it is.
//! - A **list** is collected: [`AdminClient::list`] reads all pages. Catalogs are bounded; the audit log is not, and comes as a
//!   stream ([`AdminClient::records`]), as does a backup ([`AdminClient::download`]).
//! - **Endpoints** are asked in order, the one that answered last first. One that can't be reached, breaks off or answers 503 is
//!   followed by the next. Where nothing but 503 comes back, for a leader is being elected, the round is repeated for some
//!   seconds. A write keeps its `Idempotency-Key` over all of that.
//! - An **error** is an [`AdminError`]. A write that may have been entered is [`AdminErrorKind::OutcomeUnknown`], whatever other
//!   nodes said afterwards; [`AdminErrorKind::Unavailable`] means that nothing has changed.
//!
//! What has no call here, such as an evaluation, is called by [`Call::get`] and its like.

mod answer;
mod builder;
mod call;
mod change;
mod client;
mod download;
mod error;
mod json;
mod nesting;
mod rounds;
mod secret;
mod stored;
mod why;

pub mod audit;
pub mod cluster;
pub mod environments;
pub mod explanations;
pub mod flags;
pub mod projects;
pub mod requests;
pub mod retention;
pub mod segments;
pub mod tokens;

/// What the documentation shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/client.md")]
struct Documentation;

pub use self::{
    answer::{Answer, Lines, Page},
    builder::AdminBuilder,
    call::Call,
    change::{Change, Receipt},
    client::AdminClient,
    download::{Download, File},
    error::{AdminError, AdminErrorKind},
    json::AsJson,
    secret::Secret,
    stored::{SegmentSystem, Stored, StoredEnvironment, StoredFlag, StoredProject, StoredSegment, Written},
    why::Why,
};
