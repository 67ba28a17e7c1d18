//! The walk: every state that can be reached, first come first served, each looked at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use pisup::machine::explore::Snapshot;
use pisup::machine::spec::{Kind, Policy};
use pisup::machine::{Action, Event, Machine, Next, Phase, Tick, UnitId, Want};

use crate::graph::{Graph, PLAIN};
use crate::live::{self, Known};
use crate::moves::{self, Move};
use crate::safety::{self, Step};
use crate::world::{What, World};

/// Now, always: instead of the clock, deadlines are moved. Larger than all durations.
pub const NOW: Tick = Tick(1_000_000_000);
/// Where every deadline lies that has not come; their order is left open on purpose.
pub const FAR: Tick = Tick(2_000_000_000);
/// The deadline of a shutdown.
pub const BY: Tick = Tick(1_000_120_000);

/// A machine and its world, with names that do not tell equal ones apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub snap: Snapshot,
    pub world: World,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub graphs: u64,
    pub states: u64,
    pub edges: u64,
    pub echoes: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.graphs += other.graphs;
        self.states += other.states;
        self.edges += other.edges;
        self.echoes += other.echoes;
    }
}

pub type Print = u128;
pub type Prints = HashSet<Print, BuildHasherDefault<Plain>>;

/// A walk through one graph.
pub struct Walk {
    machine: Machine,
    queue: VecDeque<(State, Print)>,
    seen: Prints,
    is_mixed: bool,
    /// From where and by what a state was reached first; kept only to tell of a failure.
    origin: Option<HashMap<Print, (Print, Move)>>,
}

/// Walks through a graph; an error is a history that ends where a property does not hold.
pub fn walk(graph: &Graph, most: usize) -> Result<Counts, String> {
    Walk::new(graph, false).run(most).map_err(|first| {
        let story = Walk::new(graph, true).run(most).err();
        format!("{}\n{}", graph.name(), story.unwrap_or(first))
    })
}

impl Walk {
    fn new(graph: &Graph, tells: bool) -> Self {
        let machine = Machine::new(graph.specs(), 0);
        let world = World::new(graph.units.len());
        let first = State { snap: machine.snapshot(), world };
        let mark = print_of(&first);
        Self {
            machine,
            queue: VecDeque::from([(first, mark)]),
            seen: Prints::from_iter([mark]),
            is_mixed: graph.is_mixed,
            origin: tells.then(HashMap::new),
        }
    }

    fn run(mut self, most: usize) -> Result<Counts, String> {
        let mut counts = Counts { graphs: 1, ..Counts::default() };
        let mut known = Known::default();
        while let Some((state, mark)) = self.queue.pop_front() {
            counts.states += 1;
            counts.echoes +=
                self.listen(&state).map_err(|why| self.story(mark, None, &state, &why))?;
            live::ends_well(&mut self.machine, &state, mark, &mut known)
                .map_err(|why| self.story(mark, None, &state, &why))?;
            for step in self.moves(&state, counts.states == 1) {
                counts.edges += 1;
                let next = advance(&mut self.machine, &state, &step)
                    .map_err(|why| self.story(mark, Some(&step), &state, &why))?;
                let print = print_of(&next);
                if self.seen.insert(print) {
                    if let Some(origin) = &mut self.origin {
                        origin.insert(print, (mark, step));
                    }
                    self.queue.push_back((next, print));
                }
            }
            if self.seen.len() > most {
                return Err(format!("more than {most} states: the walk is not complete"));
            }
        }
        Ok(counts)
    }

    fn moves(&self, state: &State, is_first: bool) -> Vec<Move> {
        moves::all(&self.machine, &state.snap, &state.world, is_first, self.is_mixed)
    }

