// SPDX-License-Identifier: GPL-2.0

//! One test in a process of its own, judged by its exit status and by what the kernel logged
//! meanwhile.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{dup2_stderr, dup2_stdout, fork, pipe2, setpgid, ForkResult, Pid};

use crate::kmsg::{self, KernelLog};
use crate::net::netns;
use crate::registry::Case;
use crate::system;
use crate::variant::Module;

pub struct Child {
    name: String,
    timeout: Duration,
    pid: Pid,
    started: Instant,
    kernel_log: KernelLog,
    /// What the test writes; gone once the test is.
    output: Option<File>,
    said: Vec<u8>,
}

pub struct Outcome {
    pub name: String,
    /// Nothing, where the test passed.
    pub why: Option<String>,
    pub took: Duration,
    /// What it had to say.
    pub said: String,
    /// What the kernel logged since the test began.
    pub log: Vec<String>,
}

impl Child {
    pub fn start(case: &Case, module: Module, cpu: usize) -> Result<Self> {
        let kernel_log = KernelLog::from_now()?;
        let (output, input) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // SAFETY: this process has one thread only, so the child may do whatever we may. It does
        // not return from here.
        let pid = match unsafe { fork() }.context("fork")? {
            ForkResult::Child => std::process::exit(run(case, module, cpu, input)),
            ForkResult::Parent { child } => child,
        };
        Ok(Self {
            name: case.name.clone(),
            timeout: case.timeout,
            pid,
            started: Instant::now(),
            kernel_log,
            output: Some(output.into()),
            said: Vec::new(),
        })
    }

    /// What came of it, once it has ended or its time is up.
    pub fn outcome(&mut self) -> Result<Option<Outcome>> {
        self.listen()?;
        let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG))?;
        let took = self.started.elapsed();
        let why = match status {
            WaitStatus::StillAlive if took < self.timeout => return Ok(None),
            WaitStatus::StillAlive => Some(format!("no end after {} s", self.timeout.as_secs())),
            WaitStatus::Exited(_, 0) => None,
            WaitStatus::Exited(..) => Some(String::new()),
            other => Some(format!("{other:?} ")),
        };
        // What the test has started ends with it. Most leave nothing behind: ESRCH.
        let _ = killpg(self.pid, Signal::SIGKILL);
        if status == WaitStatus::StillAlive {
            waitpid(self.pid, None)?;
        }
        self.listen()?;
        let log = self.kernel_log.read()?;
        let said = String::from_utf8_lossy(&self.said).trim_end().to_owned();
        let why = match why {
            Some(why) => Some(format!("{why}{said}")),
            None => log
                .iter()
                .find(|line| kmsg::is_complaint(line))
                .map(|line| format!("the kernel complained: {line}")),
        };
        Ok(Some(Outcome {
            name: self.name.clone(),
            why,
            took,
            said,
            log,
        }))
    }

    fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }

    /// Takes in what the test has written by now.
    fn listen(&mut self) -> Result<()> {
        while let Some(output) = &mut self.output {
            let mut buffer = [0; 4096];
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(length) => self.said.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Waits until one of them writes or ends, or its time is up.
pub fn wait_for_news(children: &[&Child]) -> Result<()> {
    /// How soon to look again at one that has closed its output, but not ended yet.
    const SOON: Duration = Duration::from_millis(3);
    let outputs: Vec<&File> = children.iter().filter_map(|c| c.output.as_ref()).collect();
    let patience = if outputs.len() < children.len() {
        SOON
    } else {
        let left = children.iter().map(|child| child.time_left()).min();
        left.unwrap_or_default() + SOON
    };
    let mut waiting: Vec<PollFd> = outputs
        .iter()
        .map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN))
        .collect();
    poll(&mut waiting, PollTimeout::try_from(patience)?)?;
    Ok(())
}

/// The life of the child; returns its exit status.
fn run(case: &Case, module: Module, cpu: usize, output: OwnedFd) -> i32 {
    let prepare = || -> Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        dup2_stdout(&output)?;
        dup2_stderr(&output)?;
        system::pin_to_cpu(cpu)?;
        netns::unshare()
    };
    match prepare().and_then(|()| (case.body)(module)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    }
}
