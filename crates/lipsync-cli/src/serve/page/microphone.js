// SPDX-License-Identifier: MPL-2.0
// Collects what the microphone hears into pieces of 40 ms, as 16-bit samples.
'use strict';

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 25));
    this.length = 0;
    this.peak = 0;
  }

  process([channels]) {
    for (const sample of channels?.[0] ?? []) {
      const clipped = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(clipped));
      this.piece[this.length++] = Math.round(clipped * 32767);
      if (this.length === this.piece.length) {
        this.port.postMessage({ samples: this.piece, peak: this.peak });
        this.length = 0;
        this.peak = 0;
      }
    }
    return true;
  }
}

registerProcessor('microphone', Microphone);
