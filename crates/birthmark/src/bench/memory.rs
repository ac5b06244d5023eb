//! Row `memory`: resident memory of a demo's three services, idle and after a photograph.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Bench;
use super::measure::megabytes;
use super::row::Row;
use crate::terminal::Waiting;

pub(super) const NAME: &str = "memory";

/// Kilobytes of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Resident {
    now: u64,
    peak: u64,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let _waiting = Waiting::new("measuring memory");
    let folder = bench.folder()?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["demo", "--json", "--samples", "0", "--sensor-size"]).arg(bench.options.sensor_size.to_string());
    for port in ["--sma-port", "--aggregator-port", "--node-port", "--p2p-port"] {
        command.args([port, "0"]);
    }
    command.arg("--data").arg(folder.path().join("demo"));
    let mut demo = Demo::start(command)?;
    let measured = watch(&mut demo);
    demo.end()?;
    let (idle, after) = measured?;
    let of = |services: &BTreeMap<String, Resident>, role: &str, what: fn(&Resident) -> u64| {
        services.get(role).map_or(f64::INFINITY, |resident| megabytes(what(resident) * 1024))
    };
    let sum = |what: fn(&Resident) -> u64| ROLES.iter().map(|role| of(&after, role, what)).sum::<f64>();
    let peaks = sum(|resident| resident.peak);
    let [sma, aggregator, node] = ROLES.map(|role| of(&idle, role, |resident| resident.now));
    Ok(Row::new("MB", peaks)
        .at_most("MB, peaks of all services", peaks, 250.0)
        .at_most("sma_idle_mb", sma, 40.0)
        .at_most("aggregator_idle_mb", aggregator, 40.0)
        .at_most("node_idle_mb", node, 120.0)
        .detail("sma_idle_mb", sma)
        .detail("aggregator_idle_mb", aggregator)
        .detail("node_idle_mb", node)
        .detail("after_a_photograph_mb", sum(|resident| resident.now)))
}

/// The services when they are ready, and again when the photograph is verified.
fn watch(demo: &mut Demo) -> anyhow::Result<(BTreeMap<String, Resident>, BTreeMap<String, Resident>)> {
    demo.wait_for("ready")?;
    let idle = services(demo.child.id())?;
    let result = demo.wait_for("result")?;
    anyhow::ensure!(result["verified"] == true, "the demo's photograph was not verified");
    Ok((idle, services(demo.child.id())?))
}

/// A running demo, which stays until it is told to end.
#[derive(Debug)]
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start the demo")?;
        let stdout = child.stdout.take().context("the demo has no output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Reads on until an event; the demo's own time limits bound how long that takes.
    fn wait_for(&mut self, event: &str) -> anyhow::Result<Value> {
        for line in self.lines.by_ref() {
            let value: Value = serde_json::from_str(&line?)?;
            if value["event"] == event {
                return Ok(value);
            }
        }
        anyhow::bail!("the demo ended before its event `{event}`")
    }

    /// Ends it as Ctrl-C would, its services with it.
    fn end(mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

/// The children of a process by their role, which is their first argument.
fn services(parent: u32) -> anyhow::Result<BTreeMap<String, Resident>> {
    let mut found = BTreeMap::new();
    for process in std::fs::read_dir("/proc")? {
        let path = process?.path();
        // Processes come and go while this reads.
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        if field(&status, "PPid:") != Some(parent.into()) {
            continue;
        }
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let role = command.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        let resident = Resident {
            now: field(&status, "VmRSS:").unwrap_or_default(),
            peak: field(&status, "VmHWM:").unwrap_or_default(),
        };
        found.insert(String::from_utf8_lossy(role).into_owned(), resident);
    }
    for role in ROLES {
        anyhow::ensure!(found.get(role).is_some_and(|resident| resident.now > 0), "the demo runs no {role}");
    }
    Ok(found)
}

/// The number after a name at a line's start.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

const ROLES: [&str; 3] = ["sma", "aggregator", "node"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_process_are_read_by_name() {
        let status = "Name:\tnode\nPPid:\t42\nVmHWM:\t  1234 kB\nVmRSS:\t   999 kB\n";
        assert_eq!(field(status, "PPid:"), Some(42));
        assert_eq!(field(status, "VmRSS:"), Some(999));
        assert_eq!(field(status, "VmSwap:"), None);
    }
}
