# SPDX-License-Identifier: MPL-2.0
"""The painter of a person in a film: what it is trained with, and how."""

from concurrent.futures import ThreadPoolExecutor

import mel
import numpy as np
import torch
import train_encoder
import train_generator
import trainer
from mouth import N_UNITS
from nets import Generator, Painter, PersonalHead
from torch import nn

BATCH = 6
PIECE, AROUND = 1000, 16  # frames whose sound is heard at once, and so many before and after
SAME_SHARE = 0.3  # of the frames with closed lips, so many are their own reference, and must come back unchanged
TEXTURE_WEIGHT = 6.0
SHARP_WEIGHT = 12.0  # the finest detail of lips and teeth
HEAD_SHARE = 0.1  # of the learning rate
DROP = 0.25  # share of examples without the personal values: the shared states must do where those are unsure


@torch.no_grad()
def contexts(model, audio, numbers):
    """The 16 encoder rows of frames [len(numbers), 16, 512], and the row of silence; a piece of the sound at a time."""
    silence = model.encoder(torch.full((1, 1, mel.BANDS, mel.WINDOW_FRAMES), -4.0))
    side, count = mel.SAMPLE_RATE // mel.FPS, len(audio) * mel.FPS // mel.SAMPLE_RATE
    found = torch.empty(len(numbers), mel.CONTEXT_ROWS, silence.shape[1])
    for piece in np.unique(numbers // PIECE):
        mine = np.flatnonzero(numbers // PIECE == piece)
        first, end = max(0, numbers[mine[0]] - AROUND), min(count, numbers[mine[-1]] + 1 + AROUND)
        sound = torch.from_numpy(audio[first * side : None if end == count else end * side])
        rows = mel.rows(model.encoder, mel.mel_spectrogram(sound), end - first)
        found[mine] = mel.contexts(*rows)[numbers[mine] - first]
    missing = found.abs().amax(2, keepdim=True) == 0
    return torch.where(missing, silence, found), silence


class Person(nn.Module):
    """Painter and personal head, which are trained together."""

    def __init__(self, examples):
        super().__init__()
        self.head = PersonalHead(examples.head)
        keep = (1 - of_mouth(examples.importance)).cpu()
        self.painter = Painter(examples.film.box, units=N_UNITS + PersonalHead.MORE, keep=keep)

    def forward(self, references, rows, keep=1.0):
        return self.painter(references, self.head.states(rows, keep))

    def groups(self):
        """Parameters by the share of the learning rate that they get: the head knows much already."""
        head, own = [], []
        for name, parameter in self.named_parameters():
            (head if name.startswith("head.head.") else own).append(parameter)
        return [{"params": own}, {"params": head, "share": HEAD_SHARE}]

    def generator(self, silence):
        return Generator(self.head, self.painter, silence)


def without_detail(pictures):
    """Pictures [N, C, H, W] without their finest detail: what is left is wider than about four pixels."""
    channels = pictures.shape[1]
    taps = torch.tensor([0.06, 0.24, 0.4, 0.24, 0.06], device=pictures.device)
    down = nn.functional.conv2d(pictures, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), padding=(2, 0), groups=channels)
    return nn.functional.conv2d(down, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), padding=(0, 2), groups=channels)


def fine(pictures):
    """The finest detail of pictures [N, 3, H, W], in grey."""
    grey = pictures.mean(1, keepdim=True)
    return grey - without_detail(grey)


def of_mouth(weight):
    """1 at lips and teeth, whose finest detail is painted; 0 at skin that only moves."""
    return ((weight - 1) / 5) ** 2


def film_loss(painted, wanted, weight):
    """As train_generator.loss_of, but only lips and teeth have to be right in their finest detail.

    Where grain and stubble lie is not to be foretold; asked for it, the painter would smooth skin wherever it moves.
    """
    error = painted - wanted
    blurred = without_detail(error)
    return train_generator.loss_of(blurred, blurred * 0, weight) + ((error - blurred) * of_mouth(weight)).abs().mean() * SHARP_WEIGHT


