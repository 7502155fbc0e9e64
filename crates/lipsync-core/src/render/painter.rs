//! Steps 4 to 6 on several cores: workers that paint frames, in any order, for those who collect them in order.
//!
//! A frame that repeats the mouth of the one before is bound to it when it is asked for, not when its turn comes: by then
//! other workers may have painted later frames. No worker takes it up before that mouth is known, so none waits for another.
//!
//! Threads: one worker per generator session. [`Painter::submit`] hands a job to whichever worker is free and returns a
//! [`PendingFrame`]; the collector waits on tickets in the order in which it wants the frames. A worker with nothing to
//! paint decodes frames that will be shown soon, and has the network see those that are to speak. All painters of one network in a process share its workers.
//! Locks: a painter's `last`, then `QueueState`, then the outcomes of frames from the newer to the older; a ticket's own lock and
//! the meter's are never held together with another.
//!
//! A run that takes longer than it may is stopped by those who wait for a frame: nobody else needs to know.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::RgbImage;

use crate::avatar::Avatar;
use crate::avatar::frames::{Frame, FrameStore, Mouth};
use crate::error::{Error, Result, caught};
use crate::features::{Context, Hearing};
use crate::generator::face::{FaceOptions, Framing};
use crate::generator::{Face as Seen, Generator};
use crate::inference::aside::late;
use crate::inference::bounded::{self, LOOK};
use crate::inference::network::Interrupter;
use crate::inference::runtime::Engine;
use crate::inference::shared::{FileStamp, Shared};
use crate::picture::formats::PictureMut;
use crate::picture::pool::Pooled;
use crate::render::pace::{Meter, Pace};

/// A frame that is ready to be drawn.
pub struct Painted {
    frame: Arc<Frame>,
    /// `None` where the frame is right as it is.
    mouth: Option<Mouth>,
    /// How long the generator took, for each frame of its run; `None` where it was not run.
    pub inference: Option<Duration>,
}

impl Painted {
    /// Writes it to a picture of the frame store's format and the avatar's size.
    pub fn draw(&self, target: &mut PictureMut<'_>) {
        self.frame.draw(self.mouth.as_ref(), target);
    }
}

/// The mouth that a frame is to have.
#[derive(Clone)]
pub enum MouthRequest {
    /// That of the sound.
    Speech(Context),
    /// The mouth of the last frame asked for before this one that speaks or is at rest, once more.
    Repeat,
    /// Half way from that one to the mouth at rest.
    Closing,
    /// At rest: that of silence.
    Rest,
}

/// The promise of a painted frame. Who drops it calls the frame off, unless it is being painted.
pub struct PendingFrame {
    slot: Arc<Slot>,
    queue: Arc<JobQueue>,
    /// The frame whose mouth it repeats, should it repeat one.
    before: Option<Arc<MouthOutcome>>,
}

#[derive(Default)]
struct Slot {
    result: Mutex<Option<Result<Painted>>>,
    done: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Result<Painted>>> {
        self.result.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn fulfil(&self, result: Result<Painted>) {
        *self.lock() = Some(result);
        self.done.notify_all();
    }
}

impl PendingFrame {
    /// Waits for the frame.
    ///
    /// # Errors
    /// What the worker met, or [`Error::Interrupted`].
    pub fn wait(self) -> Result<Painted> {
        loop {
            if let Some(result) = self.wait_for(LOOK) {
                return result;
            }
            bounded::check()?;
        }
    }

    /// The frame, if it is ready within that time.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(&self, patience: Duration) -> Option<Result<Painted>> {
        let waiting =
            self.slot.done.wait_timeout_while(self.slot.lock(), patience, |result| result.is_none());
        let (mut locked, _) = waiting.unwrap_or_else(|e| e.into_inner());
        let result = locked.take();
        drop(locked);
        if result.is_none() {
            self.queue.stop_late_runs();
        }
        result
    }
}

/// A mouth as the network painted it; `None` where the frame is right as it is.
type Face = Option<Arc<Pooled>>;

/// What becomes of the mouth of a frame, for those that are to repeat it.
struct MouthOutcome(Mutex<MouthState>);

enum MouthState {
    /// It is still to be painted, and was asked for after that one.
    Pending(Option<Arc<MouthOutcome>>),
    Known(Face),
    /// It was called off or failed: that one counts.
    Abandoned(Arc<MouthOutcome>),
}