    /// Tells what has no consequence, and looks whether it has one.
    fn listen(&mut self, state: &State) -> Result<u64, String> {
        self.machine.restore(&state.snap);
        if self.machine.next_deadline().is_some_and(|at| at <= NOW) {
            return Err("wants to be asked again at once, for ever".to_owned());
        }
        let echoes = moves::echoes(&self.machine, &state.snap, &state.world);
        let count = u64::try_from(echoes.len()).unwrap_or_default();
        for event in echoes {
            let text = if self.origin.is_some() { format!("{event:?}") } else { String::new() };
            let is_extension = matches!(event, Event::Alive(..) | Event::Extend(..));
            let actions = self.machine.step(event, NOW);
            let is_moved =
                self.origin.is_some() && !is_extension && self.machine.snapshot() != state.snap;
            if !actions.is_empty() || is_moved {
                return Err(format!("an echo has consequences: {text} {actions:?}"));
            }
        }
        if self.machine.snapshot() == state.snap {
            Ok(count)
        } else {
            Err("an echo has moved something".to_owned())
        }
    }

    /// The history that leads to a failure.
    fn story(&self, mark: Print, last: Option<&Move>, state: &State, why: &str) -> String {
        let mut lines = Vec::new();
        let mut at = mark;
        while let Some((before, step)) = self.origin.as_ref().and_then(|known| known.get(&at)) {
            lines.push(format!("  {step:?}"));
            at = *before;
        }
        lines.reverse();
        for (index, unit) in state.snap.units.iter().enumerate() {
            lines.push(format!("  u{index} {unit:?} {:?}", state.world.lives[index].process));
        }
        lines.extend(last.map(|step| format!("  {step:?}")));
        format!("{}\n  => {why}", lines.join("\n"))
    }
}

/// The state after a move; an error is a property that does not hold.
pub fn advance(machine: &mut Machine, state: &State, step: &Move) -> Result<State, String> {
    if let Move::Under(kind, policy, step) = step {
        dress(machine, *kind, *policy);
        let next = advance(machine, state, step);
        dress(machine, PLAIN.kind, PLAIN.policy);
        return next;
    }
    let mut world = state.world.clone();
    let event = match step {
        Move::Tell(event) => {
            world.happen(event);
            machine.restore(&state.snap);
            event.clone()
        }
        _ => {
            let mut snap = state.snap.clone();
            moves::pass(&mut snap, step);
            machine.restore(&snap);
            let is_due = matches!(step, Move::Due(_) | Move::OutOfTime);
            if is_due && machine.next_deadline() != Some(NOW) {
                return Err("a deadline that it does not tell of".to_owned());
            }
            Event::Timer
        }
    };
    let actions = machine.step(event, NOW);
    for action in &actions {
        if let Action::Terminate(unit, _) | Action::Kill(unit, _) = action {
            safety::may_signal(machine, &world, action, *unit, step)
                .map_err(|why| format!("{why}\n  {actions:?}"))?;
        }
        world.perform(machine, action).map_err(|why| format!("{why}\n  {actions:?}"))?;
    }
    let snap = machine.snapshot();
    let view = Step { machine, before: state, after: &snap, step, actions: &actions };
    world
        .agrees(machine, NOW)
        .and_then(|()| safety::judge(&view, &world))
        .map_err(|why| format!("{why}\n  {actions:?}\n  {:?}", snap.units))?;
    let mut next = State { snap, world };
    canonicalise(machine, &mut next);
    Ok(next)
}

/// Gives all units a kind and a policy.
fn dress(machine: &mut Machine, kind: Kind, policy: Policy) {
    for unit in 0.. {
        let Some(spec) = machine.spec_mut(UnitId(unit)) else {
            return;
        };
        (spec.kind, spec.restart.policy) = (kind, policy);
    }
}

