//! Talks to a nemo-bridge sidecar over its event bus: emits events, calls integrations, follows messages and health.
//!
//! ```no_run
//! use nemo_bridge_client::{CallOptions, Client, Settings};
//! use serde_json::json;
//!
//! let client = Client::connect(Settings::from_env()?)?;
//! let order = json!({"method": "orders.get", "params": {"id": 7}});
//! let response = client.call("shop", "request", order, CallOptions::default())?;
//! println!("{}", response.result);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! - **It never blocks**, apart from the methods whose names say that they wait ([`Client::call`], `wait`, `recv`). It
//!   connects in the background, and again after each loss.
//! - **Events** wait while there is no connection, 100,000 of them and 64 MiB. With more, emitting fails. Those that were
//!   written to a connection that is lost may be lost with it, as on every ZeroMQ bus.
//! - **Calls** close that gap: a command has an idempotency key, and is sent again until it is answered or its time is up.
//!   The bridge runs it once. [`CallOptions::once`] is for commands that must not be repeated.
//! - **Subscriptions** never slow the bus or each other down. What a program does not receive in time is dropped, oldest
//!   first, and the program is told how many events it has missed ([`RecvError::Missed`]).
//! - **What the bridge has said is never sent back to it.** An event that was read from the bus, or that has a bridge as
//!   its source, is refused ([`EmitError`]).
//!
//! Five threads do the work: one that reads and one that writes for each of the two connections, and a timer. No async
//! runtime is needed; within one, use `spawn_blocking` for what waits, or [`Client::call_then`].
//!
//! # ZeroMQ
//!
//! The crate contains its own small ZMTP client (ZeroMQ RFCs 23, 26 and 37), for one PUB and one SUB that connect:
//!
//! - Bindings of libzmq on crates.io build it without CURVE, which a closed bus needs, and take a C++ compiler.
//! - The pure implementations lack CURVE, or bring an async runtime and some hundred other crates into whatever loads
//!   this one.
//! - Every ZeroMQ socket drops messages beyond its high-water mark without a word. Here, emitting fails and a
//!   subscription tells what was missed.
//!
//! CURVE's cryptography is that of the crate `crypto_box`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bytes;
mod call;
mod client;
pub mod contract;
mod curve;
mod endpoint;
mod errors;
mod event;
mod filter;
mod health;
mod inbox;
mod lane;
mod link;
mod notice;
mod random;
mod settings;
mod subscription;
mod sync;
mod zmtp;

pub use bytes::{BYTES_KEY, bytes_from_value, bytes_to_value};
pub use call::{CallError, CallOptions, Failure, PendingCall, Response};
pub use client::{Client, LinkState, State};
pub use contract::{ErrorKind, ErrorObject};
pub use curve::Curve;
pub use errors::{EmitError, InvalidError, RecvError, SetupError};
pub use event::Event;
pub use filter::Filter;
pub use health::{Health, HealthStream, LOST};
pub use notice::Notice;
pub use settings::Settings;
pub use subscription::Subscription;
