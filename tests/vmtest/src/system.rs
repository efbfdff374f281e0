// SPDX-License-Identifier: GPL-2.0

//! Programs, CPUs, the clock.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::time::{clock_getres, clock_gettime, ClockId};
use nix::unistd::{sysconf, Pid, SysconfVar};

/// The time from one tick to the next: 4 ms in Debian's kernels, 10 ms in the debug kernel.
pub fn jiffy() -> Result<Duration> {
    Ok(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?.into())
}

/// Pins this thread. Packets written to a TUN device or to `lo` are then processed on this CPU,
/// before the write returns.
pub fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Lets this thread, and what it starts, run on any CPU again.
pub fn release_cpu() -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in 0..cpus()? {
        set.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
}

/// How many CPUs there are, whichever this thread may run on.
pub fn cpus() -> Result<usize> {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(online.context("no number of CPUs")?.try_into()?)
}

/// Runs `work` on one CPU, and then at once on another, or the same. Returns whether both runs lay
/// within one jiffy, as far as can be told from here.
pub fn in_turn_within_one_jiffy(
    cpus: [usize; 2],
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<bool> {
    if cpus[0] == cpus[1] {
        pin_to_cpu(cpus[0])?;
        let window = Window::open()?;
        work(0)?;
        work(1)?;
        return window.holds();
    }
    let first_is_done = AtomicBool::new(false);
    let [window, end] = on_cpus_at_once(cpus, |number| {
        if number == 0 {
            let window = Window::open();
            let result = work(0);
            first_is_done.store(true, Ordering::Release);
            result.and(window).map(Some)
        } else {
            while !first_is_done.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            work(1).and(Ok(None))
        }
    })?;
    match window.or(end) {
        Some(window) => window.holds(),
        None => bail!("neither thread was the first"),
    }
}

/// The time right after a tick.
struct Window {
    tick: Duration,
    opened: Instant,
}

impl Window {
    fn open() -> Result<Self> {
        let before = last_tick()?;
        loop {
            let tick = last_tick()?;
            if tick != before {
                let opened = Instant::now();
                return Ok(Self { tick, opened });
            }
            std::hint::spin_loop();
        }
    }

    /// The clock may miss a tick that jiffies do not, hence the limit.
    fn holds(&self) -> Result<bool> {
        Ok(self.opened.elapsed() < jiffy()? / 2 && last_tick()? == self.tick)
    }
}

/// Runs `work` in two threads, on the CPUs given, at the same time.
pub fn on_cpus_at_once<T: Send>(
    cpus: [usize; 2],
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<[T; 2]> {
    let ready = Barrier::new(2);
    let one = |number: usize| {
        let pinned = pin_to_cpu(cpus[number]);
        ready.wait();
        pinned.and_then(|()| work(number))
    };
    thread::scope(|scope| {
        let second = scope.spawn(|| one(1));
        let first = scope.spawn(|| one(0)).join();
        match (first, second.join()) {
            (Ok(first), Ok(second)) => Ok([first?, second?]),
            _ => bail!("a thread panicked"),
        }
    })
}

/// The time of the last tick: it moves together with jiffies.
pub fn last_tick() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?.into())
}

/// Waits until what may be stale by a jiffy or two, or by a grace period of RCU, by design, is not any
/// more.
pub fn settle() -> Result<()> {
    let jiffy = jiffy()?;
    let start = last_tick()?;
    while last_tick()? < start + 3 * jiffy {
        thread::sleep(jiffy);
    }
    wait_for_grace_period()
}

/// Waits for a grace period of RCU. On a machine with one CPU there is nothing to wait for: it has
/// handled all packets that it has begun to.
fn wait_for_grace_period() -> Result<()> {
    // SAFETY: This command takes nothing but its number, and no flags.
    let status = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    Errno::result(status).context("membarrier")?;
    Ok(())
}

/// How many times as long as usual whatever happens may take.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

pub fn be_patient(times: u32) {
    PATIENCE.store(times, Ordering::Relaxed);
}

/// So long, or longer where everything takes longer.
pub fn patience(usual: Duration) -> Duration {
    usual * PATIENCE.load(Ordering::Relaxed)
}

/// Polls until `done` says so.
pub fn wait_until(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    const USUAL: Duration = Duration::from_secs(8);
    wait_for(USUAL, what, done)
}

/// The same with another [`patience`].
pub fn wait_for(usual: Duration, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        ensure!(
            start.elapsed() < patience(usual),
            "waited in vain until {what}"
        );
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Runs a program to its end and returns what it wrote to its standard output.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    run_with_env(program, arguments, input, &[])
}

pub fn run_with_env(
    program: &str,
    arguments: &[&str],
    input: &str,
    environment: &[(&str, &str)],
) -> Result<String> {
    let (output, written) = finish(program, arguments, input, environment)?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}, {}\n{input}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    // A program that fails may not have read its input: its own message says more than EPIPE.
    written?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How a program ended, whether well or not, and whether it has taken its input.
pub fn finish(
    program: &str,
    arguments: &[&str],
    input: &str,
    environment: &[(&str, &str)],
) -> Result<(Output, io::Result<()>)> {
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let written = child
        .stdin
        .take()
        .context("no pipe")?
        .write_all(input.as_bytes());
    Ok((child.wait_with_output()?, written))
}
