// SPDX-License-Identifier: GPL-2.0

//! What is to be decided, by remembering everything and looking everything up.

use std::collections::BTreeMap;

use crate::counting::{Answer, Progress};
use crate::world::{Name, ThreadId, World, TOGETHER};

#[derive(Clone, Copy, Debug)]
struct Seen {
    confirmed: bool,
    refused: bool,
    /// The grace period that waits for its packet.
    grace_period: usize,
    /// The thread that knows what becomes of it; not if another one had seen it just before.
    by: Option<ThreadId>,
    /// Which of that thread's packets it was.
    turn: u32,
    /// Conntrack has had it since then, which may have escaped notice.
    was_tracked: bool,
}

/// All that was ever seen and told.
#[derive(Default)]
pub struct Model {
    seen: BTreeMap<Name, Seen>,
}

/// The counts that may be the right one. They differ by what has changed in this jiffy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub least: usize,
    pub most: usize,
}

impl Model {
    pub fn knows(&self, name: Name) -> bool {
        self.seen.contains_key(&name)
    }

    /// The count for a packet of `name`, handled by `thread`.
    pub fn counts(
        &self,
        world: &World,
        name: Name,
        thread: ThreadId,
        progress: Progress,
    ) -> Counts {
        let mut counts = Counts { least: 0, most: 0 };
        let others = self
            .seen
            .iter()
            .filter(|(other, _)| other.0 == name.0 && **other != name);
        for (&other, seen) in others {
            let [least, most] = weigh(world, other, *seen, thread);
            counts.least += usize::from(least);
            counts.most += usize::from(most);
        }
        let itself = usize::from(match progress {
            Progress::Closed { assured } => !assured,
            Progress::Assured => self.knows(name),
            Progress::Unconfirmed | Progress::Confirmed => true,
        });
        Counts {
            least: (counts.least + itself).max(1),
            most: (counts.most + itself).max(1),
        }
    }

    /// Notes what was told.
    pub fn note(
        &mut self,
        world: &World,
        name: Name,
        thread: ThreadId,
        progress: Progress,
        answer: Answer,
    ) {
        if matches!(progress, Progress::Closed { .. })
            || (progress == Progress::Assured && !self.knows(name))
        {
            return;
        }
        if let Some(seen) = self.seen.get_mut(&name) {
            if progress == Progress::Assured && !seen.confirmed {
                // Where nothing depends on it, nobody notes that conntrack has it.
                seen.refused = false;
                seen.was_tracked = true;
                return;
            }
        }
        let before = self.seen.get(&name).filter(|seen| {
            !seen.confirmed && !world.was_over(seen.grace_period) && seen.by != Some(thread)
        });
        let seen = Seen {
            confirmed: progress != Progress::Unconfirmed,
            refused: answer == Answer::Over && progress != Progress::Assured,
            grace_period: world.grace_period_of_packet(),
            by: (before.is_none() && thread != TOGETHER).then_some(thread),
            turn: world.turn(thread),
            was_tracked: false,
        };
        self.seen.insert(name, seen);
    }

    /// What shows that it was let through all the same does so whether anybody looks or not.
    pub fn look(&mut self, world: &World) {
        for (&name, seen) in &mut self.seen {
            if let Some(tracked) = world.tracked(name).filter(|tracked| !tracked.closed) {
                let is_known = tracked.assured && !world.has_just_changed(name);
                seen.refused &= seen.confirmed && !is_known;
                seen.was_tracked = true;
            }
        }
    }

    pub fn forget(&mut self, name: Name) {
        self.seen.remove(&name);
    }
}

/// Whether it counts, by the least and by the most that may be known of it.
fn weigh(world: &World, name: Name, seen: Seen, thread: ThreadId) -> [bool; 2] {
    let is_pending = !seen.confirmed && !world.was_over(seen.grace_period);
    match world.tracked(name) {
        Some(tracked) if !tracked.closed => {
            let refused = seen.refused && seen.confirmed && !tracked.assured;
            let was_refused = refused || (seen.refused && world.has_just_changed(name));
            [!was_refused, !refused]
        }
        // It may have become assured before it ended.
        _ if seen.refused => [
            false,
            world.has_just_changed(name) || world.arrives_meanwhile(name),
        ],
        Some(_) => [false, world.has_just_changed(name)],
        None if is_pending => match seen.by {
            Some(by) if by == thread => [false, world.has_just_changed(name)],
            // The thread that has seen it knows, if it has looked up anything since; and so does
            // anybody once the grace period has ended.
            Some(by)
                if !world.has_gone_on(by, seen.turn)
                    && !world.ends_meanwhile(seen.grace_period) =>
            {
                [!seen.was_tracked, true]
            }
            _ => [world.is_travelling(name), true],
        },
        None => [false, world.has_just_changed(name)],
    }
}
