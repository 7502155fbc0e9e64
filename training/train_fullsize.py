# SPDX-License-Identifier: MPL-2.0
"""Train a full-size SyncTalk_2D network (12.19 M parameters, 4.89 GMAC) on filmed footage.

    python train_fullsize.py --footage me --minutes 600
    python train_fullsize.py --footage me --export avatars/me-fullsize     # writes the avatar, with the frames of the video
    python train_fullsize.py --footage me --pack weights.npz               # the weights alone, in a quarter of the room

Footage of film_avatar.py has two things more, which save most of the time. `at_rest/N.jpg` is the frame with its mouth closed,
which takes the place of another frame, and which the network starts as a copy of. `listen.wav` is more speech, without pictures:
from it the network's audio branch first learns the mouth states of the kit's head (`--listen` steps; checkpoint fullsize-audio.pt).

It is slower to train and to run than the kit's own painter. It can serve as a teacher, and measurements of reduced precision
(int8, float16) are meaningful only with trained weights. Its audio input is the rows of the kit's encoder.
Checkpoint: fullsize.pt in the folder; running again resumes from it.
"""

import argparse
from pathlib import Path

import cv2
import export
import footage
import mel
import numpy as np
import torch
import train_encoder
import trainer
from common import NET_SIDE, read_wav, resample
from mouth import N_UNITS
from nets import EMBEDDING, ROWS
from torch import nn
from tqdm import tqdm

BATCH = 2
LISTEN_BATCH = 8
LARGE = 50_000  # weights of a layer that are packed in 8 bits
JUDGED = 40  # held-out frames, at most twice as many
WIDTHS = (32, 64, 128, 256, 512)
AUDIO = (ROWS * EMBEDDING // 256, 16, 16)
MASK = (slice(5, 310), slice(5, 315))  # rows, columns of the target frame that are masked in the input
# Rows and columns of the kit's presenters in which the mouth moves, and how often the whole picture is painted all the same.
MOUTH = (slice(128, 288), slice(64, 256))
WHOLE_EVERY = 8


class Inverted(nn.Module):
    """SyncTalk_2D's inverted residual: 1x1 expansion to twice the channels, 3x3 depthwise, 1x1 projection."""

    def __init__(self, inputs, outputs, stride=1, residual=False):
        super().__init__()
        hidden = inputs * 2
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def double(inputs, outputs, stride=1):
    return nn.Sequential(Inverted(inputs, outputs, stride), Inverted(outputs, outputs, residual=True))


def plain(inputs, outputs, stride=1, pad=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, pad), nn.BatchNorm2d(outputs), nn.ReLU())