/// Makes states equal that differ in nothing the machine can see.
fn canonicalise(machine: &Machine, state: &mut State) {
    let State { snap, world } = state;
    let place = |tick: Tick| match tick.cmp(&NOW) {
        std::cmp::Ordering::Less => Tick(0),
        std::cmp::Ordering::Equal => NOW,
        std::cmp::Ordering::Greater => FAR,
    };
    snap.map_ticks(None, place);
    let is_over = snap.is_shutting_down();
    let is_alone = snap.units.len() == 1;
    for (unit, _, _) in machine.units() {
        snap.map_ticks(Some(unit), place);
        let own = &mut snap.units[unit.index()];
        // Only those who prefer a unit care whether it has failed.
        let is_preferred = machine.units().any(|(_, spec, _)| spec.prefers().any(|d| d == unit));
        let most = if is_alone { 2 } else { u32::from(is_preferred) };
        own.failures = own.failures.min(most);
        // Nobody comes back from a shutdown, nor from a stop but with a start, which leads all
        // ends but one the same way.
        if let Phase::Stopping { next, .. } = &mut own.phase
            && (is_over || own.want != Want::On && *next != Next::Done)
        {
            *next = Next::Again;
        }
        if is_over {
            (own.want, own.failures) = (Want::On, 0);
            own.exports.clear();
            own.used.clear();
            own.bounce = None;
            own.watchdog_ms = None;
        }
        let conditions = machine.spec(unit).map(|spec| spec.conditions).unwrap_or_default();
        match &mut own.phase {
            Phase::Waiting { on, since, .. } => {
                use pisup::machine::Hold;
                // How long it has waited counts only where patience can end.
                if !matches!(on, Hold::Wants(_) | Hold::World(_)) {
                    *since = Tick(0);
                }
                if !matches!(on, Hold::World(_)) {
                    own.unmet = conditions;
                    world.lives[unit.index()].is_clear = false;
                }
            }
            // Asked for anew when nothing else holds it, and not looked at before.
            _ => {
                own.unmet = conditions;
                world.lives[unit.index()].is_clear = false;
            }
        }
    }
    let old = snap.rename_runs();
    for life in &mut world.lives {
        if let Some(process) = &mut life.process {
            let new = old.iter().position(|run| *run == process.run).unwrap_or(usize::MAX);
            process.run.0 = u32::try_from(new).unwrap_or(u32::MAX).saturating_add(1);
            if !matches!(process.what, What::Unborn | What::Main) {
                process.held = Default::default();
            }
        }
    }
    rename_values(machine, snap);
}

/// Values are told apart, but which they are makes no difference: they are called a, b, c in the
/// order in which they are met.
fn rename_values(machine: &Machine, snap: &mut Snapshot) {
    for (owner, spec, _) in machine.units() {
        if spec.exports.is_empty() {
            continue;
        }
        let mut names: Vec<String> = Vec::new();
        let mut rename = |value: &mut String| {
            let known = names.iter().position(|name| name == value);
            let index = known.unwrap_or_else(|| {
                names.push(value.clone());
                names.len() - 1
            });
            *value = ["a", "b", "c", "d"].get(index).copied().unwrap_or("e").to_owned();
        };
        for value in snap.units[owner.index()].exports.values_mut() {
            rename(value);
        }
        for (user, spec, _) in machine.units() {
            let used = snap.units[user.index()].used.iter_mut();
            for (_, value) in spec.uses.iter().zip(used).filter(|(each, _)| each.unit == owner) {
                rename(value);
            }
        }
    }
}

pub fn print_of(state: &State) -> Print {
    let mut hasher = Wide::default();
    state.hash(&mut hasher);
    (u128::from(hasher.high) << 64) | u128::from(hasher.low)
}

/// Two different hashes side by side: 128 bits, so that no two of all states meet by chance.
#[derive(Default)]
struct Wide {
    high: u64,
    low: u64,
}

impl Wide {
    const fn mix(&mut self, word: u64) {
        self.high = (self.high.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.low = (self.low ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.low ^= self.low >> 29;
    }
}

impl Hasher for Wide {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 60);
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// A print is a hash already.
#[derive(Default)]
pub struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, word: u128) {
        self.0 = u64::try_from(word >> 64).unwrap_or_default();
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All units that `unit` comes to along some edges, itself not among them.
pub fn closure(machine: &Machine, unit: UnitId, along: safety::Along) -> Vec<UnitId> {
    let mut found = Vec::new();
    let mut rest = vec![unit];
    while let Some(spec) = rest.pop().and_then(|next| machine.spec(next)) {
        for dep in along(spec) {
            if !found.contains(&dep) {
                found.push(dep);
                rest.push(dep);
            }
        }
    }
    found
}
