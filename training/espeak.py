# SPDX-License-Identifier: MPL-2.0
"""Speech in several languages from the espeak-ng library, with phone times."""

import ctypes
import functools

import numpy as np

SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEMES_AS_IPA = 1, 2
PHONEME, END = 7, 0  # event types
UTF8 = 1


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique", ctypes.c_uint), ("text_position", ctypes.c_int)]
    _fields_ += [("length", ctypes.c_int), ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int)]
    _fields_ += [("user_data", ctypes.c_void_p), ("id", _Id)]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_heard, _events = [], []


@_Callback
def _collect(samples, count, events):
    if samples and count:
        _heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    i = 0
    while events[i].type != END:
        if events[i].type == PHONEME:
            _events.append((events[i].id.string.decode("utf8", "replace"), events[i].milliseconds / 1000))
        i += 1
    return 0


@functools.cache
def _library():
    library = ctypes.CDLL("libespeak-ng.so.1")
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | PHONEMES_AS_IPA)
    library.espeak_SetSynthCallback(_collect)
    return library, rate


# IPA to the phones of mouth.py; the longest symbol that matches wins.
IPA = {
    "tʃ": "ch", "dʒ": "jh", "aɪ": "ay", "aʊ": "aw", "eɪ": "ey", "oʊ": "ow", "əʊ": "ow", "ɔɪ": "oy", "ɔø": "oy",
    "ts": "s", "pf": "f", "ks": "s", "p": "p", "b": "b", "β": "b", "m": "m", "f": "f", "v": "v", "ʋ": "v", "θ": "th", "ð": "dh",
    "t": "t", "d": "d", "n": "n", "ɲ": "n", "l": "l", "ʎ": "l", "ɫ": "l", "s": "s", "z": "z", "ʃ": "sh", "ʒ": "zh", "ç": "sh",
    "k": "k", "g": "g", "ɡ": "g", "ɣ": "g", "x": "hh", "χ": "hh", "h": "hh", "ŋ": "ng", "r": "t", "ɾ": "t", "ʁ": "hh", "ɹ": "r",
    "w": "w", "ɥ": "w", "j": "y", "ʝ": "y", "a": "aa", "ɑ": "aa", "ɐ": "ah", "ʌ": "ah", "æ": "ae", "ə": "ax", "ɜ": "er", "ɚ": "er",
    "e": "eh", "ɛ": "eh", "i": "iy", "ɪ": "ih", "o": "oe", "ɔ": "ao", "u": "uw", "ʊ": "uh", "y": "uw", "ʏ": "uh", "ø": "oe", "œ": "oe",
}  # fmt: skip
_LONGEST_FIRST = sorted(IPA, key=len, reverse=True)


def phone(symbol):
    """The phone of an IPA symbol, or None if it does not involve the mouth (stress marks, glottal stops)."""
    symbol = symbol.strip("ˈˌː̃͡ʔ'_ ")
    for known in _LONGEST_FIRST:
        if symbol.startswith(known):
            return IPA[known]
    return None


def speak(text, voice, words_a_minute=165):
    """(float audio, its rate, [(phone, start, end)]); voice as espeak-ng names it, "de+f2"."""
    library, rate = _library()
    language, _, variant = voice.partition("+")
    name = f"{language}+{variant}" if variant else language
    if library.espeak_SetVoiceByName(name.encode()):
        raise ValueError(f"espeak-ng has no voice {voice}")
    library.espeak_SetParameter(1, words_a_minute, 0)
    _heard.clear()
    _events.clear()
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    audio = np.concatenate(_heard).astype(np.float32) / 32768
    seconds = len(audio) / rate
    phones, starts = [], [*(time for _, time in _events), seconds]
    for (symbol, start), end in zip(_events, starts[1:]):
        name = "pau" if symbol.strip() in ("", "_", "_:", "_|", "_^_") else phone(symbol)
        if name and end > start:
            phones.append((name, start, end))
    return audio, rate, phones
