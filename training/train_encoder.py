# SPDX-License-Identifier: MPL-2.0
"""Train the audio encoder and the head: mel windows -> mouth state of every frame.

    python train_encoder.py --minutes 60                  # begins from hearing.npz, the trained ones that come with the kit
    python train_encoder.py --minutes 120 --from-scratch  # from random weights
    python train_encoder.py --pack                        # writes the trained ones to hearing.npz

Checkpoint: WORK/encoder.pt; running again resumes from it.
"""

import argparse
import os

import mel
import mouth
import numpy as np
import speech_data
import torch
import trainer
from common import HERE, WORK
from nets import EMBEDDING, ROWS, AudioEncoder, MouthHead
from scipy.stats import spearmanr
from torch import nn

CHECKPOINT = WORK / "encoder.pt"
HEARING = HERE / "hearing.npz"  # encoder, head and probe as they come with the kit; README.md says how they were made
BATCH, WINDOWS = 8, 71
FIRST = ROWS // 2 + 1  # rows from the first of a context to the frame's time: row r is window r - 1, and 8 rows come before
RATE = mel.FPS * mel.PHASES // mel.APART  # windows and frames per second: those that are averaged, and so all that a frame needs
SECONDS = WINDOWS / RATE + 0.25  # of audio in one example
FINER = RATE // mel.FPS
# A linear probe on every row must predict the mouth at these times (s) after the start of the window
# (its middle is at 94 ms), so that the 512 values encode mouth shapes before the head processes them.
PROBE_TIMES = np.array([0.045, 0.094, 0.143])
PROBE_WEIGHT = 0.3
SPEED_WEIGHT = 2.0  # on frame-to-frame change: no jitter, no lag
TURN_WEIGHT = 3.0  # on the change of that, in steps of 20 ms
# Viewers notice the distance between the lips first, and missed closures most of all.
OPENING_WEIGHT = 0.5
# The voices that are closest to people's are drawn so much more often.
NEURAL, OFTEN = ("jf_", "jm_", "mix-"), 5
OPENING_MM = 3.0  # an error of this size has a loss of one
CLOSED_MM, CLOSED_FACTOR = 1.0, 12.0  # extra weight of frames that should be closed
SHUT_WEIGHT, SHUT_FACTOR = 3.0, 3.0  # of p, b and m as such; missing one costs more than an unnecessary one
CRITICAL_FACTOR = 4.0
SHORT_CONTEXT = 0.4  # share of examples with a shortened lookahead
LIPS = torch.from_numpy(mouth.OPENING_MM).to(trainer.DEVICE)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AudioEncoder()
        self.head = MouthHead()
        self.probe = nn.Linear(EMBEDDING, len(PROBE_TIMES) * mouth.N_UNITS)
        self.settled = False

    def train(self, mode=True):
        """Weights that were trained already keep the statistics of their normalisation: a batch has only eight voices."""
        super().train(mode)
        for module in self.encoder.modules() if self.settled else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def rows(self, audio, phase):
        """audio [B, samples] -> encoder rows [B, WINDOWS, 512], of RATE windows per second."""
        spectra = mel.mel_spectrogram(audio)
        starts = torch.arange(WINDOWS, device=audio.device) * mel.APART + phase
        windows = spectra.unfold(2, mel.WINDOW_SPAN, 1)[:, :, starts, :: mel.HOP // mel.GRID].transpose(1, 2)
        return self.encoder(windows.flatten(0, 1)[:, None]).view(len(audio), WINDOWS, EMBEDDING)

    def states(self, contexts):
        """States and closures [..., N_UNITS + 1], not clamped."""
        return self.head(contexts.flatten(0, -3)).float().view(*contexts.shape[:-2], mouth.N_UNITS + 1)


def packed(file=HEARING):
    """The weights of a file like HEARING, {name: tensor}."""
    with np.load(file) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def pack():
    """Writes the weights that were trained here to HEARING."""
    weights = torch.load(CHECKPOINT, map_location="cpu")["average"]
    part = HEARING.with_suffix(".part.npz")
    np.savez_compressed(part, **{name: value.numpy() for name, value in weights.items()})
    os.replace(part, HEARING)


def load(file=None):
    """The encoder and head of that file, or those that were trained here, or else those that come with the kit."""
    file = file or (CHECKPOINT if CHECKPOINT.exists() else HEARING)
    model = Model()
    model.load_state_dict(packed(file) if file.suffix == ".npz" else torch.load(file, map_location="cpu")["average"])
    return model.eval()


@torch.no_grad()
def hear(model, audio, future=mel.FUTURE_ROWS, fps=mel.FPS):
    """Mouth states of a whole clip as the plugin computes them, [frames, N_UNITS].

    `future` shortens the lookahead.  At a rate other than 25 the rows of a frame are 40 ms apart as well, counted from its own time.
    """
    frames = len(audio) * fps // mel.SAMPLE_RATE
    silence = model.encoder(torch.full((1, 1, mel.BANDS, mel.WINDOW_FRAMES), -4.0))
    spectrum = mel.mel_spectrogram(torch.from_numpy(audio))
    rows, parts = np.divmod(np.arange(frames) * mel.FPS, fps)
    states = np.zeros((frames, mouth.N_UNITS), np.float32)
    for part in np.unique(parts):
        mine = np.flatnonzero(parts == part)
        heard = mel.rows(model.encoder, spectrum, rows[mine].max() + 1, int(part * mel.PHASES // fps))
        contexts = mel.contexts(*heard, future)[rows[mine]]
        missing = contexts.abs().amax(2, keepdim=True) == 0
        contexts = torch.where(missing, silence, contexts)
        states[mine] = model.head.states(contexts).numpy()
    return states


def averaged_contexts(rows, futures):
    """Rows of single windows [B, WINDOWS, 512] -> contexts [B, frames, 16, 512] as mel.rows and mel.contexts make them."""
    averaged = mel.averaged(rows[:, :-2], rows[:, 1:-1], rows[:, 2:])
    full, last = (part.unfold(1, (ROWS - 1) * FINER + 1, 1)[..., ::FINER].transpose(2, 3) for part in averaged)
    known = [ROWS // 2 + future for future in futures]
    ended = [torch.cat([f[:, :n], l[:, n : n + 1], f[:, n + 1 :]], 1) for f, l, n in zip(full, last, known)]
    return torch.stack([mel.shorten(context, future) for context, future in zip(ended, futures)])


def targets(tracks, phase):
    """States with closures [B, frames, units + 1] and probes [B, WINDOWS, 3, units]."""
    late = phase / mel.PHASES / mel.FPS
    frames = WINDOWS - 2 - (ROWS - 1) * FINER  # the first and last window have only one neighbour
    middles = (np.arange(frames) + 1) / RATE + FIRST / mel.FPS + late
    rows = (np.arange(WINDOWS) / RATE + late)[:, None] + PROBE_TIMES
    states, probes = (np.stack([mouth.at_times(t, times) for t in tracks]) for times in (middles, rows))
    return [torch.tensor(x, dtype=torch.float32, device=trainer.DEVICE) for x in (states, probes[..., :-1])]


def importance(states):
    """Weights [..., N_UNITS] of errors: what f, v, w and oo cannot do without is rare, and would be missed for the sake of the rest."""
    weight = torch.ones_like(states)
    weight[..., mouth.ROLL] += (CRITICAL_FACTOR - 1) * (states[..., mouth.ROLL] > 0.4)
    weight[..., mouth.ROUNDING] += (CRITICAL_FACTOR - 1) * (states[..., mouth.ROUNDING].sum(-1, keepdim=True) > 0.6)
    return weight


def loss_of(model, audio, tracks, scale, phase, futures):
    with trainer.half_precision():
        rows = model.rows(audio, phase)
        heard = model.states(averaged_contexts(rows, futures))
        probes = model.probe(rows).float().view(*rows.shape[:2], len(PROBE_TIMES), mouth.N_UNITS)
    want, want_probes = targets(tracks, phase)
    states, shut, want_states, want_shut = heard[..., :-1], heard[..., -1], want[..., :-1], want[..., -1]
    error = (states - want_states) / scale
    main = (importance(want_states) * nn.functional.smooth_l1_loss(error, error * 0, reduction="none")).mean()
    change = error[:, 1:] - error[:, :-1]
    # In steps of 20 ms it is half as much as in those of 40 ms.
    speed = nn.functional.smooth_l1_loss(change * FINER, change * 0)
    turn = change[:, 1:] - change[:, :-1]
    turn = nn.functional.smooth_l1_loss(turn * FINER, turn * 0)
    want_opening = (want_states @ LIPS).clamp(min=0)
    weight = 1 + (CLOSED_FACTOR - 1) * (want_opening < CLOSED_MM)

    def apart(opening):
        # In closed frames it does not matter how firmly the lips are pressed together.
        miss = torch.where(want_opening > 0, opening, opening.clamp(min=0)) - want_opening
        return (weight * nn.functional.smooth_l1_loss(miss / OPENING_MM, miss * 0, reduction="none")).mean()

    # As they are heard, and as they are shown.
    lips = (apart(states @ LIPS) + apart(model.head.shown(heard.flatten(0, 1)).view(states.shape) @ LIPS)) / 2
    probe = nn.functional.smooth_l1_loss(probes / scale, want_probes / scale)
    closure = ((1 + (SHUT_FACTOR - 1) * want_shut) * (shut - want_shut) ** 2).mean()
    return main + SPEED_WEIGHT * speed + TURN_WEIGHT * turn + PROBE_WEIGHT * probe + OPENING_WEIGHT * lips + SHUT_WEIGHT * closure


def unseen_rank(weights, clips):
    """A line on how well the opening is predicted for unseen voices."""
    model = Model()
    model.load_state_dict({k: v.cpu() for k, v in weights.items()})
    model.eval()
    pairs = []
    for clip in clips:
        states = hear(model, clip.audio)
        truth = mouth.at_times(clip.track, np.arange(len(states)) / mel.FPS)
        pairs.append((mouth.opening(states), mouth.opening(truth)))
    a, b = (np.concatenate(side) for side in zip(*pairs))
    shut = a[b < 0.3]
    return f"unseen voices: rank {spearmanr(a, b).statistic:.3f}, closed lips missed {np.mean(shut > 1.5):.1%}"


def main():
    from make_speech import HELD_VOICES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=12_000, rate=None)
    parser.add_argument("--from-scratch", action="store_true", help="begin from random weights (highest rate 1.5e-3, else 1.2e-4)")
    parser.add_argument("--pack", action="store_true", help="do not train: write the weights of WORK/encoder.pt to hearing.npz")
    arguments = parser.parse_args()
    if arguments.pack:
        pack()
        return
    arguments.rate = arguments.rate or (1.5e-3 if arguments.from_scratch else 1.2e-4)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    clips = [clip for clip in speech_data.load_clips("train") for _ in range(OFTEN if clip.name.startswith(NEURAL) else 1)]
    held = [clip for voice in HELD_VOICES for clip in speech_data.load_clips("held", voice)]
    if not clips or not held:
        raise SystemExit(f"{WORK / 'speech'}: contains no training speech. Make it first: make -C training speech")
    print(f"{len({clip.name for clip in clips})} clips", flush=True)
    # A common scale, larger for units that move more: every unit contributes, and none dominates.
    scale = torch.tensor(np.concatenate([c.track for c in clips]).std(0) + 0.03, dtype=torch.float32).to(trainer.DEVICE)
    model = Model().to(trainer.DEVICE, memory_format=torch.channels_last)
    if not arguments.from_scratch:
        model.load_state_dict(packed())
        model.settled = True

    def loss(step):
        rng = np.random.default_rng([7, step])
        audio, tracks = speech_data.batch(rng, clips, BATCH, SECONDS)
        short = rng.random(BATCH) < SHORT_CONTEXT
        futures = np.where(short, rng.integers(mel.SHORTEST_FUTURE, mel.FUTURE_ROWS, BATCH), mel.FUTURE_ROWS)
        return loss_of(model, audio.to(trainer.DEVICE), tracks, scale, int(rng.integers(mel.PHASES)), futures)

    trainer.train(model, CHECKPOINT, arguments, loss, lambda weights: unseen_rank(weights, held), judge_every=500)


if __name__ == "__main__":
    main()
