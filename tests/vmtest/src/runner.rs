// SPDX-License-Identifier: GPL-2.0

//! Runs each test in a child process of its own, and judges it by its exit status and by what the
//! kernel logged meanwhile.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

use crate::kmsg::{self, KernelLog};
use crate::registry::Case;
use crate::system;
use crate::variant::Module;

/// What is needed to run a test, apart from its body: that is run by the child.
struct Job {
    name: String,
    timeout: Duration,
}

#[derive(Default)]
struct Score {
    passed: usize,
    failed: usize,
}

pub fn run(module: Module, jobs: Option<usize>, cases: Vec<Case>) -> Result<ExitCode> {
    if cases.is_empty() {
        bail!("no test has such a name");
    }
    load_modules();
    let cpus = thread::available_parallelism()?.get();
    let (exclusive, parallel): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.exclusive);
    let queue = Mutex::new(parallel.into_iter().map(Job::from).collect::<VecDeque<_>>());
    let score = Mutex::new(Score::default());

    thread::scope(|scope| {
        for worker in 0..jobs.unwrap_or(cpus).max(1) {
            let (queue, score) = (&queue, &score);
            scope.spawn(move || {
                while let Some(job) = pop(queue) {
                    report(score, &job, job.run(module, worker % cpus));
                }
            });
        }
    });
    for job in exclusive.into_iter().map(Job::from) {
        report(&score, &job, job.run(module, 0));
    }

    let score = score.into_inner().expect("no worker panicked");
    println!("{} passed, {} failed", score.passed, score.failed);
    Ok(if score.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads what the first tests would otherwise load all at once, which iptables does not get right:
/// it finds no table whose module another process is just loading. For TUN devices, nothing loads
/// the driver where no udev is there.
fn load_modules() {
    const MODULES: [&str; 8] = [
        "tun",
        "veth",
        "iptable_filter",
        "iptable_raw",
        "ip6table_filter",
        "ip6table_raw",
        "nft_compat",
        "nf_conntrack_netlink",
    ];
    // Where they are built in there is nothing to load; where they are missing, tests say so.
    let _ = system::run("modprobe", &[&["-a", "-q"][..], &MODULES].concat(), "");
}

fn pop(queue: &Mutex<VecDeque<Job>>) -> Option<Job> {
    queue.lock().expect("no worker panicked").pop_front()
}

/// Prints under the lock, so that the lines of two tests do not mix.
fn report(score: &Mutex<Score>, job: &Job, outcome: Result<Outcome>) {
    let mut score = score.lock().expect("no worker panicked");
    match outcome {
        Ok(Outcome {
            why: None, took, ..
        }) => {
            score.passed += 1;
            println!("ok {} ({:.1} s)", job.name, took.as_secs_f32());
        }
        Ok(Outcome {
            why: Some(why),
            log,
            ..
        }) => {
            score.failed += 1;
            println!("FAILED {}: {why}", job.name);
            for line in log {
                println!("    {line}");
            }
        }
        Err(error) => {
            score.failed += 1;
            println!("FAILED {}: {error:#}", job.name);
        }
    }
}

struct Outcome {
    why: Option<String>,
    took: Duration,
    /// What the kernel logged since the test began.
    log: Vec<String>,
}

impl From<Case> for Job {
    fn from(case: Case) -> Self {
        Job {
            name: case.name,
            timeout: case.timeout,
        }
    }
}

impl Job {
    fn run(&self, module: Module, cpu: usize) -> Result<Outcome> {
        let mut kernel_log = KernelLog::from_now()?;
        let start = Instant::now();
        let mut child = Command::new("/proc/self/exe")
            .args(["child", "--match", module.option(), "--cpu"])
            .arg(cpu.to_string())
            .arg(&self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start a child process")?;
        let ended = child.wait_timeout(self.timeout)?;
        let took = start.elapsed();
        end_group(&mut child)?;

        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let log = kernel_log.read()?;
        let why = match ended {
            None => Some(format!("no end after {} s", self.timeout.as_secs())),
            Some(status) if !status.success() => Some(format!("{}{said}", signal(status))),
            Some(_) => log
                .iter()
                .find(|line| kmsg::is_complaint(line))
                .map(|line| format!("the kernel complained: {line}")),
        };
        Ok(Outcome {
            why: why.map(|why| why.trim_end().to_owned()),
            took,
            log,
        })
    }
}

/// Ends what the test may have left behind; a straggler would hold our end of the pipe, too.
fn end_group(child: &mut Child) -> Result<()> {
    let group = Pid::from_raw(child.id().try_into()?);
    // ESRCH, nothing left to end, is the rule.
    let _ = killpg(group, Signal::SIGKILL);
    child.wait()?;
    Ok(())
}

fn signal(status: ExitStatus) -> String {
    status
        .signal()
        .map_or(String::new(), |signal| format!("signal {signal} "))
}
