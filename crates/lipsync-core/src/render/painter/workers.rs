// SPDX-License-Identifier: MPL-2.0
//! The threads that paint: one for each session of a generator, shared by all painters of the same network.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::avatar::Avatar;
use crate::error::{Error, Result, caught};
use crate::features::AudioContextKind;
use crate::generator::Generator;
use crate::generator::face::{FaceOptions, Framing};
use crate::inference::cancellation;
use crate::inference::runtime::Engine;
use crate::inference::shared::{FileStamp, Shared};
use crate::render::painter::job::Job;
use crate::render::painter::job_queue::{JobQueue, Task};
use crate::render::painter::paint::paint;
use crate::render::painter::painted::Painted;
use crate::render::painter::prefetch::prefetch;

/// The workers of one network.
pub(super) struct Workers {
    pub(super) queue: Arc<JobQueue>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) context_kind: AudioContextKind,
    pub(super) framing: Framing,
    pub(super) batch: usize,
    /// Whether what is seen can be seen ahead of time.
    pub(super) sees_ahead: bool,
    pub(super) arithmetic: String,
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
    /// The workers of the avatar's generator, started now unless another painter has them already.
    pub(super) fn shared(avatar: &Avatar, engine: &Engine, workers: usize) -> Result<Arc<Self>> {
        let key = Key {
            generator: FileStamp::of(&avatar.generator),
            face: avatar.face,
            engine: engine.key(),
            workers,
        };
        WORKERS.get(key, || Self::open(avatar, engine, workers))
    }

    fn open(avatar: &Avatar, engine: &Engine, workers: usize) -> Result<Self> {
        // Sessions of one thread each beat one session of many: nobody waits for the slowest.
        let generators = Generator::open_several(&avatar.generator, avatar.face, engine, 1, workers)?;
        let context_kind = generators[0].context_kind();
        let (framing, batch) = (generators[0].framing(), generators[0].batch());
        let queue = Arc::new(JobQueue::new(
            generators.iter().map(Generator::interrupter).collect(),
            avatar.generator.clone(),
            generators[0].run_limit(),
        ));
        let sees_ahead = generators[0].has_image_branch();
        let arithmetic = generators[0].arithmetic().to_owned();
        let mut workers =
            Self { queue, threads: Vec::new(), context_kind, framing, batch, sees_ahead, arithmetic };
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
        self.queue.stop();
        cancellation::join_or_detach(self.threads.drain(..), &self.queue.network);
    }
}

/// The life of a worker.
fn work(queue: &JobQueue, number: usize, mut generator: Generator) {
    queue.begin_warm_up(number);
    // An error is met again, and reported, by whoever paints a frame.
    if matches!(caught(|| generator.try_out()), Ok(Ok(()))) {
        queue.note_warm();
    }
    while let Some(task) = queue.next_task(number, generator.batch()) {
        match task {
            Task::Paint(jobs) => {
                let start = Instant::now();
                let results = caught(|| paint(&jobs, &mut generator)).unwrap_or_else(|problem| {
                    let model = jobs[0].frames.avatar().generator.clone();
                    let error = Error::inference(model, problem);
                    jobs.iter().map(|_| Err(error.clone())).collect()
                });
                note_pace(queue, &jobs, &results, start.elapsed());
                queue.finish(number, results);
            }
            // An error, or a panic, is met again, and reported, by whoever paints the frame.
            Task::Prefetch(job) => {
                let _ = caught(|| prefetch(&job, &mut generator));
            }
        }
    }
}

/// Notes how long a run took, if the network was in it.
fn note_pace(queue: &JobQueue, jobs: &[Job], results: &[Result<Painted>], took: Duration) {
    let by_network = |result: &Result<Painted>| matches!(result, Ok(Painted { inference: Some(_), .. }));
    let painters =
        (jobs.iter().zip(results)).filter(|(_, result)| by_network(result)).map(|(job, _)| job.painter);
    queue.meter().note(Instant::now(), &painters.collect::<Vec<_>>(), took);
}
