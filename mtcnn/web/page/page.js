"use strict";
// Photos, dropped files and the camera -> a whole detector in onnxruntime-web -> boxes, landmarks or hidden faces.
// The address may say what to do first, for links and tests: ?photo=NAME&detector=NAME&camera=1

const LONGEST = 2048; // pixels of a side; larger photos are shrunk
const GREEN = "#00e676";
const byId = (id) => document.getElementById(id);
const canvas = byId("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
const source = document.createElement("canvas"), sourceContext = source.getContext("2d", { willReadFrequently: true });
const sessions = new Map(); // name -> promise of a session
let detectors = [], stream = null, faces = [], busy = false, note = "", circumstances = "";

function say(text, kind = "info") {
  byId("message").textContent = text;
  byId("message").dataset.kind = kind;
}

function session(name) {
  if (!sessions.has(name)) {
    const file = detectors.find((each) => each.name === name).file;
    const made = ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
    made.catch(() => sessions.delete(name)); // may be tried again
    sessions.set(name, made);
  }
  return sessions.get(name);
}

/** RGBA pixels, as a canvas has them, without alpha. */
function rgb(data) {
  const pixels = new Uint8Array(data.length / 4 * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  return pixels;
}

/** Faces of the picture in `source`: [{box: [x1, y1, x2, y2], score, landmarks: [[x, y], ...]}, ...]. */
async function detect() {
  const { width, height } = source;
  const pixels = rgb(sourceContext.getImageData(0, 0, width, height).data);
  const found = await (await session(byId("detector").value)).run({ image: new ort.Tensor("uint8", pixels, [height, width, 3]) });
  const { boxes, scores, landmarks } = found;
  return Array.from(scores.data, (score, k) => ({
    box: Array.from(boxes.data.slice(4 * k, 4 * k + 4)),
    score,
    landmarks: landmarks ? [0, 1, 2, 3, 4].map((point) => Array.from(landmarks.data.slice(10 * k + 2 * point, 10 * k + 2 * point + 2))) : [],
  }));
}

/** Four mean colours along the longer side: what a face shows is gone, not only smoothed. */
function hide([x1, y1, x2, y2]) {
  const grow = 0.2 * Math.max(x2 - x1, y2 - y1);
  const left = Math.max(0, Math.floor(x1 - grow)), top = Math.max(0, Math.floor(y1 - grow));
  const wide = Math.min(canvas.width, Math.ceil(x2 + grow)) - left, high = Math.min(canvas.height, Math.ceil(y2 + grow)) - top;
  const side = Math.max(wide, high) / 4;
  for (let y = top; y < top + high; y += side) {
    for (let x = left; x < left + wide; x += side) {
      const w = Math.max(1, Math.round(Math.min(side, left + wide - x))), h = Math.max(1, Math.round(Math.min(side, top + high - y)));
      const part = sourceContext.getImageData(Math.round(x), Math.round(y), w, h).data, sum = [0, 0, 0];
      for (let k = 0; k < part.length; k++) if (k % 4 < 3) sum[k % 4] += part[k];
      context.fillStyle = `rgb(${sum.map((value) => Math.round(4 * value / part.length)).join(",")})`;
      context.fillRect(x, y, side + 1, side + 1);
    }
  }
}

/** A score on a dark ground, above its box, or in it where the picture ends. */
function drawScore(score, x, y, size) {
  const text = score.toFixed(2), height = 1.3 * size;
  context.font = `${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 0.4 * size;
  const left = Math.max(0, Math.min(x, canvas.width - width)), top = y < height ? Math.max(0, y) : y - height;
  context.fillStyle = "#000b";
  context.fillRect(left, top, width, height);
  context.fillStyle = GREEN;
  context.fillText(text, left + 0.2 * size, top + size);
}

function draw() {
  canvas.width = source.width;
  canvas.height = source.height;
  context.drawImage(source, 0, 0);
  const shown = faces.filter((face) => face.score >= Number(byId("score").value));
  if (byId("blur").checked) shown.forEach((face) => hide(face.box));
  for (const { box: [x1, y1, x2, y2], score, landmarks } of shown) {
    const line = Math.max(1, Math.min(x2 - x1, y2 - y1) / 40);
    context.lineWidth = line;
    context.strokeStyle = context.fillStyle = GREEN;
    if (byId("boxes").checked) context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    if (byId("landmarks").checked && !byId("blur").checked) {
      for (const [x, y] of landmarks) {
        context.beginPath();
        context.arc(x, y, 1.5 * line, 0, 2 * Math.PI);
        context.fill();
      }
    }
    if (byId("boxes").checked) drawScore(score, x1, y1, Math.max(10, (y2 - y1) / 8));
  }
  byId("least").textContent = Number(byId("score").value).toFixed(2);
  canvas.hidden = false;
  byId("hint").hidden = true;
  return shown.length;
}

function report(count) {
  say(`${count} ${count === 1 ? "face" : "faces"} ${circumstances}`);
}

async function look() {
  busy = true;
  try {
    const name = byId("detector").value;
    await session(name);
    const start = performance.now();
    faces = await detect();
    const time = performance.now() - start, count = draw();
    circumstances = `in ${time.toFixed(0)} ms by ${name}, ${source.width} × ${source.height} pixels${note}`;
    report(count);
    byId("result").textContent = JSON.stringify({ detector: name, width: source.width, height: source.height, milliseconds: time, faces });
  } catch (error) {
    say(`The detector failed: ${error.message}`, "error");
  } finally {
    busy = false;
  }
}

/** Copy a picture of this size to `source`, shrunk to LONGEST. */
function take(picture, width, height) {
  const factor = Math.min(1, LONGEST / Math.max(width, height));
  source.width = Math.max(1, Math.round(width * factor));
  source.height = Math.max(1, Math.round(height * factor));
  sourceContext.drawImage(picture, 0, 0, source.width, source.height);
  note = factor < 1 ? `, shrunk from ${width} × ${height}` : "";
}

async function showPhoto(blob, name) {
  stopCamera();
  if (!blob) return say("No photo was given; choose a JPEG, PNG or WebP file.", "error");
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    return say(`${name} is no image that this browser can show; choose a JPEG, PNG or WebP file.`, "error");
  }
  say("Looking for faces…");
  take(picture, picture.width, picture.height);
  picture.close();
  await look();
}

function stopCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("camera").textContent = "Use the camera";
}

async function startCamera() {
  if (stream) return stopCamera();
  try {
    if (!navigator.mediaDevices) throw new Error("browsers allow it on https: and localhost only");
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch (error) {
    stream = null;
    return say(`No camera: ${error.message}. Allow its use for this page, or choose a photo.`, "error");
  }
  byId("camera").textContent = "Stop the camera";
  const video = document.createElement("video"), mine = stream;
  video.muted = video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  while (stream === mine) {
    if (video.videoWidth && !busy) {
      take(video, video.videoWidth, video.videoHeight);
      await look();
    }
    await new Promise((next) => setTimeout(next, 0)); // the page stays usable
  }
}

async function begin() {
  ort.env.wasm.wasmPaths = new URL("runtime/", location.href).href;
  ort.env.wasm.numThreads = 1; // more need headers that plain servers do not send
  try {
    detectors = await (await fetch("detectors.json")).json();
  } catch {
    return say("The page must come from a server: python -m http.server --directory FOLDER", "error");
  }
  byId("detector").replaceChildren(...detectors.map(({ name }) => new Option(name)));
  const wanted = new URLSearchParams(location.search);
  if (detectors.some(({ name }) => name === wanted.get("detector"))) byId("detector").value = wanted.get("detector");
  byId("file").addEventListener("change", ({ target }) => target.files.length && showPhoto(target.files[0], target.files[0].name));
  byId("camera").addEventListener("click", startCamera);
  byId("detector").addEventListener("change", () => !stream && !canvas.hidden && look());
  for (const id of ["score", "boxes", "landmarks", "blur"]) byId(id).addEventListener("input", () => canvas.hidden || report(draw()));
  const view = byId("view");
  view.addEventListener("dragover", (event) => { event.preventDefault(); view.classList.add("over"); });
  view.addEventListener("dragleave", () => view.classList.remove("over"));
  view.addEventListener("drop", (event) => {
    event.preventDefault();
    view.classList.remove("over");
    const [file] = event.dataTransfer.files;
    showPhoto(file, file ? file.name : "");
  });
  say("Choose a photo, drop one below, or use the camera.");
  if (wanted.has("blur")) byId("blur").checked = true;
  if (wanted.has("photo")) await showPhoto(await (await fetch(wanted.get("photo"))).blob(), wanted.get("photo"));
  if (wanted.has("camera")) await startCamera();
}

begin();
