// SPDX-License-Identifier: MPL-2.0
// The page of `lipsync serve`: one session, watched by WebRTC (WHEP) and told what to do by HTTP (docs/serve.md).
'use strict';

const $ = (id) => document.getElementById(id);
const video = $('video');

const IDEAS = [
  'Hello! I say whatever you type.',
  'Peter Piper picked a peck of pickled peppers.',
  'Ask me anything. I will make up the rest.',
];
const STATES = { auto: 'By itself', listening: 'Listening', thinking: 'Thinking' };
const STATE_NAMES = { idle: 'Idle', speaking: 'Speaking', listening: 'Listening', thinking: 'Thinking' };
const MAX_LOG = 50;
const VIDEO_BUFFER = 70; // ms

let session = null; // what POST /api/sessions gave
let connection = null; // { peer, resource, timer }
let events = null;
let microphone = null;
let avatars = [];
let serverLatency = null;
let isOwner = true;
const said = new Map(); // utterance -> its line in the log

// ---- The server ----

const query = new URLSearchParams(location.search);
if (query.has('token')) {
  // Kept out of the address line and its history, and for this tab only.
  sessionStorage.setItem('token', query.get('token'));
  query.delete('token');
  history.replaceState(null, '', location.pathname + (query.size ? `?${query}` : ''));
}
const token = () => sessionStorage.getItem('token');

async function api(method, path, body, type = 'application/json') {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  if (body !== undefined) headers['Content-Type'] = type;
  const raw = typeof body === 'string' || body instanceof Blob;
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined || raw ? body : JSON.stringify(body),
  });
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw Object.assign(new Error(told.error ?? `the server answers ${response.status}`), { status: response.status });
  }
  return response;
}

const of = (path) => `/api/sessions/${session.id}/${path}`;
const withToken = (path) => (token() ? `${path}${path.includes('?') ? '&' : '?'}token=${token()}` : path);

// ---- What people are told ----

let noticeTimer;
function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $('notice').hidden = true; }, 8000);
}

const sentence = (error) => {
  const text = error.message || String(error);
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
};

