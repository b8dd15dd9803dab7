//! Talks to a nemo-bridge sidecar over its event bus.

#![forbid(unsafe_code)]
