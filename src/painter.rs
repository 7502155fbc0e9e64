//! Steps 4 to 6 on several cores: workers that paint frames, in any order, for one that collects them in order.
//!
//! Threads: one worker per generator session. `submit` hands a job to whichever worker is free and returns a
//! [`Ticket`]; the collector waits on tickets in the order in which it wants the frames. Locks: `State`, then
//! nothing; a ticket's own lock is never held together with another.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::avatar::Avatar;
use crate::error::{Error, Result};
use crate::face::{FaceSize, Paste};
use crate::features::Context;
use crate::frames::{Frame, FrameStore, Mouth};
use crate::generator::Generator;
use crate::network::Interrupter;
use crate::picture::PictureMut;
use crate::runtime::Engine;

/// A frame that is ready to be drawn.
pub struct Painted {
    frame: Arc<Frame>,
    mouth: Mouth,
    /// How long the generator took.
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
    face_size: FaceSize,
    paste: Paste,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Voids all jobs, waiting or running.
    fn interrupt(&self, state: &mut State) {
        state.generation += 1;
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

/// How the mouths of an avatar are painted.
#[derive(Debug, Clone, Copy)]
pub struct PainterOptions {
    /// Workers; 0 for as many as there are cores.
    pub threads: usize,
    /// How the mouth is put back.
    pub paste: Paste,
}

/// The workers.
pub struct Painter {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Painter {
    /// Opens the avatar's generator once per worker, runs each once to warm it up, and starts the workers.
    ///
    /// # Errors
    /// As [`Generator::open`].
    pub fn open(
        avatar: &Avatar,
        engine: &Engine,
        options: PainterOptions,
        beside: Option<&Path>,
    ) -> Result<Self> {
        let workers = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        // Sessions of one thread each beat one session of many: nobody waits for the slowest.
        let generators = (0..workers)
            .map(|_| Generator::open(&avatar.generator, engine, 1, beside))
            .collect::<Result<Vec<_>>>()?;
        let face_size = FaceSize { network: generators[0].side(), border: avatar.border };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { running: vec![false; workers], ..State::default() }),
            wake: Condvar::new(),
            interrupters: generators.iter().map(Generator::interrupter).collect(),
            face_size,
            paste: options.paste,
        });
        let mut painter = Self { shared, threads: Vec::new() };
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

    /// Sizes of the face for its network.
    pub fn face_size(&self) -> FaceSize {
        self.shared.face_size
    }

    /// How many frames are painted at the same time.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Asks for frame `index` of `frames` with the mouth of `context`.
    pub fn submit(&self, frames: Arc<FrameStore>, index: usize, context: Context) -> Ticket {
        let slot = Arc::new(Slot::default());
        let job = Job { frames, index, context, slot: slot.clone() };
        self.shared.lock().jobs.push_back(job);
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

/// The life of a worker.
fn work(shared: &Shared, number: usize, mut generator: Generator) {
    loop {
        let (job, generation) = {
            let mut state = shared.lock();
            loop {
                if state.stopping {
                    return;
                }
                match state.jobs.pop_front() {
                    Some(job) => {
                        // Under the lock, so that an interruption comes either before this or during the run.
                        shared.interrupters[number].rearm();
                        state.running[number] = true;
                        break (job, state.generation);
                    }
                    None => state = shared.wake.wait(state).unwrap_or_else(|e| e.into_inner()),
                }
            }
        };
        let paint = std::panic::AssertUnwindSafe(|| paint(shared, &job, &mut generator));
        let result = std::panic::catch_unwind(paint).unwrap_or_else(|_| {
            let model = job.frames.avatar().generator.clone();
            Err(Error::Inference { model, problem: "a worker panicked; this is a bug".into() })
        });
        let void = {
            let mut state = shared.lock();
            state.running[number] = false;
            state.generation != generation
        };
        job.slot.fulfil(if void { Err(Error::Interrupted) } else { result });
    }
}

fn paint(shared: &Shared, job: &Job, generator: &mut Generator) -> Result<Painted> {
    let frame = job.frames.get(job.index)?;
    let start = Instant::now();
    let painted = generator.paint(&frame.views, &job.context)?;
    let inference = start.elapsed();
    let mouth = frame.mouth(&painted, shared.face_size, shared.paste);
    Ok(Painted { frame, mouth, inference })
}
