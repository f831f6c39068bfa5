//! The role of this process: the program that the user started, the scene, or one of the scene's
//! servers. Environment variables give it. A check of the namespaces confirms it, so that a rig is
//! never made in the machine's own network.

use std::{env, fs, path::PathBuf, process::Command};

use crate::Error;

/// If this is set to `require`, a scene fails where no rig can be made.
pub(crate) const POLICY: &str = "MILLPOND_RIG";
const ROLE: &str = "MILLPOND_RIG_ROLE";
const SCENE: &str = "MILLPOND_RIG_SCENE";
const OUTSIDE: &str = "MILLPOND_RIG_OUTSIDE";
const ARGUMENTS: &str = "MILLPOND_RIG_ARGUMENTS";
const SEPARATOR: &str = "\u{1f}";

/// What this process is, as seen from one scene.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The program that the user started.
    Outside,
    /// The scene itself, in the client side.
    Scene,
    /// One of its servers.
    Server {
        name: String,
        arguments: Vec<String>,
    },
}

impl Role {
    /// The role of this process in the scene of this name.
    ///
    /// # Panics
    ///
    /// If the environment says that this process is in a rig, and it isn't, or if the rig is that
    /// of another scene.
    pub(crate) fn of_this_process(scene: &str) -> Role {
        let Ok(role) = env::var(ROLE) else {
            return Role::Outside;
        };
        let asked = env::var(SCENE).unwrap_or_default();
        assert!(
            asked == scene,
            "the scene {scene:?} was reached in a process that was started for the scene {asked:?}"
        );
        let outside = env::var(OUTSIDE).unwrap_or_default();
        let here = namespaces().expect("/proc shows a process its namespaces");
        let (outside, here) = (outside.split(' '), here.split(' '));
        let differ =
            outside.clone().count() == 2 && outside.zip(here).all(|(there, here)| there != here);
        assert!(
            differ,
            "{ROLE} is set, but these aren't namespaces of a rig's own; unset {ROLE}"
        );
        if role == "scene" {
            return Role::Scene;
        }
        let arguments = env::var(ARGUMENTS).unwrap_or_default();
        Role::Server {
            name: role.trim_start_matches("server:").to_owned(),
            arguments: arguments
                .split(SEPARATOR)
                .filter(|argument| !argument.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Sets the environment of a process that will be this scene, in new namespaces.
    pub(crate) fn scene(command: &mut Command, scene: &str) -> Result<(), Error> {
        command
            .env(ROLE, "scene")
            .env(SCENE, scene)
            .env(OUTSIDE, namespaces()?);
        Ok(())
    }

    /// Sets the environment of a process that will be one of this scene's servers.
    pub(crate) fn server(command: &mut Command, name: &str, arguments: &[&str]) {
        command
            .env(ROLE, format!("server:{name}"))
            .env(ARGUMENTS, arguments.join(SEPARATOR));
    }
}

/// The network and mount namespaces of this process, as the kernel names them.
fn namespaces() -> Result<String, Error> {
    let name = |path: &str| -> Result<PathBuf, Error> {
        fs::read_link(path).map_err(|error| Error::io(format!("read {path}"), error))
    };
    let (net, mnt) = (name("/proc/self/ns/net")?, name("/proc/self/ns/mnt")?);
    Ok(format!("{} {}", net.display(), mnt.display()))
}