def texture_loss(painted, wanted, weight):
    """How much the strength of the finest detail differs, wherever that detail lies: keeps skin from going smooth."""

    def strength(pictures):
        return (nn.functional.avg_pool2d(fine(pictures) ** 2, 8, 4) + 1e-6).sqrt()

    near = nn.functional.avg_pool2d(weight, 8, 4)
    return ((strength(painted) - strength(wanted)).abs() * near).mean()


class Examples:
    """Batches of a film: (references, rows, wanted), prepared while the last one is trained on."""

    def __init__(self, film, threads=2):
        self.film = film
        self.importance = train_generator.importance(film.change())
        model = train_encoder.load()
        self.head = model.head
        self.rows, self.silence = contexts(model, film.audio, film.numbers)
        self.learn = np.flatnonzero(film.learn)
        self.pool = ThreadPoolExecutor(threads)
        self.next = {}

    def _one(self, seed, at, jitter):
        rng = np.random.default_rng(seed)
        film = self.film
        wanted = film.wanted(at)
        if film.closed[at] and rng.random() < SAME_SHARE:
            reference = wanted
        else:
            reference = film.reference(at, int(rng.integers(len(film.matches[at]))))
        if jitter:  # brightness and colour change a little, as cameras and clouds do: the painter must follow
            gain, lift = 1 + rng.normal(0, 0.03) + rng.normal(0, 0.01, 3), rng.normal(0, 2.0)
            reference, wanted = (np.clip(p * gain + lift, 0, 255).astype(np.float32) for p in (reference, wanted))
        return reference, wanted

    def _start(self, step):
        rng = np.random.default_rng([11, step])
        chosen = rng.choice(self.learn, BATCH)
        return chosen, [self.pool.submit(self._one, [13, step, i], at, True) for i, at in enumerate(chosen)]

    def batch(self, step):
        chosen, work = self.next.pop(step, None) or self._start(step)
        self.next = {step + 1: self._start(step + 1)}
        return self._tensors(chosen, [one.result() for one in work])

    def fixed(self, chosen):
        """The same for given frames, without random changes."""
        made = self.pool.map(lambda at: (self.film.reference(at), self.film.wanted(at)), chosen)
        return self._tensors(chosen, list(made))

    def _tensors(self, chosen, pairs):
        references, wanted = (train_generator.tensor(side) for side in zip(*pairs))
        chosen = torch.from_numpy(np.asarray(chosen))
        return references, self.rows[chosen].to(trainer.DEVICE), wanted


def train(examples, checkpoint, arguments, report, begin_with=None):
    """Trains to a checkpoint; begin_with: the painter of another person, whose mouth this one's is learned from."""
    torch.manual_seed(0)
    person = Person(examples)
    if begin_with:
        person.painter.begin_with(begin_with)
    person = person.to(trainer.DEVICE, memory_format=torch.channels_last)
    weight = examples.importance

    def loss(step):
        references, rows, wanted = examples.batch(step)
        keep = (torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(step)) > DROP).float().to(rows.device)
        # In full precision: where lips are nearly shut, the states' terms cancel out.
        states = person.head.states(rows, keep)
        with trainer.half_precision():
            painted = person.painter(references, states).float()
        main = film_loss(painted, wanted, weight)
        return main + TEXTURE_WEIGHT * texture_loss(painted, wanted, weight.clamp(max=2))

    trainer.train(person, checkpoint, arguments, loss, lambda weights: "", report=report, groups=person.groups())


def load(checkpoint, examples):
    person = Person(examples)
    person.load_state_dict(torch.load(checkpoint, map_location="cpu")["average"])
    return person.eval()


@torch.no_grad()
def paint(person, examples, chosen, size=8):
    """Painted and wanted boxes of frames, uint8 BGR [N, H, W, 3]."""
    found = [[], []]
    for start in range(0, len(chosen), size):
        # As it is loaded: what is exported is judged, and a GPU is not missed.
        references, rows, wanted = (part.cpu() for part in examples.fixed(chosen[start : start + size]))
        painted = person(references, rows).clamp(0, 1)
        for side, pictures in zip(found, (painted, wanted)):
            side.append((pictures * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return [np.concatenate(side) for side in found]
