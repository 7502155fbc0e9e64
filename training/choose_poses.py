"""Choose the mouth states worth rendering: WORK/mouths/poses.npy, [count, N_UNITS].

The basic shapes first, then the states that speech really visits, ordered so that any prefix of
the list covers speech as well as that many states can: farthest-point order over what the
synthetic speech does.  Every tenth one is a held-out test state for the painter (never trained on).
"""

import argparse
import json

import mouth
import numpy as np
from common import WORK
from tqdm import tqdm


def visited_states(step=8):
    """Mouth states of all training speech, one every `step` trajectory samples."""
    states = []
    for path in sorted((WORK / "speech" / "train").glob("*.npz")):
        clip = np.load(path)
        track = mouth.trajectory(json.loads(str(clip["phones"])), len(clip["audio"]) / 16_000)
        states.append(track[::step])
    return np.concatenate(states)


def farthest_points(states, seeds, count):
    """Greedy: always the state farthest from those already chosen."""
    chosen = list(seeds)
    distance = np.min([np.linalg.norm(states - s, axis=1) for s in seeds], axis=0)
    for _ in tqdm(range(count), desc="choosing"):
        best = int(distance.argmax())
        chosen.append(states[best])
        distance = np.minimum(distance, np.linalg.norm(states - states[best], axis=1))
    return np.array(chosen, np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=480)
    arguments = parser.parse_args()
    shapes = [mouth.shape_vector(name) for name in mouth.SHAPES]
    # Farthest points alone favour the extremes; every third state is a plain draw from speech.
    states = visited_states()
    extra = arguments.count - len(shapes)
    spread = farthest_points(states, shapes, extra - extra // 3)[len(shapes) :]
    drawn = list(states[np.random.default_rng(0).choice(len(states), extra // 3, replace=False)])
    order = []
    for i, state in enumerate(spread):
        order.append(state)
        if i % 2 and drawn:
            order.append(drawn.pop())
    (WORK / "mouths").mkdir(parents=True, exist_ok=True)
    np.save(WORK / "mouths" / "poses.npy", np.array(shapes + order + drawn, np.float32))