class FullSize(nn.Module):
    """`input` [N, 6, 320, 320]: another frame's face and the masked face, BGR in [0, 1]; `audio` [N, 32, 16, 16]."""

    def __init__(self):
        super().__init__()
        self.is_fixed = False  # keep the statistics of the normalisations in training
        a, b, c, d, e = WIDTHS
        self.enter = Inverted(6, a)
        self.down = nn.ModuleList(double(i, o, 2) for i, o in ((a, a), (a, b), (b, c), (c, d), (d, e)))
        self.hear = nn.Sequential(
            Inverted(32, 64), Inverted(64, 128), plain(128, 256), Inverted(256, 256, residual=True),
            plain(256, 512, stride=2, pad=3), Inverted(512, 512, residual=True), Inverted(512, 512, residual=True),
        )  # fmt: skip
        self.fuse = nn.Sequential(double(2 * e, e), double(e, d))
        self.up = nn.ModuleList(double(i, o) for i, o in ((2 * d, c), (2 * c, b), (2 * b, a), (2 * a, a), (2 * a, a // 2)))
        self.paint = nn.Conv2d(a // 2, 3, 1)

    def forward(self, input, audio, part=()):  # noqa: A002 - the names are the ONNX inputs'
        """`part`: slices of all four dimensions, if only that part of the picture is wanted (with statistics that are fixed)."""
        skips = [self.enter(input)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = self.fuse(torch.cat([skips.pop(), self.hear(audio)], 1))
        for up in self.up:
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            skip = skips.pop()
            if not skips:
                x, skip = x[part], skip[part]
            x = up(torch.cat([x, skip], 1))
        return torch.sigmoid(self.paint(x))

    def train(self, mode=True):
        return super().train(mode and not self.is_fixed)


def carry(block, start, picture, weights, offsets):
    """Makes the first outputs of a block relu(weight * colour + offset), in turns of the three colours.

    The colours are its inputs from `start` on, and `picture` [3, pixels] is what the batch normalisations expect of them.
    Returns the outputs, [len(weights), pixels].
    """
    count = len(weights)
    first = slice(count)
    values = picture.repeat(count // 3, 1) * weights[:, None]
    kept = (values + offsets[:, None]).relu()
    expand, depthwise, project = (block.layers[n].weight for n in (0, 3, 6))
    for weight in (expand, depthwise, project):
        weight[first] = 0
    for n in range(count):
        expand[n, start + n % 3], depthwise[n, 0, 1, 1], project[n, n] = weights[n], 1, 1
    for number, before, offset in ((1, values, offsets), (4, kept, 0), (7, kept, 0)):
        norm = block.layers[number]
        norm.weight[first], norm.bias[first] = before.std(1), before.mean(1) + offset
        norm.running_mean[first], norm.running_var[first] = before.mean(1), before.var(1)
    return kept


@torch.no_grad()
def copy_first_picture(network, pictures):
    """Starts the network as one that gives back the first picture of its input, by the outermost skip connection.

    The rest is random, for training to make mouths of.  Before the sigmoid, colours must be stretched where they are dark and
    bright: what is above 0.7 and below 0.3 is carried too, and a least-squares fit weighs it.
    """
    picture = pictures.transpose(0, 1).flatten(1)[:, ::37]
    carry(network.enter, 0, picture, torch.ones(3), torch.zeros(3))
    last, refine = network.up[-1]
    signs = torch.tensor([1.0, 1.0, -1.0]).repeat_interleave(3)
    kept = carry(last, WIDTHS[0], picture, signs, torch.tensor([0.0, -0.7, 0.3]).repeat_interleave(3))
    refine.layers[7].weight.zero_()
    design = torch.cat([kept, torch.ones(1, kept.shape[1])]).T
    fit = torch.linalg.lstsq(design, picture.clamp(0.01, 0.99).logit().T).solution.T
    network.paint.weight.zero_()
    network.paint.weight[:, : len(kept), 0, 0], network.paint.bias[:] = fit[:, :-1], fit[:, -1]


def encoded(wav):
    """Rows of the encoder [frames, 512] for a sound."""
    audio, rate = read_wav(wav)
    audio = resample(audio, rate, mel.SAMPLE_RATE)
    windows = mel.windows(mel.mel_spectrogram(torch.from_numpy(audio)), len(audio) * mel.FPS // mel.SAMPLE_RATE)
    with torch.no_grad():
        encoder = train_encoder.load().encoder
        return torch.cat([encoder(part) for part in windows.split(256)])


def face(folder, number, picture):
    return footage.network_picture(cv2.imread(str(picture)), footage.face_rectangle(folder / "landmarks" / f"{number}.lms"))


@torch.no_grad()
def fix_statistics(network, both, audio):
    """Takes the statistics of the normalisations from some whole pictures, but for the audio branch, which has its own.

    With those of two pictures, each mouth would be normalised away for the most part.
    """
    norms = [module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d) and "hear" not in name]
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    network.hear.eval()
    network(both, audio)
    for norm in norms:
        norm.momentum = usual


class Film:
    """Faces and contexts of every frame, as SyncTalk_2D trains with them."""

    def __init__(self, folder):
        self.contexts = mel.contexts(encoded(folder / "aud.wav")).reshape(-1, *AUDIO)
        count = min(len(list((folder / "full_body_img").glob("*.jpg"))), len(self.contexts))
        parts = {"faces": folder / "full_body_img", "rests": folder / "at_rest"}
        for part, pictures in parts.items():
            there = (face(folder, n, pictures / f"{n}.jpg") for n in tqdm(range(count), desc=f"reading {part}"))
            setattr(self, part, np.stack(list(there)) if pictures.is_dir() else None)
        self.learn = int(count * (1 - footage.HELD_SHARE))

    def tensors(self, frames, others):
        faces = torch.from_numpy(self.faces[frames]).permute(0, 3, 1, 2).float() / 255
        masked = faces.clone()
        masked[:, :, MASK[0], MASK[1]] = 0
        other = self.faces[others] if self.rests is None else self.rests[frames]
        other = torch.from_numpy(other).permute(0, 3, 1, 2).float() / 255
        both = torch.cat([other, masked], 1).to(trainer.DEVICE).contiguous(memory_format=torch.channels_last)
        return both, self.contexts[frames].to(trainer.DEVICE), faces.to(trainer.DEVICE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=60_000, rate=1e-3)
    parser.add_argument("--footage", type=Path, required=True)
    parser.add_argument("--listen", type=int, default=3000, help="steps of the audio branch alone, on listen.wav")
    parser.add_argument("--pack", type=Path, metavar="NPZ", help="write the weights alone, in little room, instead")
    parser.add_argument("--export", type=Path, metavar="AVATAR", help="write an avatar from the checkpoint instead")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    checkpoint = arguments.footage / "fullsize.pt"
    network = FullSize()
    if arguments.export or arguments.pack:
        network.load_state_dict(torch.load(checkpoint, map_location="cpu")["average"])
        network.eval()
        if arguments.pack:
            pack(network, arguments.pack)
        if arguments.export:
            write_avatar(network, arguments.footage, arguments.export)
        return
    film = Film(arguments.footage)
    is_new = film.rests is not None and not checkpoint.exists()
    if is_new:
        copy_first_picture(network, torch.from_numpy(film.rests[::50]).permute(0, 3, 1, 2).float() / 255)
    network.to(trainer.DEVICE, memory_format=torch.channels_last)
    if is_new:
        listen(network, arguments)
        some = np.arange(0, film.learn, film.learn // 8)
        fix_statistics(network, *film.tensors(some, some)[:2])
    network.is_fixed = film.rests is not None

    def loss(step):
        rng = np.random.default_rng([17, step])
        frames, others = rng.integers(film.learn, size=(2, BATCH))
        both, audio, wanted = film.tensors(frames, others)
        # Where the rest of the picture is given, the mouth is what there is to learn.
        part = (slice(None), slice(None), *MOUTH) if film.rests is not None and step % WHOLE_EVERY else ()
        with trainer.half_precision():
            painted = network(both, audio, part)
        error = (painted.float() - wanted[part]).abs()
        return error.mean() if part else error.mean() + error[:, :, MASK[0], MASK[1]].mean()

    @torch.no_grad()
    def judge(weights):
        copy = FullSize().to(trainer.DEVICE)
        copy.load_state_dict(weights)
        frames = np.arange(film.learn, len(film.faces), max(1, (len(film.faces) - film.learn) // JUDGED))
        both, audio, wanted = film.tensors(frames, frames)
        error = torch.cat([copy.eval()(b, a) - w for b, a, w in zip(both.split(4), audio.split(4), wanted.split(4))])
        return f"held-out mouths {-10 * torch.log10((error[:, :, 80:240, 80:240] ** 2).mean((1, 2, 3))).mean():.2f} dB"

    trainer.train(network, checkpoint, arguments, loss, judge, judge_every=500, warm_up=200 if film.rests is None else 40)


class Listener(nn.Module):
    """The audio branch, and a linear layer that says what mouth states it heard."""

    def __init__(self, hear):
        super().__init__()
        self.hear, self.say = hear, nn.Linear(512, N_UNITS)

    def forward(self, contexts):
        return self.say(self.hear(contexts).mean((2, 3)))


def listen(network, arguments):
    """Trains the audio branch alone to tell what the kit's head makes of the same rows."""
    rows = encoded(arguments.footage / "listen.wav")
    head = train_encoder.load().head
    listener = Listener(network.hear).to(trainer.DEVICE)
    learn = int(len(rows) * (1 - footage.HELD_SHARE))

    @torch.no_grad()
    def examples(starts):
        contexts = torch.stack([rows[n : n + ROWS] for n in starts])
        return contexts.reshape(-1, *AUDIO).to(trainer.DEVICE), head.states(contexts).to(trainer.DEVICE)

    def loss(step):
        contexts, states = examples(np.random.default_rng([18, step]).integers(learn - ROWS, size=LISTEN_BATCH))
        return (listener(contexts) - states).abs().mean()

    @torch.no_grad()
    def judge(weights):
        copy = Listener(FullSize().hear).to(trainer.DEVICE)
        copy.load_state_dict(weights)
        contexts, states = examples(range(learn, len(rows) - ROWS, 4))
        said = torch.cat([copy.eval()(part) for part in contexts.split(64)])
        left = (said - states).var(0).sum() / states.var(0).sum()
        return f"held-out mouth states: {1 - left:.1%} of their variance"

    checkpoint = arguments.footage / "fullsize-audio.pt"
    own = argparse.Namespace(**vars(arguments) | {"steps": arguments.listen, "minutes": 1e9, "rate": 1e-3})
    trainer.train(listener, checkpoint, own, loss, judge, judge_every=250, warm_up=50)
    weights = torch.load(checkpoint, map_location=trainer.DEVICE)["average"]
    listener.load_state_dict(weights)


@torch.no_grad()
def pack(network, file):
    """Weights and biases of the convolutions in their order, batch normalisation folded in, as NumPy arrays.

    Large layers, which hold nearly all weights, are kept in 8 bits and a scale for each output channel, the others in float16.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    arrays = {}
    number = 0
    for layer, norm in zip(layers, [*layers[1:], None]):
        if isinstance(layer, nn.BatchNorm2d):
            continue
        weights, bias = layer.weight, torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
        if isinstance(norm, nn.BatchNorm2d):
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            weights, bias = weights * gain[:, None, None, None], (bias - norm.running_mean) * gain + norm.bias
        if weights.numel() > LARGE:
            scale = weights.abs().amax((1, 2, 3)) / 127
            arrays[f"scale{number}"] = scale.numpy()
            arrays[f"weights{number}"] = (weights / scale[:, None, None, None]).round().numpy().astype(np.int8)
        else:
            arrays[f"weights{number}"] = weights.numpy().astype(np.float16)
        arrays[f"bias{number}"] = bias.numpy()
        number += 1
    np.savez_compressed(file, **arrays)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def write_avatar(network, film, folder):
    folder.mkdir(parents=True, exist_ok=True)
    export.copy_film(film, folder, most=250)
    export.write(train_encoder.load().encoder, folder / "audio_encoder.onnx", {"mel": torch.randn(2, 1, 80, 16)}, "emb")
    pair = {"input": torch.rand(2, 6, NET_SIDE, NET_SIDE), "audio": torch.randn(2, 32, 16, 16)}
    export.write(network, folder / "generator.onnx", pair, "output")
    about = {"title": f"{folder.name}, full-size", "licence": "all rights reserved", "more": ""}
    (folder / "avatar.toml").write_text(export.AVATAR_TOML.format(**about))


if __name__ == "__main__":
    main()
