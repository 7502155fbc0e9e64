// SPDX-License-Identifier: MPL-2.0
//! `precision=auto`: the 8-bit network, unless this processor is faster at the original.

use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::file::sha256_hex;
use crate::generator::Generator;
use crate::generator::face::FaceOptions;
use crate::inference::cancellation;
use crate::inference::precision::{Precision, int8_file};
use crate::inference::prepare::Remembered;
use crate::inference::runtime::{Engine, environment};
use crate::kernels::{self, Isa};
use crate::limits::RUN;

/// Runs of each network that are measured; the fastest counts, since whatever else runs only adds to it.
const RUNS: usize = 4;

/// The precision to play a generator in, where the engine says `auto` and there is an 8-bit network; else what the
/// engine says.
///
/// Instructions that multiply bytes are faster than float32, so that where there are kernels for them
/// nothing needs to be measured. Elsewhere it depends on the network, and both are measured once; the result is kept
/// with the cached graphs, for this processor: a home folder may be shared between machines.
///
/// # Errors
/// As [`Generator::open`].
pub fn precision(path: &Path, face: FaceOptions, engine: &Engine) -> Result<Precision> {
    let int8 = int8_file(path);
    if engine.precision != Precision::Auto || !engine.is_processor() || !int8.exists() {
        return Ok(engine.precision);
    }
    let isa = kernels::detect();
    if isa.is_some_and(Isa::multiplies_bytes) {
        return Ok(Precision::Int8);
    }
    // The library must be loaded from where the engine says, before its version is asked for.
    environment(engine.library_dir.as_deref())?;
    let remembered = Remembered::of(&int8, &remembered_name(isa, &processor()));
    if let Some(precision) = remembered.as_ref().and_then(Remembered::read).and_then(|name| named(&name)) {
        if precision == Precision::Fp32 {
            // Who plays the 8-bit network checks that it was made from this generator; here nobody else would.
            Precision::Int8.select_model(path)?;
        }
        return Ok(precision);
    }
    let measure = |precision| {
        let engine = Engine { precision, ..engine.clone() };
        Generator::open(path, face, &engine, 1).and_then(time)
    };
    let precision = match (measure(Precision::Int8), measure(Precision::Fp32)) {
        (Err(Error::Interrupted), _) | (_, Err(Error::Interrupted)) => return Err(Error::Interrupted),
        (Ok(bytes), Ok(float)) if bytes > float => Precision::Fp32,
        // What is wrong with the 8-bit network is told by who plays it; what is wrong with the other does not matter.
        _ => Precision::Int8,
    };
    remembered.iter().for_each(|remembered| remembered.write(name(precision)));
    Ok(precision)
}

/// Under which name the result is kept for these kernels on this processor.
fn remembered_name(isa: Option<Isa>, processor: &str) -> String {
    format!("faster-{}-{}", isa.map_or("none", Isa::name), &sha256_hex(processor.as_bytes())[..16])
}

/// What tells processors apart: the model, where the system tells it, and the number of cores that this process may use.
fn processor() -> String {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    format!("{} x {threads}", model_name(&cpu_info))
}

/// The model in Linux' description of the processors: a name on x86, the number of the first core's kind on ARM; empty
/// where it has neither.
fn model_name(cpu_info: &str) -> &str {
    let fields = || cpu_info.lines().filter_map(|line| line.split_once(':'));
    let field =
        |wanted: &str| fields().find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim());
    field("model name").or_else(|| field("CPU part")).unwrap_or_default()
}

/// How long a frame takes whose face is known.
fn time(mut generator: Generator) -> Result<Duration> {
    let interrupter = generator.interrupter();
    let _stage = cancellation::begin_load(generator.path(), RUN, move || interrupter.interrupt())?;
    let (face, silence) = generator.black_face();
    let mut run = || {
        let start = Instant::now();
        generator.paint([(&face, &silence)].into_iter()).map(|_| start.elapsed())
    };
    let mut best = run()?;
    for _ in 0..RUNS {
        best = best.min(run()?);
    }
    Ok(best)
}

/// The name of a precision in the cache and in `stats`.
pub fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Auto => "auto",
        Precision::Fp32 => "float32",
        Precision::Half => "half",
        Precision::Int8 => "int8",
    }
}

fn named(text: &str) -> Option<Precision> {
    [Precision::Fp32, Precision::Int8].into_iter().find(|precision| name(*precision) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_other_processors_are_not_taken() {
        let intel = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R)\nstepping\t: 2\n\nprocessor\t: 1\n";
        let arm =
            "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU part\t: 0xd0b\n";
        assert_eq!([intel, arm, ""].map(model_name), ["Intel(R) Xeon(R)", "0xd08", ""]);
        let name = |processor| remembered_name(Some(Isa::Avx2), processor);
        assert_eq!(name("Intel(R) Xeon(R) x 2"), name("Intel(R) Xeon(R) x 2"));
        assert_ne!(name("Intel(R) Xeon(R) x 2"), name("Intel(R) Xeon(R) x 4"));
        assert_ne!(name("Intel(R) Xeon(R) x 2"), remembered_name(None, "Intel(R) Xeon(R) x 2"));
        // It is part of a file's name.
        assert!(name("AMD/Zen x 2").chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    }
}
