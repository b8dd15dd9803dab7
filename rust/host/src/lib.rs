//! Loads the plugin as a Nemo application does, without a screen: for tests, and to try the plugin without Nemo.
//!
//! ```no_run
//! use nemo_bridge_host::{Application, Plugin};
//!
//! let application = Application::new(&[]);
//! let plugin = Plugin::load(&nemo_bridge_host::built_plugin()?)?;
//! plugin.start(&application)?;
//! # Ok::<(), String>(())
//! ```

mod application;
mod plugin;
mod processes;
mod repository;

pub use application::{Application, Bindings};
pub use plugin::{Plugin, built_plugin};
pub use processes::{Broker, Folder, Programs, Service, Sidecar};
pub use repository::Repository;