/** Does something, and tells where it fails. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 401) askForToken();
    notice(sentence(error));
    return undefined;
  }
}

function cover(text, button, action) {
  $('cover').hidden = false;
  $('cover-text').textContent = text;
  $('token-form').hidden = true;
  $('cover-button').hidden = !button;
  if (button) {
    $('cover-button').textContent = button;
    $('cover-button').onclick = action;
  }
}

function askForToken() {
  cover('This presenter needs a token. lipsync serve prints it.');
  $('token-form').hidden = false;
  $('token').focus();
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem('token', $('token').value.trim());
  start();
});

function enable(isEnabled) {
  for (const id of ['interrupt', 'record', 'text', 'speak', 'microphone', 'file']) $(id).disabled = !isEnabled;
  if (isEnabled && !('mediaDevices' in navigator)) {
    $('microphone').disabled = true;
    $('microphone').title = 'Browsers give the microphone to pages by HTTPS, or of this machine, only';
  }
}

function showState(state) {
  $('state').dataset.state = state;
  const name = STATE_NAMES[state] ?? state;
  // A live region speaks whenever it is written to.
  if ($('state').textContent !== name) $('state').textContent = name;
}

function addToLog(id, text) {
  if (said.size === 0) $('log').replaceChildren();
  const line = document.createElement('li');
  line.append(text, document.createElement('small'));
  $('log').prepend(line);
  said.set(id, line);
  for (const [old, oldLine] of said) {
    if (said.size <= MAX_LOG) break;
    oldLine.remove();
    said.delete(old);
  }
}

function noteInLog(id, text) {
  const note = said.get(id)?.querySelector('small');
  if (note) note.textContent = text;
}

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;

// ---- The session ----

async function start() {
  cover('Loading the avatar…');
  enable(false);
  try {
    avatars = await (await api('GET', '/api/avatars')).json();
    const shared = query.get('session');
    // One that could not be watched is not left behind.
    if (session && isOwner) await api('DELETE', `/api/sessions/${session.id}`).catch(() => {});
    isOwner = !shared;
    const asked = query.get('avatar');
    session = await (shared
      ? await api('GET', `/api/sessions/${encodeURIComponent(shared)}`)
      : await api('POST', '/api/sessions', asked ? { avatar: asked } : {})).json();
    showAvatars();
    showClips();
    listen();
    await watch();
    enable(true);
    applyStatus(session);
  } catch (error) {
    if (error.status === 401) askForToken();
    else cover(sentence(error), 'Try again', start);
  }
}

function listen() {
  events?.close();
  events = new EventSource(withToken(of('events')));
  const on = (name, work) => events.addEventListener(name, (event) => work(JSON.parse(event.data)));
  on('status', applyStatus);
  on('speech-start', () => showState('speaking'));
  on('speech-end', () => refresh());
  on('drained', () => refresh());
  on('utterance-start', ({ id, reply_ms: reply }) => {
    if (reply !== null) $('reply').textContent = `${reply} ms`;
    noteInLog(id, 'speaking…');
  });
  on('utterance-end', ({ id, reason, duration_ms: duration }) => {
    noteInLog(id, reason === 'interrupted' ? `interrupted after ${seconds(duration)}` : `spoken, ${seconds(duration)}`);
  });
  on('avatar-changed', () => refresh());
  // What is behind the colon of a long one is for whoever runs the server.
  on('warning', ({ message }) => notice(sentence({ message: message.length > 120 ? message.split(': ')[0] : message })));
  on('end', ({ reason }) => ended(`The session has ended: ${reason}.`));
  events.addEventListener('error', () => {
    // While it tries again by itself, nothing is lost.
    if (events.readyState === EventSource.CLOSED) ended('The presenter is gone.');
  });
}

function ended(text) {
  events.close();
  leave();
  enable(false);
  stopMicrophone();
  cover(text, 'Start again', () => {
    query.delete('session');
    start();
  });
}

async function refresh() {
  await attempt(async () => applyStatus(await (await api('GET', `/api/sessions/${session.id}`)).json()));
}

function applyStatus(status) {
  const changedAvatar = session.avatar !== status.avatar;
  session = status;
  serverLatency = status.latency_ms;
  showState(status.state);
  $('viewers').textContent = status.viewers;
  showRecording(status.recording);
  for (const input of document.querySelectorAll('input[name="avatar"]')) input.checked = input.value === (status.next_avatar ?? status.avatar);
  for (const input of document.querySelectorAll('input[name="state"]')) input.checked = input.value === status.asked_state;
  if (changedAvatar) showClips();
}

window.addEventListener('pagehide', () => {
  // Whoever leaves takes the session along; those who joined it by ?session= do not.
  if (session && isOwner) {
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    fetch(`/api/sessions/${session.id}`, { method: 'DELETE', headers, keepalive: true });
  }
});
window.addEventListener('pageshow', (event) => { if (event.persisted) start(); });

// ---- Watching ----

async function watch() {
  leave();
  const peer = new RTCPeerConnection();
  const stream = new MediaStream();
  peer.addEventListener('track', ({ track, receiver }) => {
    stream.addTrack(track);
    // As much as browsers buffer of the sound: they correct a difference by and by only, and not one below 30 ms.
    if (track.kind === 'video' && 'jitterBufferTarget' in receiver) receiver.jitterBufferTarget = VIDEO_BUFFER;
  });
  for (const kind of ['video', 'audio']) peer.addTransceiver(kind, { direction: 'recvonly' });
  await peer.setLocalDescription();
  await gathered(peer);
  const response = await api('POST', of('whep'), peer.localDescription.sdp, 'application/sdp');
  connection = { peer, resource: response.headers.get('Location'), timer: setInterval(measure, 1000) };
  await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  peer.addEventListener('connectionstatechange', () => {
    if (peer.connectionState === 'failed' && connection?.peer === peer) attempt(watch);
  });
  video.srcObject = stream;
  try {
    await video.play();
    $('cover').hidden = true;
  } catch {
    // Browsers let pages sound only after a click.
    cover('The presenter is ready.', 'Start', async () => {
      await video.play();
      $('cover').hidden = true;
      $('text').focus();
    });
  }
}

function leave() {
  if (!connection) return;
  clearInterval(connection.timer);
  connection.peer.close();
  api('DELETE', connection.resource).catch(() => {});
  connection = null;
}

/** All candidates, or those of a second: the server is found by them in any case. */
function gathered(peer) {
  return new Promise((resolve) => {
    const look = () => { if (peer.iceGatheringState === 'complete') resolve(); };
    peer.addEventListener('icegatheringstatechange', look);
    setTimeout(resolve, 1000);
    look();
  });
}

