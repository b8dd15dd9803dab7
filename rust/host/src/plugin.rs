//! Loads a plugin's library and calls its two functions, in the order in which Nemo does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::Library;
use nemo_plugin_api::{PluginContext, PluginEntryFn, PluginManifest};

use crate::application::{Application, Registrar};

/// Hold a loaded plugin. Dropping it closes the library, as Nemo does when it ends or loads a project again.
pub struct Plugin {
    library: Library,
    /// What the plugin says of itself.
    pub manifest: PluginManifest,
}

impl Plugin {
    /// Load a library and read its manifest.
    ///
    /// # Errors
    ///
    /// It is no library, or not that of a plugin; the text says what is missing.
    pub fn load(path: &Path) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}", path.display());
        // SAFETY: The plugin is built in the same workspace, by the same compiler and against the same version of
        // `nemo-plugin-api`, and it does nothing when it is loaded.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        // SAFETY: `declare_plugin!` gives the function this signature.
        let manifest = unsafe {
            library.get::<unsafe extern "C" fn() -> PluginManifest>(b"nemo_plugin_manifest")
        }
        .map_err(failed)?;
        // SAFETY: It has no further conditions.
        let manifest = unsafe { manifest() };
        Ok(Self { library, manifest })
    }

    /// Call the plugin's entry function, on this thread, and return the names that it registers.
    ///
    /// # Errors
    ///
    /// The library has no such function.
    pub fn start(&self, application: &Arc<Application>) -> Result<Vec<String>, String> {
        // SAFETY: `declare_plugin!` gives the function this signature.
        let entry = unsafe { self.library.get::<PluginEntryFn>(b"nemo_plugin_entry") }
            .map_err(|error| error.to_string())?;
        let mut registrar = Registrar {
            context: Arc::clone(application) as Arc<dyn PluginContext>,
            registered: Vec::new(),
        };
        // SAFETY: The registrar lives during the whole call, and the plugin does not panic over it.
        unsafe { entry(&mut registrar) };
        Ok(registrar.registered)
    }
}

/// Return the path of the plugin that cargo has built together with the running program.
///
/// # Errors
///
/// It is not there; the text says where it was looked for.
pub fn built_plugin() -> Result<PathBuf, String> {
    let name = format!(
        "{}nemo_bridge_plugin{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // Tests and examples are in folders of their own, beside or below that of the libraries.
    program
        .ancestors()
        .skip(1)
        .take(2)
        .flat_map(|folder| [folder.join(&name), folder.join("deps").join(&name)])
        .find(|path| path.exists())
        .ok_or_else(|| {
            format!(
                "{name} is not beside {}; `cargo build` makes it",
                program.display()
            )
        })
}
