//! Steps 4 to 6 on several cores: workers that paint frames, in any order, for one that collects them in order.
//!
//! Threads: one worker per generator session. `submit` hands a job to whichever worker is free and returns a
//! [`Ticket`]; the collector waits on tickets in the order in which it wants the frames. A worker with nothing to
//! paint decodes frames that will be shown soon. Locks: `State`, then nothing; a ticket's own lock is never held
//! together with another.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::avatar::Avatar;
use crate::error::{Error, Result};
use crate::face::Framing;
use crate::features::{Context, Hearing};
use crate::frames::{Frame, FrameStore, Mouth};
use crate::generator::Generator;
use crate::network::Interrupter;
use crate::picture::PictureMut;
use crate::runtime::Engine;

/// A frame that is ready to be drawn.
pub struct Painted {
    frame: Arc<Frame>,
    mouth: Mouth,
    /// How long the generator took, for each frame of its run.
    pub inference: Duration,
}

impl Painted {
    /// Writes it to a picture of the frame store's format and the avatar's size.
    pub fn draw(&self, target: &mut PictureMut<'_>) {
        self.frame.draw(&self.mouth, target);
    }
}

/// The promise of a painted frame.
pub struct Ticket(Arc<Slot>);

#[derive(Default)]
struct Slot {
    result: Mutex<Option<Result<Painted>>>,
    done: Condvar,
}

impl Slot {
    fn fulfil(&self, result: Result<Painted>) {
        *self.result.lock().unwrap_or_else(|e| e.into_inner()) = Some(result);
        self.done.notify_all();
    }
}

impl Ticket {
    /// Waits for the frame.
    ///
    /// # Errors
    /// What the worker met, or [`Error::Interrupted`].
    pub fn wait(self) -> Result<Painted> {
        let mut result = self.0.result.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            match result.take() {
                Some(result) => return result,
                None => result = self.0.done.wait(result).unwrap_or_else(|e| e.into_inner()),
            }
        }
    }
}

struct Job {
    frames: Arc<FrameStore>,
    index: usize,
    context: Context,
    slot: Arc<Slot>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Frames to decode ahead of time.
    ahead: VecDeque<(Arc<FrameStore>, usize)>,
    /// Counts interruptions; what was begun before one is void.
    generation: u64,
    /// The workers that run a network now.
    running: Vec<bool>,
    stopping: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    interrupters: Vec<Interrupter>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Voids all jobs, waiting or running.
    fn interrupt(&self, state: &mut State) {
        state.generation += 1;
        state.ahead.clear();
        for job in state.jobs.drain(..) {
            job.slot.fulfil(Err(Error::Interrupted));
        }
        for (running, interrupter) in state.running.iter().zip(&self.interrupters) {
            if *running {
                interrupter.interrupt();
            }
        }
    }
}

/// The workers.
pub struct Painter {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    hearing: Hearing,
    framing: Framing,
    batch: usize,
}

impl Painter {
    /// Opens the avatar's generator once per worker and starts `workers` of them; 0 for as many as there are cores.
    ///
    /// # Errors
    /// As [`Generator::open`]; [`Error::Invalid`] where the avatar's context is not one for its generator.
    pub fn open(avatar: &Avatar, engine: &Engine, workers: usize, beside: Option<&Path>) -> Result<Self> {
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        // Sessions of one thread each beat one session of many: nobody waits for the slowest.
        let generators = (0..workers)
            .map(|_| Generator::open(&avatar.generator, avatar.face, engine, 1, beside))
            .collect::<Result<Vec<_>>>()?;
        let hearing = generators[0].hearing_of(avatar.context)?;
        let (framing, batch) = (generators[0].framing(), generators[0].batch());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { running: vec![false; workers], ..State::default() }),
            wake: Condvar::new(),
            interrupters: generators.iter().map(Generator::interrupter).collect(),
        });
        let mut painter = Self { shared, threads: Vec::new(), hearing, framing, batch };
        for (number, generator) in generators.into_iter().enumerate() {
            let shared = painter.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lipsync-paint{number}"))
                .spawn(move || work(&shared, number, generator))
                .map_err(|e| Error::runtime(format!("no thread could be started: {e}"), "Lower n-threads"))?;
            painter.threads.push(thread);
        }
        Ok(painter)
    }

    /// What its generator hears.
    pub fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// How its generator sees faces and how they are put back.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// How many frames keep the workers busy: for each a batch in its hands and one to take up without waiting.
    pub fn capacity(&self) -> usize {
        2 * self.workers() * self.batch
    }

    /// Asks for the frame that plays at step `step`, with the mouth of `context`.
    pub fn submit(&self, frames: &Arc<FrameStore>, step: u64, context: Context) -> Ticket {
        let slot = Arc::new(Slot::default());
        let index = frames.avatar().ping_pong(step);
        let job = Job { frames: frames.clone(), index, context, slot: slot.clone() };
        let ahead = frames.missing_after(step).into_iter().map(|index| (frames.clone(), index)).collect();
        {
            let mut state = self.shared.lock();
            state.jobs.push_back(job);
            state.ahead = ahead;
        }
        self.shared.wake.notify_one();
        Ticket(slot)
    }

    /// Calls off all frames asked for so far, also those being painted: their tickets fail at once.
    pub fn interrupt(&self) {
        self.shared.interrupt(&mut self.shared.lock());
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            self.shared.interrupt(&mut state);
        }
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A worker catches its own panics.
            let _ = thread.join();
        }
    }
}