let last = null;
async function measure() {
  if (!connection || serverLatency === null) return;
  const reports = [...(await connection.peer.getStats()).values()];
  const inbound = reports.find((report) => report.type === 'inbound-rtp' && report.kind === 'video');
  const pair = reports.find((report) => report.type === 'candidate-pair' && report.nominated);
  const now = { delay: inbound?.jitterBufferDelay ?? 0, count: inbound?.jitterBufferEmittedCount ?? 0 };
  if (last && now.count > last.count) {
    const buffered = (1000 * (now.delay - last.delay)) / (now.count - last.count);
    const way = 500 * (pair?.currentRoundTripTime ?? 0);
    $('latency').textContent = `${Math.round(serverLatency + buffered + way)} ms`;
  }
  last = now;
}

video.addEventListener('resize', () => {
  if (video.videoWidth) $('screen').style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
});

// ---- What is said ----

/** True when it will be said. */
async function say(text) {
  if (!text.trim()) return false;
  stopMicrophone(); // what it hears would come in between
  return Boolean(await attempt(async () => {
    const { utterance } = await (await api('POST', of('say'), { text })).json();
    addToLog(utterance, text.trim());
    return true;
  }));
}

$('say').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value;
  $('text').value = '';
  // What was refused can be mended and sent again, unless something else has been begun.
  if (!(await say(text)) && !$('text').value) $('text').value = text;
});

$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('say').requestSubmit();
  }
});

for (const idea of IDEAS) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = idea;
  button.addEventListener('click', () => { if (!$('text').disabled) say(idea); });
  $('ideas').append(button);
}

async function interrupt() {
  if ($('interrupt').disabled) return;
  await attempt(() => api('POST', of('interrupt')));
}
$('interrupt').addEventListener('click', interrupt);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !document.fullscreenElement) interrupt();
});

async function speakFile(file) {
  if (!file || $('file').disabled) return;
  stopMicrophone();
  await attempt(async () => {
    const { utterance } = await (await api('POST', of('speak'), file, 'application/octet-stream')).json();
    addToLog(utterance, `♪ ${file.name}`);
  });
}

$('file').addEventListener('change', () => {
  speakFile($('file').files[0]);
  $('file').value = '';
});
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  speakFile(event.dataTransfer.files[0]);
});

// ---- The microphone ----

async function startMicrophone() {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
  });
  const context = new AudioContext();
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const path = withToken(of(`audio?rate=${context.sampleRate}&channels=1`));
  const socket = new WebSocket(`${scheme}://${location.host}${path}`);
  microphone = { stream, context, socket, wasMuted: video.muted };
  // Else the microphone hears the presenter, who repeats it for ever.
  video.muted = true;
  showSound();
  socket.addEventListener('message', ({ data }) => {
    const { utterance } = JSON.parse(data);
    if (utterance) addToLog(utterance, 'Your voice');
  });
  socket.addEventListener('close', ({ reason }) => {
    if (reason) notice(sentence({ message: reason }));
    stopMicrophone();
  });
  await context.audioWorklet.addModule('/microphone.js');
  const node = new AudioWorkletNode(context, 'microphone', { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(data.samples);
    $('level').style.transform = `scaleX(${Math.min(1, data.peak)})`;
  };
  context.createMediaStreamSource(stream).connect(node);
  $('microphone').setAttribute('aria-pressed', 'true');
  notice('The presenter says what you say. Its sound is off meanwhile.');
}

