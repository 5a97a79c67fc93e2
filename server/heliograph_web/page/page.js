// The page: which model, which image, and when to ask.

import { showAnswer, showError, showNothing, showWaiting } from "./answer.js";
import { renderDigit } from "./digit.js";
import { ServiceError, classify, describeModel, listModels } from "./service.js";
import { Slate } from "./slate.js";

const MEBIBYTE = 1024 * 1024;
const TOP_K = 5;
const PAUSE_BETWEEN_STROKES = 300; // Milliseconds; a five has two strokes.
const LARGEST_DIGIT_IMAGE = 128; // Pixels a side.
const USUAL_DIGIT_IMAGE = 28;

const find = (id) => document.getElementById(id);
const slate = new Slate(find("slate"));

const state = {
  models: [],
  maxImageBytes: Infinity,
  details: null, // Of the chosen model; null while it is not known, or not served.
  choosing: Promise.resolve(), // Settles when the model is chosen, or cannot be.
  problem: null, // Why it cannot be.
  request: null, // AbortController of the question that is being asked.
  image: null, // File or drawing last asked about, to ask another model about it.
};
let pause;

async function start() {
  try {
    const { models, default_model: preferred, max_image_bytes: largest } = await listModels();
    if (!models.length) throw new ServiceError("NO_MODELS");
    state.models = models;
    state.maxImageBytes = largest;
    const size = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(largest / MEBIBYTE);
    find("file-hint").textContent = `JPEG or PNG, up to ${size} MB`;
    find("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
    const chosen = models.find(({ name }) => name === preferred) ?? models.find(({ serving }) => serving) ?? models[0];
    find("model").value = chosen.name;
    find("model-choice").hidden = models.length < 2;
    await chooseModel();
  } catch (error) {
    notify(error);
  }
}

/** Start what ends with a model being chosen; then ask it about the image that is there. */
async function choose(step) {
  find("main").setAttribute("aria-busy", "true");
  const choosing = step();
  state.choosing = choosing;
  if (state.image) ask(state.image);
  await choosing;
  if (state.choosing === choosing) find("main").removeAttribute("aria-busy");
}

async function chooseModel() {
  const name = find("model").value;
  try {
    const model = state.models.find((known) => known.name === name);
    if (!model.serving) throw new ServiceError("MODEL_NOT_SERVING", model.reason);
    const details = await describeModel(name);
    if (find("model").value !== name) return;
    state.details = details;
    state.problem = null;
    find("notice").hidden = true;
  } catch (error) {
    if (find("model").value !== name) return;
    state.details = null;
    notify(error);
  }
  offerDrawing(state.details !== null && isDigits(state.details.class_names));
  if (!state.image) showNothing("The classes appear here.");
}

/** Whether the classes are the ten digits, in order. */
function isDigits(names) {
  return names.length === 10 && names.every((name, index) => name === String(index));
}

function offerDrawing(offered) {
  const wasOffered = !find("ways").hidden;
  find("ways").hidden = !offered;
  if (offered !== wasOffered) chooseWay(offered && !state.image ? "draw" : "file");
}

function chooseWay(way) {
  document.querySelector(`input[name="way"][value="${way}"]`).checked = true;
  find("draw-way").hidden = way !== "draw";
  find("file-way").hidden = way !== "file";
}

async function askAboutFile(file) {
  chooseWay("file");
  const preview = find("preview");
  URL.revokeObjectURL(preview.src);
  preview.hidden = true;
  preview.src = URL.createObjectURL(file);
  await ask(file);
}

async function askAboutDrawing() {
  const [height, width] = drawingSize();
  const image = renderDigit(slate.strokes, height, width);
  const canvas = find("sent-image");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  find("sent").hidden = false;
  await ask(await new Promise((resolve) => canvas.toBlob(resolve, "image/png")));
}

/** The size that the model takes, so that the drawing is not resized again; else a usual one. */
function drawingSize() {
  const [height, width] = state.details.input_shape;
  const fits = height && width && Math.max(height, width) <= LARGEST_DIGIT_IMAGE;
  return fits ? [height, width] : [USUAL_DIGIT_IMAGE, USUAL_DIGIT_IMAGE];
}

async function ask(image) {
  state.image = image;
  showWaiting();
  await state.choosing;
  if (state.image === image) await classifyImage(image);
}

async function classifyImage(image) {
  state.request?.abort();
  const request = new AbortController();
  state.request = request;
  showWaiting();
  try {
    if (!state.details) throw state.problem;
    if (image.size > state.maxImageBytes) throw new ServiceError("IMAGE_TOO_LARGE", find("file-hint").textContent);
    const answer = await classify(image, { model: state.details.name, topK: TOP_K, signal: request.signal });
    if (state.request === request) showAnswer(answer);
  } catch (error) {
    if (state.request !== request || error.name === "AbortError") return;
    showError(error instanceof ServiceError ? error : new ServiceError("INTERNAL", String(error)));
  }
}

function forget() {
  clearTimeout(pause);
  state.request?.abort();
  state.request = null;
  state.image = null;
  showNothing("The classes appear here.");
}

function notify(error) {
  state.problem = error;
  const { message, detail = "" } = error;
  find("notice-text").textContent = detail ? `${message} (${detail})` : message;
  find("notice").hidden = false;
}

/** The first image of a drop or of the clipboard; failing that, the first file. */
function imageIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find(({ type }) => type.startsWith("image/")) ?? files[0];
}

find("retry").addEventListener("click", () => choose(start));
find("model").addEventListener("change", () => choose(chooseModel));
find("ways").addEventListener("change", (event) => {
  chooseWay(event.target.value);
  forget();
  if (event.target.value === "draw" && slate.strokes.length) askAboutDrawing();
});

find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) askAboutFile(file);
  event.target.value = ""; // The same file may be chosen again.
});
find("preview").addEventListener("load", ({ target }) => {
  target.classList.toggle("tiny", Math.max(target.naturalWidth, target.naturalHeight) <= 64);
  target.hidden = false;
});

document.addEventListener("paste", (event) => {
  const file = imageIn(event.clipboardData);
  if (file) askAboutFile(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const file = imageIn(event.dataTransfer);
  if (file) askAboutFile(file);
});

slate.addEventListener("begin", () => {
  clearTimeout(pause);
  find("slate-hint").hidden = true;
});
slate.addEventListener("stroke", () => {
  find("undo").disabled = find("clear").disabled = false;
  clearTimeout(pause);
  pause = setTimeout(askAboutDrawing, PAUSE_BETWEEN_STROKES);
});
slate.addEventListener("clear", () => {
  find("undo").disabled = find("clear").disabled = true;
  find("sent").hidden = true;
  find("slate-hint").hidden = false;
  forget();
});
find("undo").addEventListener("click", () => slate.undo());
find("clear").addEventListener("click", () => slate.clear());

choose(start);
