# SPDX-License-Identifier: MPL-2.0
"""Choose the mouth states to render: WORK/poses.npz.

`learn`   [count, N_UNITS]: the painter's training data.  The basic shapes first, then states from the training
          speech, ordered so that any prefix covers speech as well as that many states can: farthest-point
          sampling, with every third state drawn at random.
`truth`   [frames, N_UNITS]: one in TRUTH_EVERY video frames of a few held-out clips, concatenated: judge.py compares the
          generated video with them.  `truth_clips` are their names, `truth_frames` how many of each clip these are.
"""

import argparse

import mel
import mouth
import numpy as np
import speech_data
from common import WORK
from make_speech import HELD_VOICES
from tqdm import tqdm

# Two held-out voices, two known voices with unseen sentences, and a human reader.
TRUTH_CLIPS = [f"{voice}-020" for voice in HELD_VOICES]
TRUTH_CLIPS += ["slt-010", "jm_kumo-010", "human-0930"]
TRUTH_EVERY = 6  # neighbouring frames are alike, and a render takes ten seconds


def visited_states(step=8):
    """Mouth states of all training speech, one for every `step` trajectory samples."""
    return np.concatenate([clip.track[::step] for clip in speech_data.load_clips("train")])


def farthest_points(states, seeds, count):
    """Greedy farthest-point sampling: always the state farthest from those already chosen."""
    chosen = list(seeds)
    distance = np.min([np.linalg.norm(states - s, axis=1) for s in seeds], axis=0)
    for _ in tqdm(range(count), desc="choosing"):
        best = int(distance.argmax())
        chosen.append(states[best])
        distance = np.minimum(distance, np.linalg.norm(states - states[best], axis=1))
    return np.array(chosen, np.float32)


def states_to_learn(count):
    shapes = [mouth.shape_vector(name) for name in mouth.SHAPES]
    states = visited_states()
    extra = count - len(shapes)
    spread = farthest_points(states, shapes, extra - extra // 3)[len(shapes) :]
    drawn = list(states[np.random.default_rng(0).choice(len(states), extra // 3, replace=False)])
    order = []
    for i, state in enumerate(spread):
        order.append(state)
        if i % 2 and drawn:
            order.append(drawn.pop())
    return np.array(shapes + order + drawn, np.float32)


def states_of(names):
    """The mouth states of held-out clips, and how many each clip has."""
    tracks = []
    clips = {clip.name: clip for clip in speech_data.load_clips("held")}
    for name in names:
        clip = clips[name]
        times = np.arange(0, len(clip.audio) * mel.FPS // mel.SAMPLE_RATE, TRUTH_EVERY) / mel.FPS
        tracks.append(mouth.at_times(clip.track, times))
    return np.concatenate(tracks).astype(np.float32), [len(t) for t in tracks]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    arguments = parser.parse_args()
    truth, frames = states_of(TRUTH_CLIPS)
    np.savez(
        WORK / "poses.npz",
        learn=states_to_learn(arguments.count),
        truth=truth,
        truth_clips=TRUTH_CLIPS,
        truth_frames=frames,
    )
    print(f"{arguments.count} states to learn, {len(truth)} frames of truth {dict(zip(TRUTH_CLIPS, frames))}")