impl MouthOutcome {
    fn lock(&self) -> MutexGuard<'_, MouthState> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The mouth, once it is known.
    fn face(&self) -> Option<Face> {
        match &*self.lock() {
            MouthState::Pending(_) => None,
            MouthState::Known(face) => Some(face.clone()),
            MouthState::Abandoned(before) => before.face(),
        }
    }

    fn settle(&self, face: Face) {
        *self.lock() = MouthState::Known(face);
    }

    /// Leaves it to the one before, if nothing has come of it.
    fn abandon(&self) {
        let mut fate = self.lock();
        let MouthState::Pending(before) = &mut *fate else { return };
        // What was void before is skipped, so that no chain grows.
        let mut before = before.take();
        *fate = loop {
            let Some(outcome) = before else { break MouthState::Known(None) };
            let earlier = match &*outcome.lock() {
                MouthState::Pending(_) => None,
                MouthState::Known(face) => break MouthState::Known(face.clone()),
                MouthState::Abandoned(earlier) => Some(earlier.clone()),
            };
            match earlier {
                Some(earlier) => before = Some(earlier),
                None => break MouthState::Abandoned(outcome),
            }
        };
    }
}

/// Whoever drops it without having settled it has failed.
struct MouthPromise(Arc<MouthOutcome>);

impl Drop for MouthPromise {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Job {
    painter: u64,
    /// What is heard in silence: its mouths are painted once.
    silence: Option<Arc<Context>>,
    frames: Arc<FrameStore>,
    index: usize,
    request: MouthRequest,
    /// What it repeats, should it repeat something.
    before: Option<Arc<MouthOutcome>>,
    /// For those that repeat it; `None` where nobody is to.
    promise: Option<MouthPromise>,
    slot: Arc<Slot>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }

    /// Whether what it is painted from is silence, to the last bit.
    fn is_silent(&self) -> bool {
        match (&self.request, &self.silence) {
            (MouthRequest::Speech(context), Some(silence)) => **context == ***silence,
            (MouthRequest::Speech(_), None) => false,
            _ => true,
        }
    }

    /// The mouth before, if it is known and there is one.
    fn face_before(&self) -> Face {
        self.before.as_ref().and_then(|before| before.face()).flatten()
    }

    /// Whether all is there that it needs.
    fn is_ready(&self) -> bool {
        match self.request {
            MouthRequest::Repeat | MouthRequest::Closing => {
                self.before.as_ref().is_none_or(|before| before.face().is_some())
            }
            MouthRequest::Speech(_) | MouthRequest::Rest => true,
        }
    }
}

/// A frame that will be shown soon.
struct PrefetchJob {
    frames: Arc<FrameStore>,
    index: usize,
    /// Whether it will speak, so that the network is to see it.
    speaks: bool,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// Frames to make ready ahead of time, and for whom.
    prefetch: VecDeque<(u64, PrefetchJob)>,
    /// What each worker does now.
    running: Vec<ActiveRun>,
    /// When somebody has last looked for runs that take too long.
    looked: Option<Instant>,
    /// Why the network paints nothing, not even to warm up.
    broken: Option<Error>,
    stopping: bool,
}

/// What a worker does.
#[derive(Default)]
struct ActiveRun {
    frames: Vec<ActiveFrame>,
    /// The worker is in the network, or may be, and has not been stopped for taking too long.
    busy: bool,
    /// To warm up.
    warms_up: bool,
    /// For how long it has been seen at it.
    spent: Duration,
}

/// A frame in the hands of a worker.
struct ActiveFrame {
    painter: u64,
    /// `None` where it is not wanted any more, and whoever wanted it knows.
    slot: Option<Arc<Slot>>,
}

struct JobQueue {
    state: Mutex<QueueState>,
    wake: Condvar,
    interrupters: Vec<Interrupter>,
    /// How long painting takes.
    meter: Mutex<Meter>,
    network: PathBuf,
    /// How long one run may take.
    limit: Duration,
}

