// From the strokes of a drawn digit to an image like those a digits model was trained on.
//
// The digits that come with scikit-learn were made from bitmaps of 32 × 32 pixels: the digit fills
// the height, its width is drawn towards 20, its slant is reduced, and its strokes are as thick as
// it takes to cover about 0.31 of the bitmap (the mean of the data set, alike for all ten digits).
// Each pixel of the 8 × 8 image counts the ink in a block of 4 × 4.
// Source: https://archive.ics.uci.edu/dataset/80 and NISTIR 5469. How far width and slant are
// evened out was chosen on drawn digits: see tests/e2e/web/test_drawn_digits.py.

/** @typedef {{x: number, y: number}} Point */

const HEIGHT = 32;
const WIDTH = 20;
const COVERAGE = 0.31;
const USUAL_ASPECT = 0.65; // Width by height of a digit that becomes 20 wide.
const EXTREME_ASPECT = { least: 0.05, most: 2 };
const ASPECT_KEPT = 0.3; // Exponent: 0 makes all digits 20 wide, 1 keeps how they were drawn.
const SLANT_REMOVED = 0.4;
const MOST_SLANT = 0.7;
const THICKNESS = { least: 2, first: 3.5, most: 10 };
const SMALLEST = 1e-6; // A dot has neither width nor height.
const DETAIL = 4; // Samples per pixel of the bitmap, in each direction.

/**
 * Render a digit.
 *
 * @param {Point[][]} strokes Strokes as drawn, y pointing down, in any unit.
 * @param {number} height Height of the image in pixels, at most 128.
 * @param {number} width Width of the image in pixels, at most 128.
 * @returns {ImageData} White strokes on black.
 */
export function renderDigit(strokes, height, width) {
  const upright = removeSlant(strokes);
  const side = HEIGHT * DETAIL;
  let thickness = THICKNESS.first;
  let distances;
  // The strokes' thickness takes room from their extent, which changes how thick they must be.
  for (let round = 0; round < 3; round += 1) {
    distances = distancesTo(fit(upright, thickness), side);
    thickness = Math.min(Math.max(2 * quantile(distances, COVERAGE), THICKNESS.least), THICKNESS.most);
  }
  const ink = distances.map((distance) => clamp((thickness / 2 - distance) * DETAIL + 0.5, 0, 1));
  return toImage(ink, side, height, width);
}

/** Shear the strokes so that most of their slant goes: by the regression of x on y along them. */
function removeSlant(strokes) {
  let length = 0;
  let meanX = 0;
  let meanY = 0;
  const pieces = strokes.flatMap((stroke) =>
    stroke.slice(1).map((end, index) => {
      const start = stroke[index];
      const weight = Math.hypot(end.x - start.x, end.y - start.y);
      const piece = { weight, x: (start.x + end.x) / 2, y: (start.y + end.y) / 2 };
      length += weight;
      meanX += weight * piece.x;
      meanY += weight * piece.y;
      return piece;
    }),
  );
  if (length === 0) return strokes;
  meanX /= length;
  meanY /= length;
  let covariance = 0;
  let variance = 0;
  for (const { weight, x, y } of pieces) {
    covariance += weight * (x - meanX) * (y - meanY);
    variance += weight * (y - meanY) ** 2;
  }
  if (variance === 0) return strokes;
  const slant = clamp((SLANT_REMOVED * covariance) / variance, -MOST_SLANT, MOST_SLANT);
  return strokes.map((stroke) => stroke.map(({ x, y }) => ({ x: x - slant * (y - meanY), y })));
}

/** Scale the strokes to the height and width that digits have, and centre them. */
function fit(strokes, thickness) {
  const points = strokes.flat();
  const [left, right] = range(points.map(({ x }) => x));
  const [top, bottom] = range(points.map(({ y }) => y));
  const drawnWidth = Math.max(right - left, SMALLEST);
  // A lying line is no digit: it is not blown up until it fills the height.
  const drawnHeight = Math.max(bottom - top, drawnWidth / 4);
  const aspect = clamp(drawnWidth / drawnHeight, EXTREME_ASPECT.least, EXTREME_ASPECT.most);
  const width = WIDTH * (aspect / USUAL_ASPECT) ** ASPECT_KEPT;
  const scaleX = Math.max(width - thickness, 0) / drawnWidth;
  const scaleY = (HEIGHT - thickness) / drawnHeight;
  const centreX = (left + right) / 2;
  const centreY = (top + bottom) / 2;
  return strokes.map((stroke) =>
    stroke.map(({ x, y }) => ({
      x: HEIGHT / 2 + (x - centreX) * scaleX,
      y: HEIGHT / 2 + (y - centreY) * scaleY,
    })),
  );
}

/** Return how far each sample of the bitmap is from the nearest stroke, in pixels of the bitmap. */
function distancesTo(strokes, side) {
  const squares = new Float32Array(side * side).fill(Infinity);
  for (const stroke of strokes) {
    for (let index = 0; index < Math.max(stroke.length - 1, 1); index += 1) {
      const start = stroke[index];
      const end = stroke[index + 1] ?? start;
      const dx = end.x - start.x;
      const dy = end.y - start.y;
      const square = dx * dx + dy * dy;
      for (let row = 0, sample = 0; row < side; row += 1) {
        const y = (row + 0.5) / DETAIL - start.y;
        for (let column = 0; column < side; column += 1, sample += 1) {
          const x = (column + 0.5) / DETAIL - start.x;
          const along = square === 0 ? 0 : clamp((x * dx + y * dy) / square, 0, 1);
          const away = (x - along * dx) ** 2 + (y - along * dy) ** 2;
          if (away < squares[sample]) squares[sample] = away;
        }
      }
    }
  }
  return squares.map(Math.sqrt);
}

/** Average the samples that fall into each pixel of the image. */
function toImage(ink, side, height, width) {
  const image = new ImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const [top, bottom] = [row, row + 1].map((edge) => Math.round((edge * side) / height));
      const [left, right] = [column, column + 1].map((edge) => Math.round((edge * side) / width));
      let sum = 0;
      for (let y = top; y < bottom; y += 1) {
        for (let x = left; x < right; x += 1) sum += ink[y * side + x];
      }
      const value = Math.round((255 * sum) / ((bottom - top) * (right - left)));
      image.data.set([value, value, value, 255], 4 * (row * width + column));
    }
  }
  return image;
}

function quantile(values, share) {
  return Float32Array.from(values).sort()[Math.floor(share * values.length)];
}

function range(values) {
  return [Math.min(...values), Math.max(...values)];
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