/// What a worker finds to do.
enum Task {
    /// Paint these, begun in that generation.
    Paint(Vec<Job>, u64),
    /// Decode a frame that will be shown soon.
    Decode(Arc<FrameStore>, usize),
}

/// The life of a worker.
fn work(shared: &Shared, number: usize, mut generator: Generator) {
    while let Some(task) = next_task(shared, number, generator.batch()) {
        match task {
            Task::Paint(jobs, generation) => {
                let paint = std::panic::AssertUnwindSafe(|| paint(&jobs, &mut generator));
                let results = std::panic::catch_unwind(paint).unwrap_or_else(|_| {
                    let model = jobs[0].frames.avatar().generator.clone();
                    let error =
                        Error::Inference { model, problem: "a worker panicked; this is a bug".into() };
                    jobs.iter().map(|_| Err(error.clone())).collect()
                });
                let void = {
                    let mut state = shared.lock();
                    state.running[number] = false;
                    state.generation != generation
                };
                for (job, result) in jobs.into_iter().zip(results) {
                    job.slot.fulfil(if void { Err(Error::Interrupted) } else { result });
                }
            }
            // An error is met again, and told, by whoever paints the frame; a panic, too.
            Task::Decode(frames, index) => {
                let decode = std::panic::AssertUnwindSafe(|| frames.get(index).map(drop));
                let _ = std::panic::catch_unwind(decode);
            }
        }
    }
}

/// Waits for something to do; `None` when it is time to stop.
fn next_task(shared: &Shared, number: usize, batch: usize) -> Option<Task> {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return None;
        }
        if !state.jobs.is_empty() {
            // Under the lock, so that an interruption comes either before this or during the run.
            shared.interrupters[number].rearm();
            state.running[number] = true;
            let count = batch.min(state.jobs.len());
            return Some(Task::Paint(state.jobs.drain(..count).collect(), state.generation));
        }
        if let Some((frames, index)) = state.ahead.pop_front() {
            return Some(Task::Decode(frames, index));
        }
        state = shared.wake.wait(state).unwrap_or_else(|e| e.into_inner());
    }
}

/// Paints up to a batch of jobs: a result for each.
fn paint(jobs: &[Job], generator: &mut Generator) -> Vec<Result<Painted>> {
    let frames: Vec<Result<Arc<Frame>>> = jobs.iter().map(|job| job.frames.get(job.index)).collect();
    let ready: Vec<_> = (jobs.iter().zip(&frames))
        .filter_map(|(job, frame)| Some((&frame.as_ref().ok()?.views, &job.context)))
        .collect();
    let start = Instant::now();
    let painted = if ready.is_empty() { Ok(Vec::new()) } else { generator.paint(ready.into_iter()) };
    let inference = start.elapsed() / jobs.len() as u32;
    let mut faces = painted.map(Vec::into_iter);
    let mut next_face = || match &mut faces {
        Ok(faces) => faces.next().ok_or(Error::Interrupted),
        Err(error) => Err(error.clone()),
    };
    (jobs.iter().zip(frames))
        .map(|(job, frame)| {
            let frame = frame?;
            let mouth = job.frames.mouth(&frame, &next_face()?);
            Ok(Painted { frame, mouth, inference })
        })
        .collect()
}