impl JobQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Voids all jobs of one painter, or of all, waiting or running.
    fn interrupt(&self, whose: Option<u64>) {
        let is_theirs = |painter: u64| whose.is_none_or(|whose| whose == painter);
        let mut state = self.lock();
        let stopping = state.stopping;
        state.prefetch.retain(|(painter, ..)| !is_theirs(*painter));
        let (void, kept) = state.jobs.drain(..).partition(|job| is_theirs(job.painter));
        state.jobs = kept;
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for (ActiveRun { frames, .. }, interrupter) in state.running.iter_mut().zip(&self.interrupters) {
            // The network may not end at once, so they are not waited for.
            slots.extend(
                frames.iter_mut().filter(|run| is_theirs(run.painter)).filter_map(|run| run.slot.take()),
            );
            if stopping || (!frames.is_empty() && frames.iter().all(|run| run.slot.is_none())) {
                interrupter.interrupt();
            }
        }
        drop(state);
        let void: VecDeque<Job> = void;
        slots.extend(void.into_iter().map(|job| job.slot));
        slots.into_iter().for_each(|slot| slot.fulfil(Err(Error::Interrupted)));
    }

    /// Stops the runs that take longer than they may: their frames fail.
    fn stop_late_runs(&self) {
        let mut locked = self.lock();
        let state = &mut *locked;
        let now = Instant::now();
        if state.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return;
        }
        state.looked = Some(now);
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for (running, interrupter) in state.running.iter_mut().zip(&self.interrupters) {
            // Time in which nobody looks is none: the whole process may have stood still.
            running.spent += LOOK;
            if !running.busy || running.spent < self.limit {
                continue;
            }
            running.busy = false;
            interrupter.interrupt();
            slots.extend(running.frames.iter_mut().filter_map(|run| run.slot.take()));
            if running.warms_up {
                state.broken = Some(late(&self.network, self.limit));
                slots.extend(state.jobs.drain(..).map(|job| job.slot));
            }
        }
        drop(locked);
        slots.into_iter().for_each(|slot| slot.fulfil(Err(late(&self.network, self.limit))));
    }
}

/// The workers of one network.
struct Workers {
    queue: Arc<JobQueue>,
    threads: Vec<JoinHandle<()>>,
    hearing: Hearing,
    framing: Framing,
    batch: usize,
    /// Whether what is seen can be seen ahead of time.
    sees_ahead: bool,
}

/// What painters that share workers have in common.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    generator: FileStamp,
    face: FaceOptions,
    engine: Engine,
    workers: usize,
}

static WORKERS: Shared<Key, Workers> = Shared::new();

