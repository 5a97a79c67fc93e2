// The web server's JSON interface, and its errors in words.

/** What went wrong, for a person: a sentence, and perhaps what the server said. */
export class ServiceError extends Error {
  /**
   * @param {string} reason Stable reason, such as "IMAGE_TOO_LARGE".
   * @param {string} detail What the server said; may be empty.
   */
  constructor(reason, detail = "") {
    super(SENTENCES[reason] ?? "The image could not be classified.");
    this.name = "ServiceError";
    this.reason = reason;
    this.detail = detail;
  }
}

const SENTENCES = {
  UNSUPPORTED_IMAGE_FORMAT: "This is not a JPEG or PNG image.",
  CORRUPT_IMAGE: "The image is damaged or incomplete.",
  IMAGE_TOO_LARGE: "The image is too large.",
  INVALID_IMAGE: "The image cannot be classified.",
  MODEL_NOT_FOUND: "There is no such model any more.",
  VERSION_NOT_FOUND: "There is no such version any more.",
  MODEL_NOT_SERVING: "This model is not ready to answer.",
  NO_MODELS: "The gateway serves no models yet.",
  OVERLOADED: "There is too much to do at the moment. Try again in a few seconds.",
  RESOURCE_EXHAUSTED: "There is too much to do at the moment. Try again in a few seconds.",
  DEADLINE_EXCEEDED: "The answer took too long. Try again.",
  UNAVAILABLE: "The gateway cannot be reached.",
  BACKEND_UNAVAILABLE: "The model server cannot be reached.",
  UNAUTHENTICATED: "The gateway does not accept this page's token.",
  PERMISSION_DENIED: "The gateway does not allow this page to classify.",
  UNREACHABLE: "This page's server cannot be reached.",
  INTERNAL: "Something is wrong on the server. Its log says more.",
};

/** Return the models: {models, default_model, max_image_bytes}. */
export async function listModels() {
  return call("/models");
}

/** Return a model's classes and input: {class_names, input_shape, version, …}. */
export async function describeModel(name) {
  return call(`/models/${encodeURIComponent(name)}`);
}

/**
 * Classify an image.
 *
 * @param {Blob} image A JPEG or PNG file.
 * @param {{model: string, topK: number, signal: AbortSignal}} options
 * @returns {Promise<{classes: [string, number][], model: string, version: number, milliseconds: number}>}
 */
export async function classify(image, { model, topK, signal }) {
  const form = new FormData();
  form.append("image", image, image.name || "image");
  const query = new URLSearchParams({ model, top_k: String(topK) });
  const start = performance.now();
  const answer = await call(`/predict?${query}`, { method: "POST", body: form, signal });
  const milliseconds = performance.now() - start;
  // JavaScript puts keys that look like integers first: restore the order, best first.
  const classes = Object.entries(answer.scores).sort(([, a], [, b]) => b - a);
  return { classes, model: answer.model, version: answer.version, milliseconds };
}

async function call(path, options = {}) {
  let response;
  let document;
  try {
    response = await fetch(path, options);
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("UNREACHABLE");
  }
  if (!response.ok) {
    throw new ServiceError(document.reason, document.error);
  }
  return document;
}