function stopMicrophone() {
  if (!microphone) return;
  const { stream, context, socket, wasMuted } = microphone;
  microphone = null;
  stream.getTracks().forEach((track) => track.stop());
  context.close();
  socket.close();
  video.muted = wasMuted;
  showSound();
  $('level').style.transform = '';
  $('microphone').setAttribute('aria-pressed', 'false');
}

$('microphone').addEventListener('click', async () => {
  if (microphone) {
    stopMicrophone();
    return;
  }
  try {
    await startMicrophone();
  } catch (error) {
    stopMicrophone();
    notice(error.name === 'NotAllowedError' || error.name === 'NotFoundError'
      ? 'There is no microphone for this page. Allow it in the browser, or connect one.'
      : sentence(error));
  }
});

// ---- What is shown ----

function choice(group, name, value, label, work) {
  const element = document.createElement('label');
  element.className = 'choice';
  const input = Object.assign(document.createElement('input'), { type: 'radio', name, value });
  input.addEventListener('change', () => work(value));
  element.append(input, label);
  group.append(element);
}

function showAvatars() {
  $('avatars').replaceChildren();
  for (const { name, title } of avatars) {
    choice($('avatars'), 'avatar', name, title.split(',')[0] || name, async (value) => {
      await attempt(() => api('POST', of('avatar'), { name: value }));
      await refresh();
    });
  }
}

function showClips() {
  const clips = avatars.find(({ name }) => name === session.avatar)?.clips ?? [];
  const uses = new Set(clips.map(({ use }) => use));
  $('states').replaceChildren();
  for (const [state, label] of Object.entries(STATES)) {
    if (state === 'auto' || uses.has(state)) {
      choice($('states'), 'state', state, label, (value) => attempt(() => api('POST', of('state'), { name: value })));
    }
  }
  $('clips').replaceChildren();
  for (const { name } of clips.filter(({ use }) => use === 'gesture')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name.charAt(0).toUpperCase() + name.slice(1).replaceAll('-', ' ');
    button.addEventListener('click', () => attempt(() => api('POST', of('clip'), { name })));
    $('clips').append(button);
  }
  $('clips').closest('fieldset').hidden = !$('clips').children.length;
  for (const input of document.querySelectorAll('input[name="state"]')) input.checked = input.value === session.asked_state;
}

function showSound() {
  $('sound').setAttribute('aria-pressed', String(!video.muted));
}
$('sound').addEventListener('click', () => {
  video.muted = !video.muted;
  showSound();
});

$('full').addEventListener('click', () => {
  attempt(async () => {
    // Phones of one maker let only videos fill the screen.
    if ($('screen').requestFullscreen) await $('screen').requestFullscreen();
    else video.webkitEnterFullscreen();
  });
});

// ---- Recording ----

let recordingTimer = null;
let recordingSince = 0;

function showRecording(isRecording) {
  $('record').setAttribute('aria-pressed', String(isRecording));
  $('record').textContent = isRecording ? 'Stop and save' : 'Record';
  $('recording-time').hidden = !isRecording;
  if (isRecording && recordingTimer === null) {
    recordingSince = Date.now();
    const tick = () => {
      const passed = Math.floor((Date.now() - recordingSince) / 1000);
      const text = `${Math.floor(passed / 60)}:${String(passed % 60).padStart(2, '0')}`;
      $('recording-time').lastElementChild.textContent = text;
    };
    tick();
    recordingTimer = setInterval(tick, 500);
  } else if (!isRecording) {
    clearInterval(recordingTimer);
    recordingTimer = null;
  }
}

$('record').addEventListener('click', async () => {
  $('record').disabled = true;
  await attempt(async () => {
    if ($('record').getAttribute('aria-pressed') !== 'true') {
      applyStatus(await (await api('POST', of('recording'))).json());
      return;
    }
    const { url } = await (await api('DELETE', of('recording'))).json();
    const film = URL.createObjectURL(await (await api('GET', url)).blob());
    Object.assign(document.createElement('a'), { href: film, download: `${session.avatar}.mp4` }).click();
    setTimeout(() => URL.revokeObjectURL(film), 60_000);
  });
  $('record').disabled = false;
});

start();
