//! A plugin for Nemo applications that joins the event bus of a nemo-bridge sidecar.
//!
//! It works between two places. On the one side is the application's data repository, whose paths the user interface is
//! bound to and handlers read and write. On the other side is the bus, where the bridge answers commands and says what
//! comes from outside.
//!
//! | path | who writes | what |
//! | --- | --- | --- |
//! | `data.bridge.<type>` | plugin | the last payload of each event type, dots nest |
//! | `data.bridge.health.<id>` | plugin | the state of an integration, or of the `bridge`; of a fabric `fabric.<fabric>` and `node.<node>` |
//! | `data.bridge.call`, `data.bridge.emit` | application | a call, or an event for the bus; `Null` once it was taken |
//! | `data.bridge.queue` | application | calls and events with numbers, of which none is lost |
//! | `data.bridge.taken` | plugin | the number of the last one that was taken from the queue |
//! | `data.bridge.answers.<id>` | plugin | the answers to calls that name no other place |
//! | `data.bridge.rejected` | plugin | what did not go out, and why |
//!
//! The page `docs/nemo.md` of the project explains how to use it.
//!
//! The plugin has one thread, and the client has its own. Nothing runs on the application's thread but
//! `nemo_plugin_entry`, which starts them and returns.

// The macro that declares a plugin marks two functions as `no_mangle`, which counts as unsafe code.
#![deny(unsafe_code)]

mod answers;
mod bus;
mod entry;
mod landing;
mod outbox;
mod path;
mod reports;
mod session;
mod settings;
mod value;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use nemo_plugin_api::{
    Capability, LogLevel, PluginContext, PluginManifest, PluginPermissions, PluginRegistrar,
    declare_plugin,
};

use crate::bus::ClientBus;
use crate::session::Session;
use crate::settings::{PLUGIN_NAME, Settings};

fn manifest() -> PluginManifest {
    let number = |text: &str| text.parse().unwrap_or(0);
    let version = semver::Version::new(
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    );
    let mut manifest = PluginManifest::new(PLUGIN_NAME, "nemo-bridge", version)
        .with_description("Joins the event bus of a nemo-bridge sidecar")
        .with_capability(Capability::DataSource("bridge".to_owned()));
    manifest.permissions = PluginPermissions {
        network: true,
        filesystem: true,
        subprocess: false,
        data_paths: vec!["bridge".to_owned()],
        event_types: Vec::new(),
    };
    manifest
}

/// Start the plugin. It is called on the thread of the user interface, so it waits for nothing.
fn start(registrar: &mut dyn PluginRegistrar) {
    // A panic must not cross the boundary between library and application: that would end the application.
    let started = catch_unwind(AssertUnwindSafe(|| {
        let context = registrar.context_arc();
        let (settings, complaints) = Settings::read(context.get_config("app.plugins").as_ref());
        for complaint in complaints {
            context.log(LogLevel::Warn, &complaint);
        }
        let failure = match ClientBus::join(&settings) {
            Ok(bus) => {
                let mut session = Session::new(bus, settings);
                session.begin(&*context);
                worker::start(context.clone(), session)
                    .err()
                    .map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = failure {
            tell_failure(&*context, &reason);
        }
    }));
    if started.is_err() {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            tell_failure(
                registrar.context(),
                "it has failed in a way that is its own fault",
            );
        }));
    }
}

/// Say in the log, and where a health light looks, that the plugin does not work.
fn tell_failure(context: &dyn PluginContext, reason: &str) {
    context.log(
        LogLevel::Error,
        &format!("the bridge cannot be reached: {reason}"),
    );
    let health = value::object([
        ("status", value::string("failed")),
        ("error", value::object([("message", value::string(reason))])),
    ]);
    let _ = answers::write(
        context,
        landing::with_inner_paths("bridge.health.bridge".to_owned(), health),
    );
}

#[allow(unsafe_code)]
mod library {
    use super::{PluginRegistrar, declare_plugin, manifest, start};

    declare_plugin!(manifest(), |registrar: &mut dyn PluginRegistrar| start(
        registrar
    ));
}
