//! A container unit's command line: `pisup container-run` with everything filled in.

use std::path::Path;

use super::launch::Values;
use crate::config::plan::{self, Container, Text, Unit};
use crate::wire::container::{ContainerArgs, Pull, Spec};

/// SIGTERM, which every image knows; another one is passed on.
const TERM: i32 = 15;

/// Program and arguments of the small process that owns the container.
///
/// # Errors
///
/// A sentence that names the value that is missing.
pub fn argv(
    unit: &Unit,
    container: &Container,
    values: Values<'_>,
    own_program: &Path,
    run: &Path,
) -> Result<Vec<String>, String> {
    let fill = |text: &Option<Text>| text.as_ref().map(|text| values.fill(text)).transpose();
    let mut env = Vec::new();
    for (key, text) in &container.env {
        env.push((key.clone(), values.fill(text)?));
    }
    let args = ContainerArgs {
        engine: values.fill(&container.engine)?,
        spec: Spec {
            image: values.fill(&container.image)?,
            name: values.fill(&container.name)?,
            unit: unit.spec.name.clone(),
            run: run.display().to_string(),
            network: fill(&container.network)?,
            is_privileged: container.privileged,
            pid: container.pid.clone(),
            cap_add: container.cap_add.clone(),
            volumes: values.fill_all(&container.volumes)?,
            devices: values.fill_all(&container.devices)?,
            env,
            user: fill(&container.user)?,
            workdir: fill(&container.workdir)?,
            stop_signal: (unit.stop.signal != TERM).then(|| unit.stop.signal.to_string()),
            command: values.fill_all(&container.command)?,
        },
        pull: match container.pull {
            plan::Pull::Missing => Pull::Missing,
            plan::Pull::Never => Pull::Never,
            plan::Pull::Always => Pull::Always,
        },
        pull_timeout_ms: container.pull_timeout_ms,
        // The engine has to be done before this process is killed, or the container outlives it.
        stop_timeout_ms: unit.spec.stop.timeout_ms.map(|ms| ms / 5 * 4),
        is_fresh: false,
    };
    let mut argv = vec![own_program.display().to_string()];
    argv.extend(args.to_argv());
    Ok(argv)
}
