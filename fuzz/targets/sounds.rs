// SPDX-License-Identifier: MPL-2.0
//! Sounds of any rate in pieces of any size, with values that are no numbers, gaps, new formats and rates in between.

#![no_main]

use std::sync::LazyLock;

use fuzz::avatar;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use lipsync_core::avatar::Avatar;
use lipsync_core::features::{self, AudioContextKind};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::rate::{FrameRate, SECOND};
use lipsync_core::render::listener::Listener;

static AVATAR: LazyLock<Avatar> =
    LazyLock::new(|| Avatar::open(&avatar::write()).expect("the avatar is one"));

const RATES: [u32; 12] = [0, 1, 2, 15, 8_000, 11_025, 15_999, 16_000, 16_001, 44_100, 48_000, 384_000];

fuzz_target!(|input: &[u8]| -> Corpus {
    match hear(&mut Unstructured::new(input)) {
        Ok(()) => Corpus::Keep,
        Err(_) => Corpus::Reject,
    }
});

fn hear(input: &mut Unstructured<'_>) -> Result<()> {
    let limit = if input.arbitrary()? { features::NO_LIMIT } else { input.int_in_range(0..=20_000)? };
    let engine = Engine::default();
    let track = AVATAR.open_features(AudioContextKind::MelWindow, limit, &engine).expect("it has no network");
    let mut listener = Listener::new(track, FrameRate::NATIVE);
    let mut channels = 1;
    let mut finished = false;
    for _ in 0..input.int_in_range(1..=12)? {
        let step = input.int_in_range(0..=11)?;
        // Behind the end comes nothing until all is forgotten.
        if finished && !matches!(step, 8 | 9 | 11) {
            continue;
        }
        finished = step == 7;
        let _ = match step {
            0 | 1 => {
                let rate = if input.arbitrary()? {
                    *input.choose(&RATES)?
                } else {
                    input.int_in_range(1..=50_000)?
                };
                let _ = listener.lookahead(rate.max(1));
                let count = input.int_in_range(0..=3)?;
                let weights = (0..count).map(|_| input.arbitrary()).collect::<Result<Vec<f32>>>()?;
                let set = listener.set_input(rate, weights);
                channels = if set.is_ok() { count } else { channels };
                set
            }
            2..=5 => {
                let count = input.int_in_range(0..=3_000)?;
                let values: [f32; 3] = input.arbitrary()?;
                let is_quiet = input.ratio(7, 8)?;
                let value = |n: usize| if is_quiet { values[n % 3].clamp(-1.0, 1.0) } else { values[n % 3] };
                let odd = usize::from(input.ratio(1, 16)?);
                let sound: Vec<f32> = (0..count * channels + odd).map(value).collect();
                listener.push(&sound)
            }
            6 => listener.push_silence(input.int_in_range(0..=SECOND)?),
            7 => listener.finish(),
            8 => listener.reset(),
            9 => match FrameRate::new(input.int_in_range(0..=240)?, input.int_in_range(0..=1001)?) {
                Some(rate) => listener.set_rate(rate),
                None => Ok(()),
            },
            10 => {
                listener.skip_to(listener.told() + input.int_in_range(0..=5)?);
                Ok(())
            }
            _ => listener.silence().map(drop),
        };
        let mut last = None;
        // Enough for all that was pushed, at any rate.
        for _ in 0..1_000 {
            let Ok(Some((n, context))) = listener.next_context() else { break };
            assert!(
                last.is_none_or(|last| n == last + 1)
                    && context.len() == AudioContextKind::MelWindow.values()
            );
            last = Some(n);
        }
        let _ = (listener.due(), listener.told(), listener.duration());
    }
    Ok(())
}