impl Workers {
    fn open(avatar: &Avatar, engine: &Engine, workers: usize, beside: Option<&Path>) -> Result<Self> {
        // Sessions of one thread each beat one session of many: nobody waits for the slowest.
        let generators = Generator::open_several(&avatar.generator, avatar.face, engine, 1, beside, workers)?;
        let hearing = generators[0].hearing();
        let (framing, batch) = (generators[0].framing(), generators[0].batch());
        let queue = Arc::new(JobQueue {
            state: Mutex::new(QueueState {
                running: std::iter::repeat_with(ActiveRun::default).take(workers).collect(),
                ..QueueState::default()
            }),
            wake: Condvar::new(),
            interrupters: generators.iter().map(Generator::interrupter).collect(),
            meter: Mutex::new(Meter::new(workers)),
            network: avatar.generator.clone(),
            limit: generators[0].run_limit(),
        });
        let sees_ahead = generators[0].sees_ahead();
        let mut workers = Self { queue, threads: Vec::new(), hearing, framing, batch, sees_ahead };
        for (number, generator) in generators.into_iter().enumerate() {
            let queue = workers.queue.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lipsync-paint{number}"))
                .spawn(move || work(&queue, number, generator))
                .map_err(|e| Error::runtime(format!("no thread could be started: {e}"), "Lower n-threads"))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.lock().stopping = true;
        self.queue.interrupt(None);
        self.queue.wake.notify_all();
        bounded::join(self.threads.drain(..), &self.queue.network);
    }
}

/// One who has frames painted.
pub struct Painter {
    number: u64,
    workers: Arc<Workers>,
    hearing: Hearing,
    silence: Option<Arc<Context>>,
    /// The last frame asked for that others may repeat.
    last: Mutex<Option<Arc<MouthOutcome>>>,
}

impl Painter {
    /// Finds the workers of the avatar's generator, or opens it once per worker and starts `workers` of them; 0 for as
    /// many as there are cores.
    ///
    /// # Errors
    /// As [`Generator::open`]; [`Error::Invalid`] where the avatar's context is not one for its generator.
    pub fn open(avatar: &Avatar, engine: &Engine, workers: usize, beside: Option<&Path>) -> Result<Self> {
        static PAINTERS: AtomicU64 = AtomicU64::new(0);
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let key = Key {
            generator: FileStamp::of(&avatar.generator),
            face: avatar.face,
            engine: engine.clone(),
            workers,
        };
        let workers = WORKERS.get(key, || Workers::open(avatar, engine, workers, beside))?;
        let hearing = workers.hearing.chosen(avatar.context, &avatar.generator)?;
        let number = PAINTERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, workers, hearing, silence: None, last: Mutex::default() })
    }

    /// Says what its generator hears in silence. Until then frames at rest are shown as they are.
    pub fn set_silence(&mut self, silence: Context) {
        self.silence = Some(Arc::new(silence));
    }

    /// What its generator hears.
    pub fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// How its generator sees faces and how they are put back.
    pub fn framing(&self) -> Framing {
        self.workers.framing
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.threads.len()
    }

    /// How many frames keep the workers busy: for each a batch in its hands and one to take up without waiting.
    pub fn capacity(&self) -> usize {
        2 * self.workers() * self.workers.batch
    }

    /// How fast the workers are at the moment, as far as they paint for this painter.
    pub fn pace(&self) -> Pace {
        self.workers.queue.meter().pace(self.number, Instant::now())
    }

    /// Asks for the frame that plays at step `step`, with the mouth of a request.
    pub fn submit(&self, frames: &Arc<FrameStore>, step: u64, request: MouthRequest) -> PendingFrame {
        let before = self.last().clone();
        self.ask(frames, step, request, before)
    }

    /// Paints a frame that speaks, for nobody to see: what is wrong with frame or network is met here.
    ///
    /// # Errors
    /// As [`PendingFrame::wait`].
    pub fn try_out(&self, frames: &Arc<FrameStore>) -> Result<()> {
        let context = match &self.silence {
            Some(silence) => (**silence).clone(),
            None => Context::zeros(self.hearing.values()),
        };
        self.submit(frames, 0, MouthRequest::Speech(context)).wait().map(drop)
    }

    /// Asks for a frame with another mouth in the place of one that was asked for, and repeats what that was to repeat.
    pub fn resubmit(
        &self,
        old: &PendingFrame,
        frames: &Arc<FrameStore>,
        step: u64,
        request: MouthRequest,
    ) -> PendingFrame {
        self.ask(frames, step, request, old.before.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<MouthOutcome>>> {
        self.last.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn ask(
        &self,
        frames: &Arc<FrameStore>,
        step: u64,
        request: MouthRequest,
        before: Option<Arc<MouthOutcome>>,
    ) -> PendingFrame {
        let slot = Arc::new(Slot::default());
        let index = frames.avatar().ping_pong(step);
        let painter = self.number;
        let promise = matches!(request, MouthRequest::Speech(_) | MouthRequest::Rest)
            .then(|| MouthPromise(Arc::new(MouthOutcome(Mutex::new(MouthState::Pending(before.clone()))))));
        if let Some(promise) = &promise {
            *self.last() = Some(promise.0.clone());
        }
        let queue = self.workers.queue.clone();
        let job = Job {
            painter,
            silence: self.silence.clone(),
            frames: frames.clone(),
            index,
            request,
            before: before.clone(),
            promise,
            slot: slot.clone(),
        };
        let speaks =
            self.workers.sees_ahead && matches!(job.request, MouthRequest::Speech(_)) && !job.is_silent();
        let missing = frames.missing_after(step, speaks).into_iter();
        let prefetch = missing.map(|index| (painter, PrefetchJob { frames: frames.clone(), index, speaks }));
        let broken = {
            let mut state = queue.lock();
            if state.broken.is_none() {
                state.jobs.push_back(job);
                state.prefetch.retain(|(other, ..)| *other != painter);
                state.prefetch.extend(prefetch);
            }
            state.broken.clone()
        };
        match broken {
            Some(error) => slot.fulfil(Err(error)),
            None => queue.wake.notify_one(),
        }
        PendingFrame { slot, queue, before }
    }

    /// Calls off all frames asked for so far, also those being painted: their tickets fail at once.
    pub fn interrupt(&self) {
        self.workers.queue.interrupt(Some(self.number));
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// What a worker finds to do.
enum Task {
    /// Paint these.
    Paint(Vec<Job>),
    /// Make a frame ready that will be shown soon.
    Prefetch(PrefetchJob),
}

/// The life of a worker.
fn work(queue: &JobQueue, number: usize, mut generator: Generator) {
    // What is wrong is told by whoever paints a frame.
    queue.lock().running[number] = ActiveRun { busy: true, warms_up: true, ..ActiveRun::default() };
    if matches!(caught(|| generator.try_out()), Ok(Ok(()))) {
        // If late.
        queue.lock().broken = None;
    }
    while let Some(task) = next_task(queue, number, generator.batch()) {
        match task {
            Task::Paint(jobs) => {
                let start = Instant::now();
                let results = caught(|| paint(&jobs, &mut generator)).unwrap_or_else(|problem| {
                    let model = jobs[0].frames.avatar().generator.clone();
                    let error = Error::Inference { model, problem };
                    jobs.iter().map(|_| Err(error.clone())).collect()
                });
                note_pace(queue, &jobs, &results, start.elapsed());
                let running = std::mem::take(&mut queue.lock().running[number]);
                for (result, run) in results.into_iter().zip(running.frames) {
                    if let Some(slot) = run.slot {
                        slot.fulfil(result);
                    }
                }
            }
            // An error is met again, and told, by whoever paints the frame; a panic, too.
            Task::Prefetch(job) => {
                let _ = caught(|| prefetch(&job, &mut generator));
            }
        }
    }
}

/// Takes note of how long a run took, if the network was in it.
fn note_pace(queue: &JobQueue, jobs: &[Job], results: &[Result<Painted>], took: Duration) {
    let by_network = |result: &Result<Painted>| matches!(result, Ok(Painted { inference: Some(_), .. }));
    let painters =
        (jobs.iter().zip(results)).filter(|(_, result)| by_network(result)).map(|(job, _)| job.painter);
    queue.meter().note(Instant::now(), &painters.collect::<Vec<_>>(), took);
}

/// The first jobs for which all is there, at most a batch of them.
fn take_ready(jobs: &mut VecDeque<Job>, batch: usize) -> Vec<Job> {
    let mut ready = Vec::new();
    let mut place = 0;
    while ready.len() < batch && place < jobs.len() {
        if jobs[place].is_ready() {
            ready.extend(jobs.remove(place));
        } else {
            place += 1;
        }
    }
    ready
}

/// Waits for something to do; `None` when it is time to stop.
fn next_task(queue: &JobQueue, number: usize, batch: usize) -> Option<Task> {
    let mut state = queue.lock();
    loop {
        if state.stopping {
            return None;
        }
        state.jobs.retain(Job::is_wanted);
        let jobs = take_ready(&mut state.jobs, batch);
        if !jobs.is_empty() {
            // Under the lock, so that an interruption comes either before this or during the run.
            queue.interrupters[number].rearm();
            let frames =
                jobs.iter().map(|job| ActiveFrame { painter: job.painter, slot: Some(job.slot.clone()) });
            state.running[number] =
                ActiveRun { frames: frames.collect(), busy: true, ..ActiveRun::default() };
            // What has become ready by what became of others wakes nobody by itself.
            if state.jobs.iter().any(Job::is_ready) {
                queue.wake.notify_one();
            }
            return Some(Task::Paint(jobs));
        }
        if let Some((_, job)) = state.prefetch.pop_front() {
            queue.interrupters[number].rearm();
            state.running[number] = ActiveRun { busy: true, ..ActiveRun::default() };
            return Some(Task::Prefetch(job));
        }
        state.running[number] = ActiveRun::default();
        state = queue.wake.wait(state).unwrap_or_else(|e| e.into_inner());
    }
}

/// Decodes a frame, and has the network see it if it will speak.
fn prefetch(job: &PrefetchJob, generator: &mut Generator) -> Result<()> {
    let frame = job.frames.get(job.index)?;
    if job.speaks {
        generator.see(&frame.seen)?;
        job.frames.note_growth(job.index, &frame);
    }
    Ok(())
}

/// How a job's mouth comes about.
enum Plan<'a> {
    /// By the network, from a context.
    Paint(Arc<Frame>, &'a Context),
    /// It is there already; `None` where the frame is right as it is.
    Ready(Arc<Frame>, Face),
}

/// What is to be done for a job.
fn plan(job: &Job) -> Result<Plan<'_>> {
    let frame = job.frames.get(job.index)?;
    Ok(match &job.request {
        MouthRequest::Speech(context) if job.is_silent() => silent(job, frame, context),
        MouthRequest::Speech(context) => Plan::Paint(frame, context),
        MouthRequest::Repeat => Plan::Ready(frame, job.face_before()),
        MouthRequest::Rest => rest(job, frame),
        MouthRequest::Closing => {
            let shut = match rest(job, frame.clone()) {
                Plan::Ready(_, mouth) => mouth
                    .unwrap_or_else(|| Arc::new(Pooled::copy(&job.frames.framing().face(&frame.seen.views)))),
                paint => return Ok(paint),
            };
            let before = job.face_before().unwrap_or_else(|| shut.clone());
            Plan::Ready(frame, Some(Arc::new(half_way(&before, &shut))))
        }
    })
}

/// How a frame's mouth at rest comes about.
fn rest(job: &Job, frame: Arc<Frame>) -> Plan<'_> {
    match &job.silence {
        Some(silence) if !job.frames.avatar().at_rest => silent(job, frame, silence),
        _ => Plan::Ready(frame, None),
    }
}

/// How the mouth comes about that is painted in silence.
fn silent<'a>(job: &Job, frame: Arc<Frame>, silence: &'a Context) -> Plan<'a> {
    match job.frames.resting(job.index) {
        Some(mouth) => Plan::Ready(frame, Some(mouth)),
        None => Plan::Paint(frame, silence),
    }
}

