// Mouse, pen and fingers on the image: drag moves it, right button or Alt and drag changes the window, two fingers zoom.

const CLICK = 5;

export function listen(viewer, { active, marking, marked }) {
  const canvas = viewer.canvas;
  const down = new Map();
  let drag = null;

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    if (!active()) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, viewer.point(event));
    const windows = event.button === 2 || (event.button === 0 && event.altKey);
    drag = { start: viewer.point(event), level: viewer.level(), windows, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId) || !active()) return;
    const point = viewer.point(event);
    drag.moved ||= Math.hypot(point[0] - drag.start[0], point[1] - drag.start[1]) > CLICK * window.devicePixelRatio;
    if (down.size === 2) pinch(event.pointerId, point);
    else if (drag.moved && drag.windows) turn(point);
    else if (drag.moved) viewer.pan(...difference(point, down.get(event.pointerId)));
    if (drag.moved || down.size === 2) down.set(event.pointerId, point);
  });
  const up = (event) => {
    const single = down.size === 1 && down.delete(event.pointerId);
    down.delete(event.pointerId);
    if (!single || event.type !== "pointerup" || !active() || drag.moved || drag.windows || !marking()) return;
    const share = viewer.share(viewer.point(event));
    if (share) marked(share);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const turned = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1);
      if (active()) viewer.zoom(viewer.scale * Math.exp(-turned * 0.0015), ...viewer.point(event));
    },
    { passive: false },
  );

  function pinch(id, point) {
    const before = down.get(id);
    const [, still] = [...down].find(([other]) => other !== id);
    drag.moved = true;
    const ratio = distance(point, still) / Math.max(1, distance(before, still));
    viewer.zoom(viewer.scale * ratio, ...middle(before, still));
    viewer.pan(...difference(middle(point, still), middle(before, still)));
  }

  function turn([x, y]) {
    const [level, width] = drag.level;
    const [across, along] = [x - drag.start[0], y - drag.start[1]];
    viewer.setLevel(level + (along * width) / 400, width * Math.exp(across / 200));
  }
}

const difference = (a, b) => [a[0] - b[0], a[1] - b[1]];
const distance = (a, b) => Math.hypot(...difference(a, b));
const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
