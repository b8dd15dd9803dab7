//! Prints the state of each bridge and integration, and every change: `cargo run --example health`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;

use nemo_bridge_client::{Client, RecvError, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(Settings::from_env()?)?;
    let mut health = client.health();
    loop {
        match health.recv() {
            Ok(state) => println!(
                "{}: {} {}",
                state.id,
                state.status,
                state.error.unwrap_or_default()
            ),
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => eprintln!("{error}"),
        }
    }
}
