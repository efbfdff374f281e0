// SPDX-License-Identifier: GPL-2.0

//! Tests of the connlimit match, to be run as root on a machine made for it: they load and unload
//! modules, and change the rules of network namespaces of their own.

mod bench;
mod child;
mod conntrack;
mod conntrack_size;
mod cover;
mod decision;
mod difference;
mod differential;
mod failslab;
mod flow;
mod fuzz;
mod kmemleak;
mod kmsg;
mod lab;
mod module;
mod net;
mod netlink;
mod registry;
mod rules;
mod runner;
mod soak;
mod suites;
mod system;
mod variant;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use bench::Bench;
use fuzz::Fuzzing;
use registry::Case;
use variant::Module;

#[derive(Parser)]
#[command(about = "Tests of the connlimit match", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the names of the tests.
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// Run tests, each in a fresh network namespace.
    Run {
        /// The implementation that is loaded.
        #[arg(long = "match")]
        module: Module,
        /// How many tests to run at once [default: one more than CPUs].
        #[arg(long)]
        jobs: Option<usize>,
        #[command(flatten)]
        selection: Selection,
    },
    /// Print what packets cost in the match, in instructions, as lines of JSON.
    Bench {
        /// The implementation that is loaded.
        #[arg(long = "match")]
        module: Module,
        /// Only whether the cost depends on the number of connections.
        #[arg(long)]
        short: bool,
    },
    /// Replay random histories, and print what was decided. Needs a clock that counts instructions.
    Replay {
        #[command(flatten)]
        histories: Histories,
    },
    /// Compare what `replay` has printed with ours and with in-tree.
    Compare { ours: PathBuf, in_tree: PathBuf },
}

#[derive(Args)]
struct Histories {
    /// The number of the first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many.
    #[arg(long)]
    histories: u64,
}

#[derive(Args)]
struct Selection {
    /// A filter is a whole name, not a part of one.
    #[arg(long)]
    exact: bool,
    /// Take tests in that need minutes, too.
    #[arg(long)]
    slow: bool,
    /// Take tests in that need the debug kernel.
    #[arg(long)]
    debug: bool,
    /// Of each scenario, leave variants out that show no pair of family, front end and transport
    /// that others do not.
    #[arg(long)]
    pairs: bool,
    /// How many times as long tests may take as on Debian's own kernel.
    #[arg(long, default_value_t = 1)]
    patience: u32,
    /// Instead of the tests, have all happen at once for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Leave tests out whose names have no such part.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Leave tests out whose names have this part.
    #[arg(long, value_name = "PART")]
    skip: Vec<String>,
    #[command(flatten)]
    fuzzing: Fuzzing,
    /// Parts of names; with none, all tests.
    filters: Vec<String>,
}

impl Selection {
    fn cases(&self) -> Vec<Case> {
        let mut cases = match self.soak {
            Some(time) => soak::cases(time),
            None => suites::all(self.fuzzing),
        };
        cases.retain(|case| self.takes(case));
        if self.pairs {
            cover::retain(&mut cases);
        }
        system::be_patient(self.patience);
        for case in &mut cases {
            case.timeout *= self.patience;
        }
        cases
    }

    fn takes(&self, case: &Case) -> bool {
        let named = |filter: &String| {
            if self.exact {
                case.name == *filter
            } else {
                case.name.contains(filter.as_str())
            }
        };
        let has = |part: &String| case.name.contains(part.as_str());
        (self.slow || !case.slow)
            && (self.debug || !case.debug)
            && (self.filters.is_empty() || self.filters.iter().any(named))
            && (self.only.is_empty() || self.only.iter().any(has))
            && !self.skip.iter().any(has)
    }
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { selection } => {
            for case in selection.cases() {
                println!("{}", case.name);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run {
            module,
            jobs,
            selection,
        } => runner::run(module, jobs, &selection.cases()),
        Command::Bench { module, short } => {
            let bench = Bench::new(module)?;
            if short {
                bench.short()?;
            } else {
                bench.full()?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { histories } => {
            differential::replay(histories.from, histories.histories)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare { ours, in_tree } => {
            let read = |path: &PathBuf| {
                fs::read_to_string(path).with_context(|| path.display().to_string())
            };
            let found = differential::compare(&read(&ours)?, &read(&in_tree)?)?;
            print!("{found}");
            Ok(if found.passed() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
