// SPDX-License-Identifier: MPL-2.0
//! How a batch of jobs is painted: one run of the generator for those that need it, and the mouths that are there already.

use std::sync::Arc;
use std::time::Instant;

use image::RgbImage;

use crate::avatar::frames::DecodedFrame;
use crate::error::{Error, Result};
use crate::features::Context;
use crate::generator::{FaceInput, Generator};
use crate::picture::morph::Flow;
use crate::picture::pool::{self, Pooled};
use crate::render::painter::job::{Job, MouthRequest};
use crate::render::painter::mouth::GeneratedMouth;
use crate::render::painter::painted::Painted;

/// How a job's mouth comes about.
enum Plan<'a> {
    /// By the network, from a context.
    Paint(Arc<DecodedFrame>, &'a Context),
    /// It is there already; `None` where the frame is right as it is.
    Ready(Arc<DecodedFrame>, GeneratedMouth),
}

/// What is to be done for a job.
fn plan(job: &Job) -> Result<Plan<'_>> {
    let frame = job.frames.get(job.at)?;
    Ok(match &job.request {
        _ if job.own_mouth == u8::MAX => Plan::Ready(frame, None),
        MouthRequest::Speech(context) if job.is_silent() => silent(job, frame, context),
        MouthRequest::Speech(context) => Plan::Paint(frame, context),
        MouthRequest::Repeat => Plan::Ready(frame, job.mouth_before()),
        MouthRequest::Rest => rest(job, frame),
        MouthRequest::Closing => {
            let shut = match rest(job, frame.clone()) {
                Plan::Ready(_, mouth) => mouth
                    .unwrap_or_else(|| Arc::new(Pooled::copy(&job.frames.framing().face(&frame.seen.views)))),
                paint => return Ok(paint),
            };
            let before = job.mouth_before().unwrap_or_else(|| shut.clone());
            Plan::Ready(frame, Some(Arc::new(half_way(&before, &shut))))
        }
    })
}

/// How a frame's mouth at rest comes about.
fn rest(job: &Job, frame: Arc<DecodedFrame>) -> Plan<'_> {
    match &job.silence {
        Some(silence) if !job.frames.avatar().at_rest => silent(job, frame, silence),
        _ => Plan::Ready(frame, None),
    }
}

/// How the mouth comes about that is painted in silence.
fn silent<'a>(job: &Job, frame: Arc<DecodedFrame>, silence: &'a Context) -> Plan<'a> {
    match job.frames.resting(job.at) {
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
pub(super) fn paint(jobs: &[Job], generator: &mut Generator) -> Vec<Result<Painted>> {
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
                    job.frames.note_growth(job.at, &frame);
                    if job.is_silent() {
                        job.frames.keep_resting(job.at, &face);
                    }
                    (frame, Some(face), inference)
                }
            };
            if let Some(promise) = &job.promise {
                promise.fulfil(face.clone());
            }
            let mouth = face.map(|face| match job.own_mouth {
                0 => job.frames.mouth(&frame, &face),
                // The lips move from one to the other: they are not seen twice.
                weight => {
                    let own = job.frames.framing().face(&frame.seen.views);
                    let between = Flow::between(&face, &own).colours(&face, &own, weight);
                    let mouth = job.frames.mouth(&frame, &between);
                    pool::give_back(between);
                    mouth
                }
            });
            Ok(Painted { frame, mouth, inference })
        })
        .collect()
}

/// Has the network paint faces: a result for each. Where all together fail, each shows by itself whether it is at fault.
fn paint_faces(faces: &[(&FaceInput, &Context)], generator: &mut Generator) -> Vec<Result<Pooled>> {
    if faces.is_empty() {
        return Vec::new();
    }
    match generator.paint(faces.iter().copied()) {
        Ok(painted) => painted.into_iter().map(Ok).collect(),
        Err(error) if faces.len() == 1 => vec![Err(error)],
        Err(_) => faces.chunks(1).flat_map(|face| paint_faces(face, generator)).collect(),
    }
}
