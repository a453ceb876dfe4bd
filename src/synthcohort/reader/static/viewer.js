// One image on a canvas, from its raw values: zoom, pan, window and level, marks.
//
// A value v is shown as clip(round((v - low) / (high - low) * 255), 0, 255), in double precision; halves round to even
// numbers, as NumPy does. Colour channels share one window. At a whole-number zoom every image pixel is a square of that
// many device pixels, without any smoothing; between whole numbers the browser interpolates.

const LADDER = [0.125, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
const BACKGROUND = "#000000";

export function shown(value, low, high) {
  const exact = ((value - low) / (high - low)) * 255;
  let round = Math.round(exact);
  if (round - exact === 0.5 && round % 2 !== 0) round -= 1;
  return Math.min(255, Math.max(0, round));
}

export class Viewer {
  constructor(canvas, told, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    [this.channels, this.height, this.width] = told.shape;
    this.bytes = told.dtype === "uint16" ? 2 : 1;
    this.start = told.window;
    this.changed = changed;
    this.values = null;
    this.visible = false;
    this.marks = [];
    this.cross = null;
    this.source = document.createElement("canvas");
    this.source.width = this.width;
    this.source.height = this.height;
    this.painted = this.source.getContext("2d").createImageData(this.width, this.height);
    this.fitted = true;
    this.scale = 1;
    this.left = this.top = 0;
    new ResizeObserver((entries) => this.resize(entries[0])).observe(canvas, this.box());
  }

  box() {
    const exact = window.ResizeObserverEntry && "devicePixelContentBoxSize" in ResizeObserverEntry.prototype;
    return exact ? { box: "device-pixel-content-box" } : {};
  }

  resize(entry) {
    const size = entry.devicePixelContentBoxSize?.[0];
    const { width, height } = entry.contentRect;
    this.canvas.width = devicePixels(size?.inlineSize, width);
    this.canvas.height = devicePixels(size?.blockSize, height);
    if (this.fitted) this.fit();
    else this.draw();
  }

  // Take the bytes of an image; return false where they are not as many as an image has.
  load(buffer) {
    if (buffer.byteLength !== this.width * this.height * this.channels * this.bytes) return false;
    this.values = this.bytes === 2 ? littleEndian(buffer) : new Uint8Array(buffer);
    const [least, most] = extent(this.values);
    this.extent = [least, Math.max(most, least + 1)];
    this.full = 2 ** Math.ceil(Math.log2(Math.max(this.start[1], most, 1) + 1)) - 1;
    this.marks = [];
    this.cross = null;
    this.setWindow(...this.start);
    this.fit();
    return true;
  }

  show(visible) {
    this.visible = visible;
    this.draw();
  }

  clear() {
    this.values = null;
    this.show(false);
  }

  setWindow(low, high) {
    if (!(high - low >= 1)) return;
    this.low = low;
    this.high = high;
    this.paint();
    this.draw();
  }

  setLevel(level, width) {
    const wide = Math.min(2 * this.full, Math.max(1, Math.round(width)));
    const middle = Math.min(this.full, Math.max(0, Math.round(level)));
    this.setWindow(middle - wide / 2, middle + wide / 2);
  }

  level() {
    return [(this.low + this.high) / 2, this.high - this.low];
  }

  paint() {
    if (!this.values) return;
    const table = new Uint8Array(this.bytes === 2 ? 65536 : 256);
    for (let value = 0; value < table.length; value++) table[value] = shown(value, this.low, this.high);
    const [values, data, step] = [this.values, this.painted.data, this.channels];
    const [second, third] = step === 3 ? [1, 2] : [0, 0];
    for (let from = 0, to = 0; from < values.length; from += step, to += 4) {
      data[to] = table[values[from]];
      data[to + 1] = table[values[from + second]];
      data[to + 2] = table[values[from + third]];
      data[to + 3] = 255;
    }
    this.source.getContext("2d").putImageData(this.painted, 0, 0);
  }

  fit() {
    const scale = Math.min(this.canvas.width / this.width, this.canvas.height / this.height);
    this.fitted = true;
    this.scale = scale >= 3 ? Math.floor(scale) : scale > 1 || scale === 0 ? scale : Math.max(scale, 0.05);
    this.draw();
  }

  // Zoom so that the point (x, y) of the canvas stays where it is.
  zoom(scale, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const next = Math.min(64, Math.max(0.05, scale));
    this.left = x - ((x - this.left) * next) / this.scale;
    this.top = y - ((y - this.top) * next) / this.scale;
    this.scale = next;
    this.fitted = false;
    this.draw();
  }

  step(direction) {
    const larger = LADDER.filter((one) => one > this.scale * 1.001);
    const smaller = LADDER.filter((one) => one < this.scale / 1.001);
    const beyond = direction > 0 ? larger[0] : smaller.pop();
    if (beyond) this.zoom(beyond);
  }

  pan(x, y) {
    this.left += x;
    this.top += y;
    this.fitted = false;
    this.draw();
  }

  place() {
    const across = [this.canvas.width, this.canvas.height];
    const size = [this.width * this.scale, this.height * this.scale];
    const held = [this.left, this.top].map((start, axis) => {
      const room = across[axis] - size[axis];
      return this.fitted || room >= 0 ? room / 2 : Math.min(0, Math.max(room, start));
    });
    [this.left, this.top] = held;
    return held.map(Math.round);
  }

  draw() {
    const { context, canvas } = this;
    const [left, top] = this.place();
    context.fillStyle = BACKGROUND;
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.visible && this.values) {
      context.imageSmoothingEnabled = !Number.isInteger(this.scale);
      context.imageSmoothingQuality = "high";
      context.drawImage(this.source, left, top, this.width * this.scale, this.height * this.scale);
      this.marks.forEach((mark) => this.ring(mark, left, top));
      if (this.cross) this.plus(this.cross, left, top);
    }
    canvas.dataset.scale = this.scale;
    canvas.dataset.left = left;
    canvas.dataset.top = top;
    canvas.dataset.window = `${this.low} ${this.high}`;
    this.changed();
  }

  on([x, y], left, top) {
    return [left + x * this.width * this.scale, top + y * this.height * this.scale];
  }

  ring(mark, left, top) {
    const [x, y] = this.on(mark, left, top);
    const radius = 12 * window.devicePixelRatio;
    this.stroke(() => this.context.arc(x, y, radius, 0, 2 * Math.PI));
  }

  plus(mark, left, top) {
    const [x, y] = this.on(mark, left, top);
    const arm = 16 * window.devicePixelRatio;
    this.stroke(() => {
      this.context.moveTo(x - arm, y);
      this.context.lineTo(x + arm, y);
      this.context.moveTo(x, y - arm);
      this.context.lineTo(x, y + arm);
    });
  }

  stroke(path) {
    for (const [colour, width] of [["#000000", 5], ["#ffd166", 2.5]]) {
      this.context.beginPath();
      path();
      this.context.strokeStyle = colour;
      this.context.lineWidth = width * window.devicePixelRatio;
      this.context.stroke();
    }
  }

  // The canvas point of a pointer event, in device pixels.
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  // The shares of width and height at a canvas point; null outside the image.
  share([x, y]) {
    const share = [(x - Math.round(this.left)) / (this.width * this.scale), (y - Math.round(this.top)) / (this.height * this.scale)];
    return share.every((one) => one >= 0 && one <= 1) ? share.map((one) => Math.round(one * 1e4) / 1e4) : null;
  }
}

// What the browser counted is exact at broken ratios; where a page is shown as on another device, it is not counted so.
function devicePixels(counted, length) {
  const reckoned = length * window.devicePixelRatio;
  return counted !== undefined && Math.abs(counted - reckoned) <= 1 ? counted : Math.round(reckoned);
}

function littleEndian(buffer) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Uint16Array(buffer);
  const view = new DataView(buffer);
  return Uint16Array.from({ length: buffer.byteLength / 2 }, (_, at) => view.getUint16(2 * at, true));
}

function extent(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}
