"""Train the audio encoder and the temporal head: mel windows -> mouth state of every frame.

    python train_audio.py --steps 4000

Checkpoint: WORK/audio.pt, written every 100 steps; running again goes on from there.
"""

import argparse
import math
import os
import time

import mel
import mouth
import numpy as np
import speech_data
import torch
from common import WORK
from nets import EMBEDDING, AudioEncoder, MouthHead
from torch import nn
from tqdm import tqdm

CHECKPOINT = WORK / "audio.pt"
BATCH, FRAMES = 10, 56
# A linear probe on every row must tell the mouth at these times (s) after the window begins
# (its middle is at 94 ms), so that the 512 values are about mouths before the head sees them.
PROBE_TIMES = np.array([0.045, 0.094, 0.143])
PROBE_WEIGHT = 0.5
SPEED_WEIGHT = 2.0  # on frame-to-frame change: no jitter, no lag
# The distance between the lips is what people see first, and a missed closure most of all.
OPENING_WEIGHT = 0.5
OPENING_MM = 3.0  # an error of so much counts as one
CLOSED_MM, CLOSED_FACTOR = 1.0, 4.0  # frames that should be closed weigh so much more
LIPS = torch.from_numpy(mouth.OPENING_MM)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AudioEncoder()
        self.head = MouthHead()
        self.probe = nn.Linear(EMBEDDING, len(PROBE_TIMES) * mouth.N_UNITS)

    def forward(self, audio, frames):
        """audio [B, samples] -> states [B, frames, units], probes [B, frames, 3, units]."""
        spectra = mel.mel_spectrogram(audio)
        windows = torch.stack([mel.windows(s, frames) for s in spectra])
        rows = self.encoder(windows.flatten(0, 1)).view(len(audio), frames, EMBEDDING)
        contexts = torch.stack([mel.contexts(r) for r in rows])
        states = self.head(contexts.flatten(0, 1)).view(len(audio), frames, mouth.N_UNITS)
        return states, self.probe(rows).view(len(audio), frames, len(PROBE_TIMES), mouth.N_UNITS)


def targets(tracks, frames):
    times = np.arange(frames) / mel.FPS
    states = np.stack([mouth.at_times(t, times) for t in tracks])
    probes = np.stack([mouth.at_times(t, times[:, None] + PROBE_TIMES) for t in tracks])
    return torch.tensor(states, dtype=torch.float32), torch.tensor(probes, dtype=torch.float32)


def loss_of(model, audio, tracks, scale):
    states, probes = model(audio, FRAMES)
    want_states, want_probes = targets(tracks, FRAMES)
    error = (states - want_states) / scale
    main = nn.functional.smooth_l1_loss(error, error.detach() * 0)
    change = error[:, 1:] - error[:, :-1]
    speed = nn.functional.smooth_l1_loss(change, change.detach() * 0)
    opening = states @ LIPS
    want_opening = (want_states @ LIPS).clamp(min=0)
    # How far beyond closed the lips of closed frames are pressed together does not matter.
    miss = torch.where(want_opening > 0, opening, opening.clamp(min=0)) - want_opening
    weight = 1 + (CLOSED_FACTOR - 1) * (want_opening < CLOSED_MM)
    lips = (weight * nn.functional.smooth_l1_loss(miss / OPENING_MM, miss * 0, reduction="none")).mean()
    probe = nn.functional.smooth_l1_loss(probes / scale, want_probes / scale)
    return main + SPEED_WEIGHT * speed + PROBE_WEIGHT * probe + OPENING_WEIGHT * lips, main


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (and anneal) by then, whatever the steps")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--restart", action="store_true", help="go on from the weights with a fresh schedule")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(2)
    clips = speech_data.load_clips("train")
    # A common scale, raised for units that move more: every unit counts, none explodes.
    scale = torch.tensor(np.concatenate([t for _, _, t in clips]).std(0) + 0.03, dtype=torch.float32)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=0.01)
    start = 0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT)
        model.load_state_dict(saved["model"])
        if not arguments.restart:
            optimizer.load_state_dict(saved["optimizer"])
            start = saved["step"]
    begun = time.time()
    smooth = None
    bar = tqdm(range(start, arguments.steps), initial=start, total=arguments.steps, mininterval=10)
    for step in bar:
        # Progress counts steps or minutes, whichever is further: the rate is zero at the end of both.
        progress = max(step / arguments.steps, (time.time() - begun) / 60 / arguments.minutes)
        if progress >= 1:
            break
        rate = arguments.rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([7, step])
        audio, tracks = speech_data.batch(rng, clips, BATCH, FRAMES)
        loss, state_loss = loss_of(model, audio, tracks, scale)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smooth = float(state_loss) if smooth is None else 0.98 * smooth + 0.02 * float(state_loss)
        bar.set_postfix(loss=f"{smooth:.4f}", rate=f"{rate:.1e}")
        if step % 100 == 99:
            save(model, optimizer, step + 1)
    save(model, optimizer, arguments.steps)


def save(model, optimizer, step):
    part = CHECKPOINT.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, part)
    os.replace(part, CHECKPOINT)


if __name__ == "__main__":
    main()
