//! Calls a method of an integration: `cargo run --example call -- shop orders.get '{"id": 7}'`.

#![allow(clippy::print_stdout)]

use std::env;
use std::error::Error;

use nemo_bridge_client::{CallOptions, Client, Settings};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(integration), Some(method)) = (arguments.next(), arguments.next()) else {
        return Err("write: call INTEGRATION METHOD [PARAMS]".into());
    };
    let mut payload = json!({"method": method});
    if let Some(params) = arguments.next() {
        payload["params"] = serde_json::from_str::<Value>(&params)?;
    }
    let client = Client::connect(Settings::from_env()?)?;
    let response = client.call(&integration, "request", payload, CallOptions::default())?;
    println!("{}", response.result);
    Ok(())
}
