//! Prints the events that match a pattern: `cargo run --example listen -- 'order.**'`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;

use nemo_bridge_client::{Client, Filter, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let pattern = env::args().nth(1).unwrap_or_else(|| "**".to_owned());
    let client = Client::connect(Settings::from_env()?.on_notice(|notice| eprintln!("{notice}")))?;
    for received in client.subscribe(Filter::parse(&pattern)?).iter() {
        match received {
            Ok(event) => println!("{} {}", event.event_type, event.payload),
            Err(missed) => eprintln!("{missed}"),
        }
    }
    Ok(())
}
