# SPDX-License-Identifier: MPL-2.0
"""Train a full-size SyncTalk_2D network (12.19 M parameters, 4.89 GMAC).

    python train_fullsize.py --footage me --minutes 600                # on filmed footage, as SyncTalk_2D does
    python train_fullsize.py --footage me --export avatars/me-fullsize # writes the avatar, with the frames of the video
    PERSON=iris python train_fullsize.py --speech speech.wav           # on what the shipped avatar paints for that speech
    PERSON=iris python train_fullsize.py --speech speech.wav --pack weights.npz    # the weights alone, in a quarter of the room

It is slower to train and to run than the kit's own painter. It can serve as a teacher, and measurements of reduced precision
(int8, float16) are meaningful only with trained weights. Its audio input is the rows of the kit's encoder.
Checkpoint: fullsize.pt in the folder of the footage, or of the person's work; running again resumes from it.
"""

import argparse
from pathlib import Path

import cv2
import export
import film_avatar
import footage
import frames
import mel
import numpy as np
import shipped
import torch
import train_encoder
import trainer
from common import AVATAR, NET_SIDE, OWN, read_wav, resample
from nets import EMBEDDING, ROWS
from torch import nn
from tqdm import tqdm

BATCH = 32 if trainer.DEVICE == "cuda" else 2
LARGE = 50_000  # weights of a layer that are packed in 8 bits
JUDGED = 40  # held-out frames, at most twice as many
WIDTHS = (32, 64, 128, 256, 512)
AUDIO = (ROWS * EMBEDDING // 256, 16, 16)
MASK = (slice(5, 310), slice(5, 315))  # rows, columns of the target frame that are masked in the input
MOUTH = (slice(96, 288), slice(64, 256))  # in which the mouth moves


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

    def forward(self, input, audio):  # noqa: A002 - the names are the ONNX inputs'
        return torch.sigmoid(self.logits(input, audio))

    def logits(self, input, audio):  # noqa: A002
        skips = [self.enter(input)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = self.fuse(torch.cat([skips.pop(), self.hear(audio)], 1))
        for up in self.up:
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = up(torch.cat([x, skips.pop()], 1))
        return self.paint(x)


def encoded(wav):
    """What mel.rows makes of a sound."""
    audio, rate = read_wav(wav)
    audio = resample(audio, rate, mel.SAMPLE_RATE)
    encoder = train_encoder.load().encoder

    def encode(windows):
        with torch.no_grad():
            return torch.cat([encoder(part) for part in windows.split(256)])

    return mel.rows(encode, mel.mel_spectrogram(torch.from_numpy(audio)), len(audio) * mel.FPS // mel.SAMPLE_RATE)


def face(folder, number, picture):
    return footage.network_picture(cv2.imread(str(picture)), footage.face_rectangle(folder / "landmarks" / f"{number}.lms"))


def network_input(reference, face):
    """[N, 6, 320, 320] of pictures [N, 3, 320, 320]: the second without what is to be painted."""
    masked = face.clone()
    masked[:, :, MASK[0], MASK[1]] = 0
    return torch.cat([reference, masked], 1).contiguous(memory_format=torch.channels_last)


def on_device(pictures):
    """8-bit pictures [N, H, W, 3], a NumPy array or a tensor, as [N, 3, H, W] in [0, 1]."""
    return torch.as_tensor(pictures).to(trainer.DEVICE).permute(0, 3, 1, 2).float() / 255


def judged(first, end):
    """Numbers of held-out examples, evenly spread, a few at a time."""
    chosen = np.arange(first, end, max(1, (end - first) // JUDGED))
    return (chosen[start : start + 4] for start in range(0, len(chosen), 4))


class Film:
    """Faces and contexts of every frame, as SyncTalk_2D trains with them: the reference is any other frame."""

    def __init__(self, folder):
        self.contexts = mel.contexts(*encoded(folder / "aud.wav")).reshape(-1, *AUDIO).to(trainer.DEVICE)
        count = min(len(list((folder / "full_body_img").glob("*.jpg"))), len(self.contexts))
        there = (face(folder, n, folder / "full_body_img" / f"{n}.jpg") for n in tqdm(range(count), desc="reading faces"))
        self.faces = np.stack(list(there))
        self.learn = int(count * (1 - footage.HELD_SHARE))

    def _examples(self, numbers, others):
        faces = on_device(self.faces[numbers])
        return network_input(on_device(self.faces[others]), faces), self.contexts[numbers], faces

    def batch(self, rng, size):
        return self._examples(*rng.integers(self.learn, size=(2, size)))

    def held_batches(self):
        return (self._examples(some, some) for some in judged(self.learn, len(self.faces)))


class Teacher:
    """Every frame of a shipped avatar with all of the speech: its own generator says what is to be painted."""

    def __init__(self, speech):
        rows, _ = encoded(speech)
        self.contexts = rows.unfold(0, ROWS, 1).transpose(1, 2).contiguous().to(trainer.DEVICE)
        self.learn = int(len(self.contexts) * (1 - footage.HELD_SHARE))
        faces = [footage.network_picture(frame, crop[:3]) for frame, crop in zip(*frames.read(AVATAR))]
        self.faces = torch.from_numpy(np.stack(faces)).to(trainer.DEVICE)
        self.generator = shipped.generator().to(trainer.DEVICE)

    @torch.no_grad()
    def _examples(self, numbers, contexts):
        faces = on_device(self.faces[numbers])
        audio = self.contexts[contexts].reshape(-1, *AUDIO)
        return network_input(faces, faces), audio, self.generator(faces, audio)

    def batch(self, rng, size):
        return self._examples(rng.integers(len(self.faces), size=size), rng.integers(self.learn, size=size))

    def held_batches(self):
        return (self._examples(some % len(self.faces), some) for some in judged(self.learn, len(self.contexts)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=60_000, rate=1e-3)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--footage", type=Path, help="a folder in the layout of SyncTalk_2D, with aud.wav")
    source.add_argument("--speech", type=Path, metavar="WAV", help="what the shipped avatar of PERSON is to speak as the teacher")
    parser.add_argument("--pack", type=Path, metavar="NPZ", help="write the weights alone, in little room, instead")
    parser.add_argument("--export", type=Path, metavar="AVATAR", help="write an avatar from the checkpoint instead")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    if arguments.export and not arguments.footage:
        parser.error("--export takes the frames of --footage; benches/python/full_size.py makes an avatar of packed weights")
    checkpoint = (arguments.footage or OWN) / "fullsize.pt"
    network = FullSize()
    if arguments.export or arguments.pack:
        network.load_state_dict(torch.load(checkpoint, map_location="cpu")["average"])
        network.eval()
        if arguments.pack:
            pack(network, arguments.pack)
        if arguments.export:
            write_avatar(network, arguments.footage, arguments.export)
        return
    data = Film(arguments.footage) if arguments.footage else Teacher(arguments.speech)
    network.to(trainer.DEVICE, memory_format=torch.channels_last)

    def loss(step):
        both, audio, wanted = data.batch(np.random.default_rng([17, step]), BATCH)
        with trainer.half_precision():
            logits = network.logits(both, audio).float()
        # Where the sigmoid is saturated, only the cross-entropy has a gradient.
        stuck = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        error = (torch.sigmoid(logits) - wanted).abs()
        return 0.1 * stuck + error.mean() + error[:, :, MASK[0], MASK[1]].mean() + error[:, :, MOUTH[0], MOUTH[1]].mean()

    @torch.no_grad()
    def judge(weights):
        copy = FullSize().to(trainer.DEVICE)
        copy.load_state_dict(weights)
        copy.eval()
        errors = [copy(both, audio) - wanted for both, audio, wanted in data.held_batches()]
        of_each = torch.cat(errors)[:, :, MOUTH[0], MOUTH[1]].square().mean((1, 2, 3))
        return f"held-out mouths {-10 * torch.log10(of_each).mean():.2f} dB"

    trainer.train(network, checkpoint, arguments, loss, judge, judge_every=500)


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
    numbers = sorted(int(path.stem) for path in (film / "full_body_img").glob("*.jpg"))
    film_avatar.copy_frames(film, folder, numbers[: film_avatar.LOOP])
    export.write(train_encoder.load().encoder, folder / "audio_encoder.onnx", {"mel": torch.randn(2, 1, 80, 16)}, "emb")
    pair = {"input": torch.rand(2, 6, NET_SIDE, NET_SIDE), "audio": torch.randn(2, 32, 16, 16)}
    export.write(network, folder / "generator.onnx", pair, "output")
    about = {"title": f"{folder.name}, full-size", "licence": "all rights reserved", "more": ""}
    (folder / "avatar.toml").write_text(export.AVATAR_TOML.format(**about))


if __name__ == "__main__":
    main()
