#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Exports a trained SyncTalk_2D model to the two ONNX networks that `lipsync` plays.

Run it in the folder of your SyncTalk_2D checkout, with the Python that you trained with:

    python .../scripts/export_synctalk2d.py --name May

It reads checkpoint/May/ (the newest checkpoint), and for --asr ave model/checkpoints/audio_visual_encoder.pth, and writes
dataset/May/models/generator.onnx and audio_encoder.onnx. Then `lipsync play speech.wav --avatar .../dataset/May` speaks.
Needs PyTorch and onnx; with onnxruntime there, too, both networks are compared with PyTorch's.
For --asr hubert it needs transformers, which fetches HuBERT as SyncTalk_2D's own script does.
"""

import argparse
import inspect
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

OPSET = 17
SIZE = 320
"""What the network sees of the 328 x 328 crop."""
SOUND = {"ave": (32, 16, 16), "hubert": (32, 32, 32)}
HUBERT = "facebook/hubert-large-ls960-ft"


class LastHiddenState(torch.nn.Module):
    """HuBERT from the waveform [N, samples] to its last rows [N, T, 1024], and nothing else."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.model(waveform).last_hidden_state


def newest_checkpoint(folder: Path) -> Path:
    """Returns the checkpoint with the highest number, as SyncTalk_2D's own script chooses it."""
    numbered = [path for path in folder.glob("*.pth") if path.stem.isdigit()]
    if not numbered:
        sys.exit(f"{folder}: no checkpoint N.pth. Give one with --checkpoint")
    return max(numbered, key=lambda path: int(path.stem))


def load_weights(path: Path) -> dict:
    if not path.is_file():
        sys.exit(f"{path}: no such file. Run this in the folder of your SyncTalk_2D checkout")
    return torch.load(path, map_location="cpu", weights_only=True)


def load_generator(checkpoint: Path, asr: str) -> torch.nn.Module:
    """Builds SyncTalk_2D's network, which is imported from its own checkout."""
    from unet_328 import Model

    network = Model(6, asr)
    network.load_state_dict(load_weights(checkpoint))
    return network.eval()


def load_audio_encoder(asr: str, checkpoint: Path) -> torch.nn.Module:
    if asr == "hubert":
        from transformers import HubertModel

        return LastHiddenState(HubertModel.from_pretrained(HUBERT)).eval()
    from utils import AudioEncoder

    encoder = AudioEncoder()
    encoder.load_state_dict({f"audio_encoder.{name}": value for name, value in load_weights(checkpoint).items()})
    return encoder.eval()


def export(network: torch.nn.Module, inputs: dict[str, torch.Tensor], output: str, path: Path, free: dict | None = None) -> None:
    """Writes a network with one item a batch; `free` names sizes that stay open."""
    settings = {"opset_version": OPSET, "input_names": list(inputs), "output_names": [output], "dynamic_axes": free or {}}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        settings["dynamo"] = False
    half_written = path.with_suffix(".partial")
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter speaks at length of its own future.
        warnings.simplefilter("ignore")
        torch.onnx.export(network, tuple(inputs.values()), str(half_written), **settings)
    half_written.replace(path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    compare(network, inputs, path)


def compare(network: torch.nn.Module, inputs: dict[str, torch.Tensor], path: Path) -> None:
    """Runs both on the same values and says how far they are apart."""
    try:
        import onnxruntime
    except ImportError:
        print("  not compared with PyTorch: onnxruntime is not installed")
        return
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ours = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
    with torch.no_grad():
        theirs = network(*inputs.values()).numpy()
    worst = float(np.abs(ours - theirs).max())
    print(f"  differs from PyTorch by {worst:.1e} at most")
    if worst > 1e-3:
        sys.exit(f"{path}: that is too much. Try another version of PyTorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the person: folder in checkpoint/ and dataset/")
    parser.add_argument("--asr", choices=SOUND, default="ave", help="what the model was trained to hear")
    parser.add_argument("--checkpoint", type=Path, help="default: the newest in checkpoint/NAME")
    parser.add_argument("--encoder", type=Path, default=Path("model/checkpoints/audio_visual_encoder.pth"), help="weights of the ave encoder")
    parser.add_argument("--out", type=Path, help="folder for both networks; default: dataset/NAME/models")
    parser.add_argument("--force", action="store_true", help="replace networks that are there")
    options = parser.parse_args()

    out = options.out or Path("dataset") / options.name / "models"
    generator, encoder = out / "generator.onnx", out / "audio_encoder.onnx"
    for path in (generator, encoder):
        if path.exists() and not options.force:
            sys.exit(f"{path} is there already. Use --force to replace it, or --out")
    sys.path.insert(0, str(Path.cwd()))
    checkpoint = options.checkpoint or newest_checkpoint(Path("checkpoint") / options.name)
    print(f"{checkpoint} -> {out}")
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    face = torch.rand(1, 6, SIZE, SIZE)
    sound = torch.randn(1, *SOUND[options.asr])
    export(load_generator(checkpoint, options.asr), {"input": face, "audio": sound}, "output", generator)
    audio_encoder = load_audio_encoder(options.asr, options.encoder)
    if options.asr == "ave":
        export(audio_encoder, {"mel": torch.randn(1, 1, 80, 16)}, "emb", encoder)
    else:
        free = {"waveform": {1: "samples"}, "rows": {1: "T"}}
        export(audio_encoder, {"waveform": torch.randn(1, 16_000)}, "rows", encoder, free)


if __name__ == "__main__":
    main()
