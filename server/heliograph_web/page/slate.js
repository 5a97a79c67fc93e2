// The area to draw on: strokes of a mouse, a pen or a finger, white on black.

const STROKE_SHARE = 1 / 14; // Thickness of a stroke, as a share of the area's side.
const CLOSEST = 0.004; // Points nearer to the last one than this share of the side are left out.

/** Strokes on a canvas, in units of its side. Fires "stroke" after each and "clear" when empty. */
export class Slate extends EventTarget {
  /** @param {HTMLCanvasElement} canvas A square canvas. */
  constructor(canvas) {
    super();
    this.strokes = [];
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#follow(event));
    canvas.addEventListener("pointerup", (event) => this.#end(event));
    canvas.addEventListener("pointercancel", (event) => this.#end(event));
  }

  #canvas;
  #context;
  #pointer = null;

  /** Take the last stroke back. */
  undo() {
    this.strokes.pop();
    this.#changed();
  }

  /** Take all strokes back. */
  clear() {
    this.strokes = [];
    this.#changed();
  }

  #changed() {
    this.#paint();
    this.dispatchEvent(new Event(this.strokes.length ? "stroke" : "clear"));
  }

  #begin(event) {
    // One pointer at a time: the palm beside a pen does not draw.
    if (this.#pointer !== null || event.button !== 0) return;
    event.preventDefault();
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.#point(event)]);
    this.dispatchEvent(new Event("begin"));
    this.#paint();
  }

  #follow(event) {
    if (event.pointerId !== this.#pointer) return;
    const stroke = this.strokes.at(-1);
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) {
      const point = this.#point(move);
      const last = stroke.at(-1);
      if (Math.hypot(point.x - last.x, point.y - last.y) >= CLOSEST) stroke.push(point);
    }
    this.#paint();
  }

  #end(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#changed();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  #paint() {
    const context = this.#context;
    const side = this.#canvas.width;
    context.clearRect(0, 0, side, side);
    context.strokeStyle = "#ffffff";
    context.lineWidth = side * STROKE_SHARE;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const [first, ...rest] of this.strokes) {
      context.beginPath();
      context.moveTo(first.x * side, first.y * side);
      context.lineTo(first.x * side, first.y * side);
      for (const point of rest) context.lineTo(point.x * side, point.y * side);
      context.stroke();
    }
  }
}
