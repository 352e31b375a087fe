// A canvas on which boxes are drawn, moved and resized: by mouse, touch, pen and keys.
// Boxes are {top, left, bottom, right} in whole pixels of the map, bottom and right
// exclusive: what one sees is what the generator reads.

const REACH = { mouse: 9, pen: 12, touch: 22 }; // CSS pixels around an edge that take it
const DRAG = 5; // CSS pixels before a press on nothing is a new box

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class BoxCanvas {
  // size: the map's side in pixels. changed(live): boxes have changed; live while a
  // drag goes on. selected(): another box is chosen. full(): there are too many.
  constructor(canvas, size, maxBoxes, { changed, selected, full }) {
    Object.assign(this, { canvas, size, maxBoxes, changed, full });
    this.tellSelected = selected;
    this.boxes = [];
    this.selected = -1;
    this.colours = { skin: "rgb(0,0,0)", box: "rgb(0,255,255)" };
    this.picture = null; // drawn below the boxes instead of the map
    this.fixed = false; // no boxes are to be drawn
    this.drag = null;
    const listen = (name, act) => canvas.addEventListener(name, (event) => act.call(this, event));
    listen("pointerdown", this.press);
    listen("pointermove", this.move);
    listen("pointerup", this.release);
    listen("pointercancel", this.giveUp);
    listen("keydown", this.key);
    listen("focus", this.draw);
    listen("blur", this.draw);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  select(index) {
    this.selected = index;
    this.tellSelected();
    this.draw();
  }

  add(box) {
    if (this.fixed) return false;
    if (this.boxes.length >= this.maxBoxes) {
      this.full();
      return false;
    }
    this.boxes.push(box ?? this.middleBox());
    this.selected = this.boxes.length - 1;
    return true;
  }

  middleBox() {
    const side = Math.max(1, Math.round(this.size / 4));
    // Each new one a little further, so that it does not hide the one before.
    const shift = (this.boxes.length % 4) * Math.round(this.size / 16);
    const low = Math.round((this.size - side) / 2) + shift;
    return { top: low, left: low, bottom: low + side, right: low + side };
  }

  remove(index) {
    if (index < 0 || this.drag) return;
    this.boxes.splice(index, 1);
    this.selected = Math.min(index, this.boxes.length - 1);
    this.changed(false);
  }

  moveBy(index, down, across) {
    const box = this.boxes[index];
    down = clamp(down, -box.top, this.size - box.bottom);
    across = clamp(across, -box.left, this.size - box.right);
    box.top += down;
    box.bottom += down;
    box.left += across;
    box.right += across;
  }

  // --- pointer ---

  at(event) {
    const area = this.canvas.getBoundingClientRect();
    const scale = this.size / area.width;
    return {
      x: (event.clientX - area.left) * scale,
      y: (event.clientY - area.top) * scale,
      reach: (REACH[event.pointerType] ?? REACH.mouse) * scale,
      drag: DRAG * scale,
    };
  }

  // Which edges of a box a point takes: {top, left, bottom, right}, all for the inside.
  grip(box, point) {
    const near = (value, low, high) => {
      const inner = Math.min(point.reach, (high - low) / 3);
      if (value < low - point.reach || value > high + point.reach) return null;
      if (value < low + inner) return "low";
      return value > high - inner ? "high" : "between";
    };
    const row = near(point.y, box.top, box.bottom);
    const column = near(point.x, box.left, box.right);
    if (!row || !column) return null;
    return {
      top: row === "low",
      bottom: row === "high",
      left: column === "low",
      right: column === "high",
    };
  }

  // The box under a point: the chosen one first, then smaller before larger ones.
  find(point) {
    const area = ({ top, left, bottom, right }) => (bottom - top) * (right - left);
    const order = this.boxes.map((_, index) => index);
    order.sort((a, b) => area(this.boxes[a]) - area(this.boxes[b]));
    if (this.selected >= 0) order.unshift(this.selected);
    for (const index of order) {
      const grip = this.grip(this.boxes[index], point);
      if (!grip) continue;
      const inside = !Object.values(grip).some(Boolean);
      // The middle of a chosen large box must not keep small ones in it from being taken.
      const covers = (other) => area(this.boxes[other]) < area(this.boxes[index])
        && this.grip(this.boxes[other], { ...point, reach: 0 });
      const smaller = inside ? order.find(covers) ?? index : index;
      return { index: smaller, grip };
    }
    return null;
  }

  press(event) {
    if (this.fixed || !event.isPrimary || event.button !== 0) return;
    event.preventDefault(); // no text is chosen and no page is moved by the drag
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.at(event);
    const found = this.find(point);
    this.drag = {
      start: point,
      before: this.boxes.map((box) => ({ ...box })),
      selectedBefore: this.selected,
      index: found ? found.index : -1,
      grip: found ? found.grip : null,
      moved: false,
    };
    this.select(found ? found.index : -1);
  }

  move(event) {
    const point = this.at(event);
    if (!this.drag) {
      if (event.pointerType === "mouse") this.canvas.style.cursor = this.cursor(point);
      return;
    }
    if (!event.isPrimary) return;
    const drag = this.drag;
    const across = point.x - drag.start.x;
    const down = point.y - drag.start.y;
    if (!drag.grip) {
      if (Math.hypot(across, down) < point.drag) return;
      if (!this.add(this.spanned(drag.start, point))) {
        this.drag = null;
        return;
      }
      drag.index = this.selected;
      drag.grip = "new";
    }
    const box = this.boxes[drag.index];
    const before = { ...box };
    if (drag.grip === "new") {
      Object.assign(box, this.spanned(drag.start, point));
    } else if (Object.values(drag.grip).some(Boolean)) {
      Object.assign(box, this.stretched(drag.before[drag.index], drag.grip, down, across));
    } else {
      Object.assign(box, drag.before[drag.index]);
      this.moveBy(drag.index, Math.round(down), Math.round(across));
    }
    const first = drag.grip === "new" && !drag.moved;
    if (first || Object.keys(box).some((side) => box[side] !== before[side])) {
      drag.moved = true;
      this.changed(true);
    }
  }

  release(event) {
    if (!this.drag || !event.isPrimary) return;
    const { moved } = this.drag;
    this.drag = null;
    if (moved) this.changed(false);
  }

  giveUp(event) {
    if (!this.drag || !event.isPrimary) return;
    const { before, selectedBefore, moved } = this.drag;
    this.drag = null;
    this.boxes = before;
    this.selected = selectedBefore;
    if (moved) this.changed(false);
    else this.select(selectedBefore);
  }

  spanned(from, to) {
    const low = (a, b) => clamp(Math.floor(Math.min(a, b)), 0, this.size - 1);
    const high = (a, b) => clamp(Math.ceil(Math.max(a, b)), 1, this.size);
    const top = low(from.y, to.y);
    const left = low(from.x, to.x);
    return {
      top,
      left,
      bottom: Math.max(high(from.y, to.y), top + 1),
      right: Math.max(high(from.x, to.x), left + 1),
    };
  }

  // A box with some edges moved; one that is dragged past its opposite changes places.
  stretched(box, grip, down, across) {
    const pair = (low, high, takesLow, takesHigh, way) => {
      let [a, b] = [low + (takesLow ? Math.round(way) : 0), high + (takesHigh ? Math.round(way) : 0)];
      if (a === b) takesLow ? (a -= 1) : (b += 1);
      [a, b] = [clamp(Math.min(a, b), 0, this.size), clamp(Math.max(a, b), 0, this.size)];
      if (a === b) a === this.size ? (a -= 1) : (b += 1);
      return [a, b];
    };
    const [top, bottom] = pair(box.top, box.bottom, grip.top, grip.bottom, down);
    const [left, right] = pair(box.left, box.right, grip.left, grip.right, across);
    return { top, left, bottom, right };
  }

  cursor(point) {
    const found = this.fixed ? null : this.find(point);
    if (!found) return this.fixed ? "default" : "crosshair";
    const { top, left, bottom, right } = found.grip;
    if ((top && left) || (bottom && right)) return "nwse-resize";
    if ((top && right) || (bottom && left)) return "nesw-resize";
    if (top || bottom) return "ns-resize";
    return left || right ? "ew-resize" : "move";
  }

  // --- keys ---

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || this.drag) return;
    const step = Math.max(1, Math.round(this.size / 64));
    const arrows = {
      ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step],
    };
    const box = this.boxes[this.selected];
    if (event.key in arrows) {
      if (!box) return;
      const [down, across] = arrows[event.key];
      if (event.shiftKey) {
        box.bottom = clamp(box.bottom + down, box.top + 1, this.size);
        box.right = clamp(box.right + across, box.left + 1, this.size);
      } else {
        this.moveBy(this.selected, down, across);
      }
      this.changed(false);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      if (!box) return;
      this.remove(this.selected);
    } else if (event.key === " ") {
      if (this.boxes.length) this.select((this.selected + 1) % this.boxes.length);
    } else if (event.key === "Escape") {
      this.select(-1);
    } else if (event.key.toLowerCase() === "n" || event.key === "Insert") {
      if (this.add()) this.changed(false);
    } else {
      return;
    }
    event.preventDefault();
  }

  // --- drawing ---

  draw() {
    const { canvas, size } = this;
    const side = Math.max(64, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const scale = side / size;
    const density = side / Math.max(1, canvas.clientWidth);
    const rectangle = ({ top, left, bottom, right }) => {
      const [x, y] = [Math.round(left * scale), Math.round(top * scale)];
      return [x, y, Math.round(right * scale) - x, Math.round(bottom * scale) - y];
    };
    context.imageSmoothingEnabled = false;
    if (this.picture) {
      context.drawImage(this.picture, 0, 0, side, side);
    } else {
      context.fillStyle = this.colours.skin;
      context.fillRect(0, 0, side, side);
      if (!this.fixed) {
        context.fillStyle = this.colours.box;
        this.boxes.forEach((box) => context.fillRect(...rectangle(box)));
      }
    }
    if (this.fixed) return;
    this.boxes.forEach((box, index) => {
      const chosen = index === this.selected;
      const [x, y, width, height] = rectangle(box);
      // Dark around light: seen on any colour.
      for (const [colour, line] of [["rgb(0,0,0)", chosen ? 5 : 3], ["rgb(255,255,255)", chosen ? 2.5 : 1]]) {
        context.strokeStyle = colour;
        context.lineWidth = line * density;
        context.strokeRect(x, y, width, height);
      }
      if (!chosen) return;
      const half = 4 * density;
      for (const px of [x, x + width / 2, x + width]) {
        for (const py of [y, y + height / 2, y + height]) {
          if (px === x + width / 2 && py === y + height / 2) continue;
          context.fillStyle = "rgb(0,0,0)";
          context.fillRect(px - half - density, py - half - density, 2 * (half + density), 2 * (half + density));
          context.fillStyle = "rgb(255,255,255)";
          context.fillRect(px - half, py - half, 2 * half, 2 * half);
        }
      }
    });
  }
}