/// The mean of two pictures of the same size.
fn half_way(a: &RgbImage, b: &RgbImage) -> Pooled {
    let mut mean = Pooled::copy(a);
    for (a, b) in mean.iter_mut().zip(b.iter()) {
        *a = a.midpoint(*b);
    }
    mean
}

/// Paints up to a batch of jobs: a result for each.
fn paint(jobs: &[Job], generator: &mut Generator) -> Vec<Result<Painted>> {
    let plans: Vec<Result<Plan<'_>>> = jobs.iter().map(plan).collect();
    let faces: Vec<_> = (plans.iter())
        .filter_map(|plan| match plan {
            Ok(Plan::Paint(frame, context)) => Some((&frame.seen, *context)),
            _ => None,
        })
        .collect();
    let start = Instant::now();
    let count = faces.len();
    let mut painted = paint_faces(&faces, generator).into_iter();
    let inference = (count > 0).then(|| start.elapsed() / count as u32);
    let mut next_face = || painted.next().unwrap_or(Err(Error::Interrupted)).map(Arc::new);
    (jobs.iter().zip(plans))
        .map(|(job, plan)| {
            let (frame, face, inference) = match plan? {
                Plan::Ready(frame, face) => (frame, face, None),
                Plan::Paint(frame, _) => {
                    let face = next_face()?;
                    job.frames.note_growth(job.index, &frame);
                    if job.is_silent() {
                        job.frames.keep_resting(job.index, &face);
                    }
                    (frame, Some(face), inference)
                }
            };
            if let Some(promise) = &job.promise {
                promise.0.settle(face.clone());
            }
            let mouth = face.map(|face| job.frames.mouth(&frame, &face));
            Ok(Painted { frame, mouth, inference })
        })
        .collect()
}

/// Has the network paint faces: a result for each. Where all together fail, each shows by itself whether it is at fault.
fn paint_faces(faces: &[(&Seen, &Context)], generator: &mut Generator) -> Vec<Result<Pooled>> {
    if faces.is_empty() {
        return Vec::new();
    }
    match generator.paint(faces.iter().copied()) {
        Ok(painted) => painted.into_iter().map(Ok).collect(),
        Err(error) if faces.len() == 1 => vec![Err(error)],
        Err(_) => faces.chunks(1).flat_map(|face| paint_faces(face, generator)).collect(),
    }
}
