// SPDX-License-Identifier: GPL-2.0

//! A client that sends whatever TCP packets of its own connections come to its mind. It never gets more
//! open than the limit, and never disturbs its neighbour.

use std::fmt::Write;
use std::iter;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use fastrand::Rng;

use super::VARIANTS;
use crate::fuzz::Fuzzing;
use crate::net::netns::Netns;
use crate::net::packet::{self, Flags};
use crate::net::peer::Peer;
use crate::rules::{limit, Target};
use crate::suites::evasion::site::{Place, Site, LIMIT};
use crate::variant::{Family, Module, Variant};

const ATTACKER: u16 = 1;
/// In the same network, which the rule counts as one.
const NEIGHBOUR: u16 = 9;
const OF_NEIGHBOUR: usize = 2;
const PORTS: usize = 12;
/// How much is done in a round, and how often it is looked what is open.
const STEPS: usize = 160;
const LOOK_EVERY: usize = 16;
/// One that has ended may have a packet under way still, which passes where there is no place left.
const MOST: usize = LIMIT + 1;

/// What the attacker does, or the server to it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    /// Up to a state in which conntrack has it as closed, and a SYN revives it.
    CloseHalfOpen,
    Close,
    Syn,
    SynAgain,
    Ack,
    Data,
    Fin,
    FinAgain,
    FinAhead,
    Rst,
    RstBehind,
    RstAnywhere,
    SignedRst,
    SignedAck,
    SynAck,
    Error,
    Pause,
    ServerResets,
    ServerFinishes,
}

/// With how often each comes. Most of what is done closes something, and little would be open.
const STEPS_OF_ALL_KINDS: [(Step, usize); 20] = [
    (Step::Open, 16),
    (Step::CloseHalfOpen, 4),
    (Step::Close, 3),
    (Step::Syn, 2),
    (Step::SynAgain, 2),
    (Step::Ack, 2),
    (Step::Data, 2),
    (Step::Fin, 1),
    (Step::FinAgain, 1),
    (Step::FinAhead, 1),
    (Step::Rst, 1),
    (Step::RstBehind, 1),
    (Step::RstAnywhere, 1),
    (Step::SignedRst, 1),
    (Step::SignedAck, 1),
    (Step::SynAck, 1),
    (Step::Error, 1),
    (Step::Pause, 1),
    (Step::ServerResets, 1),
    (Step::ServerFinishes, 1),
];

pub fn fuzz(module: Module, variant: Variant, fuzzing: Fuzzing) -> Result<()> {
    fuzzing.rounds(VARIANTS, 4, |seed| {
        Netns::new()?.within(|| {
            let mut log = String::new();
            round(module, variant, seed, &mut log).with_context(|| format!("after{log}"))
        })
    })
}

fn round(module: Module, variant: Variant, seed: u64, log: &mut String) -> Result<u64> {
    let mut rng = Rng::with_seed(seed);
    let (place, target) = [
        (Place::Input, Target::Drop),
        (Place::Input, Target::Reject),
        (Place::Forward, Target::Drop),
        (Place::Forward, Target::Reject),
    ][usize::try_from(seed % 4)?];
    let mut site = Site::new(module, variant, place)?;
    let mask = match variant.family {
        Family::Ipv4 => 24,
        Family::Ipv6 => 64,
    };
    let rule = limit(LIMIT.try_into()?).mask(mask).target(target);
    site.install(rule)?;
    let mut neighbour = Vec::new();
    for _ in 0..OF_NEIGHBOUR {
        let mut peer = site.peer_of(NEIGHBOUR);
        site.admit(&mut peer)?;
        neighbour.push(peer);
    }
    let mut peers: Vec<Peer> = (0..PORTS).map(|_| site.peer_of(ATTACKER)).collect();
    let steps: Vec<Step> = STEPS_OF_ALL_KINDS
        .iter()
        .flat_map(|&(step, often)| iter::repeat_n(step, often))
        .collect();
    for number in 1..=STEPS {
        let port = rng.usize(..PORTS);
        let step = *rng.choice(&steps).context("no steps")?;
        write!(log, " {port}:{step:?}")?;
        take(&mut site, &mut peers[port], step)?;
        for (segment, _) in site.hear()? {
            for peer in &mut peers {
                peer.takes_answer(&segment);
            }
            let reset = segment.flags.rst && neighbour.iter().any(|peer| peer.from == segment.to);
            ensure!(!reset, "the neighbour is reset");
        }
        if number % LOOK_EVERY == 0 {
            *log += " |";
            look(&mut site, &neighbour)?;
        }
    }
    Ok(STEPS.try_into()?)
}

/// Looks what is open.
fn look(site: &mut Site, neighbour: &[Peer]) -> Result<()> {
    const SOON: Duration = Duration::from_millis(30);
    let mut alive = site.alive_within(SOON)?;
    ensure!(alive.len() <= MOST, "{} answer: {alive:?}", alive.len());
    if neighbour.iter().any(|peer| !alive.contains(&peer.from)) {
        alive = site.alive()?;
    }
    for peer in neighbour {
        if !alive.contains(&peer.from) {
            bail!("the neighbour's {} does not answer", peer.from);
        }
    }
    Ok(())
}

fn take(site: &mut Site, peer: &mut Peer, step: Step) -> Result<()> {
    const AHEAD: u32 = 20_000;
    const ANYWHERE: u32 = 0x4000_0000;
    match step {
        Step::Open => return site.open(peer).map(drop),
        Step::CloseHalfOpen => {
            site.begin(peer)?;
            for flags in [Flags::RST, Flags::ACK] {
                site.say(peer, flags)?;
            }
        }
        Step::Close => {
            for flags in [Flags::RST, Flags::ACK] {
                site.say(peer, flags)?;
            }
        }
        Step::Syn => site.send(&peer.syn()?)?,
        Step::SynAgain => site.send(&peer.syn_again()?)?,
        Step::Ack => site.send(&peer.packet(Flags::ACK)?)?,
        Step::Data => site.send(&peer.data(b"data")?)?,
        Step::Fin => {
            site.send(&peer.packet(Flags::FIN_ACK)?)?;
            peer.next = peer.next.wrapping_add(1);
        }
        Step::FinAgain => site.send(&peer.behind(1, Flags::FIN_ACK)?)?,
        Step::FinAhead => site.send(&peer.ahead(AHEAD, Flags::FIN_ACK)?)?,
        Step::Rst => site.send(&peer.packet(Flags::RST)?)?,
        Step::RstBehind => site.send(&peer.behind(1000, Flags::RST)?)?,
        Step::RstAnywhere => site.send(&peer.ahead(ANYWHERE, Flags::RST)?)?,
        Step::SignedRst => site.send(&peer.signed(Flags::RST)?)?,
        Step::SignedAck => site.send(&peer.signed(Flags::ACK)?)?,
        Step::SynAck => site.send(&peer.packet(Flags::SYN_ACK)?)?,
        Step::Error => {
            let about = peer.by_server(Flags::ACK, peer.awaited).bytes()?;
            site.send(&packet::unreachable(peer.from.ip(), peer.to.ip(), &about)?)?;
        }
        Step::Pause => site.settle()?,
        Step::ServerResets if site.server.open()?.contains(&peer.from) => {
            site.server.reset(peer.from)?
        }
        Step::ServerFinishes if site.server.open()?.contains(&peer.from) => {
            site.server.finish(peer.from)?
        }
        Step::ServerResets | Step::ServerFinishes => {}
    }
    site.wire.carry(|_| true)
}
