//! Keeps the library in memory for as long as the process lives.
//!
//! Nemo closes a plugin's library when it loads a project again and when it ends, while the plugin's threads still run.
//! Without this mark, their code would be gone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // macOS keeps a library with thread-local variables loaded by itself, and Rust's standard library has some.
    let has_flag = [
        "linux",
        "android",
        "freebsd",
        "netbsd",
        "openbsd",
        "dragonfly",
    ];
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| has_flag.contains(&os.as_str())) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
