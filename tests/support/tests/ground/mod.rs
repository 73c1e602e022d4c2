//! What both suites stand on: installed programs, the simulators' program, a data folder. Invariant: nothing is installed twice.
#![allow(dead_code, unreachable_pub, reason = "each suite uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use swiftcart_support::tools::{Installed, Progress, Tools, Wanted};
use swiftcart_support::{Lifetime, Place};

pub static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    Tools::new(Progress::new(|sentence| println!("{sentence}")))
        .unwrap()
        .install(Wanted { registry: true, ..Wanted::ALL })
        .unwrap()
});

/// The simulators' program: the one that `SWIFTCART_SIM_BINARY` names, else built by the same cargo with the same profile.
pub fn sim_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SWIFTCART_SIM_BINARY") {
        return named.into();
    }
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "-p", "swiftcart-sim"])
            .status()
            .unwrap();
        assert!(built.success());
        // target/release/deps/<this test>
        std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("release/swiftcart-sim")
    });
    BUILT.clone()
}

pub fn place(folder: &Path) -> Place {
    Place::open(folder, Lifetime::WithParent).unwrap()
}

pub fn report(what: &str, since: Instant) {
    println!("{what}: {:.2} s", since.elapsed().as_secs_f64());
}
