"""How good is she?  Held-out sentences, voices and renders only.

    python judge.py                # the checkpoints
    python judge.py --pictures 4   # also the shipped ONNX files, by the pixels they paint, on 4 clips a group

For every group of held-out speech:
  rank   Spearman correlation of the predicted and the true distance between the lips
  offset time by which the prediction is late (ms), by cross-correlation with the truth
  shut   mean predicted distance between the lips in pauses (mm), and its 95th percentile
  p b m  share of closed-lip sounds in which the lips come closer than 1.5 mm
  jitter mean frame-to-frame change of the predicted distance, over that of the truth
Truth is what mouth.trajectory makes of the phone times: a model, not a filmed mouth.
"""

import argparse
import json

import mel
import mouth
import numpy as np
import speech_data
import torch
import train_painter
from common import AVATAR, WORK
from export import load_audio, load_painter
from make_speech import FLITE_VOICES, HELD_VOICE, KOKORO_VOICES
from preview import Avatar
from scipy.stats import spearmanr

GROUPS = {
    "flite voices": FLITE_VOICES,
    "kokoro voices": KOKORO_VOICES,
    "unseen voice": [HELD_VOICE],
    "human reader": ["human"],
}
LAGS = np.arange(-160, 165, 5)  # ms


def clips_of(voices):
    return [clip for voice in voices for clip in speech_data.load_clips("held", voice + "-")]


@torch.no_grad()
def predicted_states(model, audio, frames):
    padded = np.pad(audio, (0, mel.N_FFT))
    return model(torch.from_numpy(padded)[None], frames)[0][0].clamp(0, 1).numpy()


def best_lag(signals, clips):
    """Lag (ms) that aligns the signals (one value a frame) best with the true opening."""
    scores = []
    for lag in LAGS:
        pairs = [
            (signal, mouth.opening(mouth.at_times(track, np.arange(len(signal)) / mel.FPS - lag / 1000)))
            for signal, (_, _, track) in zip(signals, clips)
        ]
        a, b = (np.concatenate(side) for side in zip(*pairs))
        scores.append(np.corrcoef(a, b)[0, 1])
    return int(LAGS[int(np.argmax(scores))])


def closed_moments(name, split="held"):
    phones = json.loads(str(np.load(WORK / "speech" / split / f"{name}.npz")["phones"]))
    return [(start, end) for phone, start, end in phones if phone in mouth.CLOSED_PHONES]


def pauses(track, frames):
    """Frames with shut lips in the truth and 120 ms around."""
    time = np.arange(frames) / mel.FPS
    still = [np.abs(mouth.at_times(track, np.maximum(time + d, 0))).max(1) < 0.02 for d in (-0.12, -0.06, 0, 0.06, 0.12)]
    return np.all(still, axis=0)


def judge_group(model, clips):
    openings, truths, shut, closed = [], [], [], []
    for name, audio, track in clips:
        frames = len(audio) * mel.FPS // mel.SAMPLE_RATE
        opening = mouth.opening(predicted_states(model, audio, frames))
        openings.append(opening)
        truths.append(mouth.opening(mouth.at_times(track, np.arange(frames) / mel.FPS)))
        shut.append(opening[pauses(track, frames)])
        for start, end in closed_moments(name):
            near = opening[max(0, int(start * mel.FPS)) : int(np.ceil(end * mel.FPS)) + 1]
            if len(near):
                closed.append(near.min() < 1.5)
    a, b, shut = np.concatenate(openings), np.concatenate(truths), np.concatenate(shut)
    jitter = np.mean([np.abs(np.diff(o)).mean() for o in openings]) / np.mean([np.abs(np.diff(t)).mean() for t in truths])
    silence = f"{shut.mean():.2f} (p95 {np.percentile(shut, 95):.2f}) mm" if len(shut) else "no pauses"
    print(
        f"  rank {spearmanr(a, b).statistic:.3f}   offset {best_lag(openings, clips):+d} ms   shut {silence}"
        f"   open {a.mean():.2f} mm of {b.mean():.2f}   p b m {np.mean(closed):.0%}   jitter {jitter:.2f}"
    )


def judge_pictures(avatar, clips):
    """The painted pixels: how much the lips region differs from the closed reference."""
    signals = []
    for _, audio, _ in clips:
        signal = []
        for number, context in enumerate(avatar.contexts(audio)):
            place = avatar.ping_pong(number)
            x, y, _, _ = avatar.crops[place]
            lips = (slice(y + 185, y + 265), slice(x + 104, x + 224))
            change = avatar.paint(number, context)[lips].astype(float) - avatar.frames[place][lips]
            signal.append(np.abs(change).mean())
        signals.append(np.array(signal))
    truths = [mouth.opening(mouth.at_times(t, np.arange(len(s)) / mel.FPS)) for s, (_, _, t) in zip(signals, clips)]
    rank = spearmanr(np.concatenate(signals), np.concatenate(truths)).statistic
    print(f"  painted: rank {rank:.3f}   offset {best_lag(signals, clips):+d} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=0, metavar="CLIPS")
    arguments = parser.parse_args()
    model = load_audio()
    for group, voices in GROUPS.items():
        clips = clips_of(voices)
        if clips:
            print(f"{group}: {len(clips)} clips, {sum(len(a) for _, a, _ in clips) / mel.SAMPLE_RATE:.0f} s")
            judge_group(model, clips)
            if arguments.pictures:
                judge_pictures(Avatar(AVATAR), clips[: arguments.pictures])
    silence = np.zeros(4 * mel.SAMPLE_RATE, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.003, len(silence)).astype(np.float32)
    for name, audio in (("digital silence", silence), ("noise at -50 dBFS", noise)):
        opening = mouth.opening(predicted_states(model, audio, 100))
        print(f"{name}: mean opening {opening.mean():.2f} mm, largest {opening.max():.2f} mm")
    if train_painter.CHECKPOINT.exists():
        rest = train_painter.surround()
        held = [e for e in train_painter.rendered() if train_painter.is_held(e[0])]
        value = train_painter.held_psnr(load_painter(), held, rest)
        print(f"painter: {value:.2f} dB over the mouth on {len(held)} held-out renders")


if __name__ == "__main__":
    main()
