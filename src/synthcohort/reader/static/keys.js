// Everything by keyboard. Keys with Ctrl, Alt or the system key stay the browser's.

const FINDINGS = "adfghjkl";
const WIDER = 1.12;

export function listenToKeys(does) {
  const { viewer } = does;
  const shift = () => Math.round(viewer.canvas.width / 12);
  const level = (by, times) => {
    const [middle, width] = viewer.level();
    viewer.setLevel(middle + by * width, width * times);
  };
  const onImage = {
    "+": () => viewer.step(1),
    "=": () => viewer.step(1),
    "-": () => viewer.step(-1),
    0: () => viewer.fit(),
    q: () => level(0, 1 / WIDER),
    w: () => level(0, WIDER),
    z: () => level(0.04, 1),
    x: () => level(-0.04, 1),
    c: () => viewer.setWindow(...viewer.start),
    m: () => does.setMarking(!does.marking()),
  };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (act(event)) event.preventDefault();
  });

  // Return whether the key meant something here.
  function act(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in arrows) return arrow(key, event);
    if (key in onImage) return does.viewing() && (onImage[key](), true);
    if (does.marking() && does.viewing() && onCross(key, event)) return true;
    if (event.repeat) return key === "Enter" && !onControl(event.target);
    return answer(key, event);
  }

  function answer(key, event) {
    if (key === "r") does.choose("choice", "real");
    else if (key === "s") does.choose("choice", "synthetic");
    else if (/^[1-5]$/.test(key)) does.confide(Number(key));
    else if (FINDINGS.includes(key)) does.tick(FINDINGS.indexOf(key));
    else if (key === "p") does.pause();
    else if (key === "Enter" && !onControl(event.target)) does.save();
    else return false;
    return true;
  }

  function arrow(key, event) {
    const [x, y] = arrows[key];
    if (does.marking() && does.viewing()) does.moveCross(x, y);
    else if (event.shiftKey && does.viewing()) viewer.pan(-x * shift(), -y * shift());
    else if (onList(event.target) || x === 0) return false;
    else if (!event.repeat) does.choose("choice", x < 0 ? "real" : "synthetic");
    return true;
  }

  function onCross(key, event) {
    if (key === " " && !onControl(event.target)) does.place();
    else if (key === "Backspace") does.unmark();
    else if (key === "Escape") does.setMarking(false);
    else return false;
    return true;
  }
}

// Enter and Space are such a control's own.
const onControl = (target) => target.matches("button:not(:disabled), a, summary");

// The arrow keys are.
const onList = (target) => target.matches("input[type=range], input[name=confidence]");
