"use strict";
// Draws each picture on its canvas; every text from a document goes through textContent.
const LIGHT = ["#2f7f79", "#d9822b", "#4f7fc0", "#c04f6b", "#8a9a2e", "#8566b5", "#3fa3b8", "#a8673c", "#5a9c5e", "#b57fb0", "#9aa19e"];
const DARK = ["#4fb0a7", "#eba35a", "#7aa7e6", "#e07f98", "#b5c45c", "#ab92dc", "#6cc5d8", "#cf9268", "#84c488", "#d3a5cf", "#737d79"];
// Low to high, told apart in print and by colour-blind eyes too.
const STEPS_LIGHT = ["#c9d9a6", "#8fc29a", "#56a49b", "#33829a", "#2d5f8f", "#2b3a73"];
const STEPS_DARK = ["#35457f", "#3b6b9e", "#3f90a8", "#5fb3a6", "#9acfa0", "#dbe6b2"];
const NARROW = 560, LABEL_ROW = 17, NARROW_ROW = 25, PICTURE_ROW = 44, HALO = 4;
const RADIUS = 3.2, REACH = 14, MARGIN = 18, FRAME = 24, SIDE = 36, CELL = 46;
const dark = matchMedia("(prefers-color-scheme: dark)");

const pictures = JSON.parse(document.getElementById("pictures").textContent);

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return high > low ? [low, high - low] : [low - 0.5, 1];
}

function setUp(picture, index) {
  const pick = (tag) => document.querySelector(`${tag}[data-picture="${index}"]`);
  const canvas = pick("canvas"), select = pick("select"), legend = pick("ul"), named = pick("input");
  const tip = canvas.nextElementSibling, pen = canvas.getContext("2d");
  const [x0, dx] = span(picture.x), [y0, dy] = span(picture.y);
  const images = picture.thumbnail.map((source) => {
    if (!source) return null;
    const image = new Image();
    image.src = source;
    return image;
  });
  let colouring = picture.colourings[0], hidden = new Set(), hovered = -1, px = [], py = [];

  function colour(code) {
    const palette = dark.matches ? DARK : LIGHT, steps = dark.matches ? STEPS_DARK : STEPS_LIGHT;
    const tone = colouring.tones[code];
    if (tone === undefined || tone < 0) return palette[palette.length - 1];
    return colouring.ordered ? steps[tone] : palette[tone];
  }

  function draw() {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const margin = images.some(Boolean) ? FRAME : MARGIN;
    const scale = Math.min((width - 2 * margin) / dx, (height - 2 * margin) / dy);
    // The axes keep one scale while that leaves no large part of the canvas empty.
    const sx = Math.min((width - 2 * margin) / dx, scale * 2), sy = Math.min((height - 2 * margin) / dy, scale * 2);
    const across = (x) => width / 2 + (x - x0 - dx / 2) * sx, up = (y) => height / 2 - (y - y0 - dy / 2) * sy;
    px = picture.x.map(across);
    py = picture.y.map(up);
    pen.globalAlpha = picture.x.length > 1500 ? 0.62 : 0.8;
    for (let i = 0; i < px.length; i++) {
      const code = colouring.codes[i];
      if (hidden.has(code)) continue;
      pen.fillStyle = colour(code);
      pen.beginPath();
      pen.arc(px[i], py[i], RADIUS, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    thumbnails();
    if (!named || named.checked) labels(across, up, width, height);
    if (hovered >= 0) {
      pen.strokeStyle = getComputedStyle(document.body).color;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(px[hovered], py[hovered], RADIUS + 3, 0, 7);
      pen.stroke();
    }
  }

  // One picture in each cell, so that they stay apart; its frame has the colour of its point.
  function thumbnails() {
    const taken = new Set();
    images.forEach((image, i) => {
      if (!image || !image.complete || !image.naturalWidth || hidden.has(colouring.codes[i])) return;
      const cell = `${Math.round(px[i] / CELL)},${Math.round(py[i] / CELL)}`;
      if (taken.has(cell)) return;
      taken.add(cell);
      const scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
      const w = image.naturalWidth * scale, h = image.naturalHeight * scale;
      pen.fillStyle = colour(colouring.codes[i]);
      pen.fillRect(px[i] - w / 2 - 1.5, py[i] - h / 2 - 1.5, w + 3, h + 3);
      pen.drawImage(image, px[i] - w / 2, py[i] - h / 2, w, h);
    });
  }

  // Names of clusters, the largest first; one that finds no free place beside the others is left out.
  function labels(across, up, width, height) {
    // Under a picture rather than over it, and fewer of them: pictures are there to be seen.
    const seen = images.some(Boolean), narrow = width < NARROW, short = seen || narrow;
    const rows = seen ? [1.7, -1.7] : narrow ? [0, -1, 1] : [0, -1, 1, -2, 2];
    const apart = seen ? PICTURE_ROW : narrow ? NARROW_ROW : LABEL_ROW, taken = [], style = getComputedStyle(document.body);
    pen.font = `600 ${narrow ? 11.5 : 12.5}px ${style.fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    for (const [at, label] of picture.labels.entries()) {
      if (colouring.column === "cluster" && hidden.has(at)) continue;
      const words = label.name.split(", ");
      const text = short ? words.slice(0, 2).join(", ") : label.name;
      const w = pen.measureText(text).width / 2 + 5, x = Math.min(Math.max(across(label.x), w), width - w);
      for (const step of rows) {
        const y = up(label.y) + step * LABEL_ROW;
        const free = y > LABEL_ROW / 2 && y < height - LABEL_ROW / 2 && taken.every(([a, b, half]) => Math.abs(a - x) >= half + w || Math.abs(b - y) >= apart);
        if (!free) continue;
        taken.push([x, y, w]);
        pen.lineWidth = HALO;
        pen.strokeStyle = style.getPropertyValue("--page");
        pen.strokeText(text, x, y);
        pen.fillStyle = style.color;
        pen.fillText(text, x, y);
        break;
      }
    }
  }

  function nearest(x, y) {
    let best = -1, reach = REACH * REACH;
    for (let i = 0; i < px.length; i++) {
      if (hidden.has(colouring.codes[i])) continue;
      const d = (px[i] - x) ** 2 + (py[i] - y) ** 2;
      if (d < reach) { reach = d; best = i; }
    }
    return best;
  }

  function show(i) {
    tip.replaceChildren();
    tip.hidden = i < 0;
    if (i < 0) return;
    if (picture.thumbnail[i]) {
      const image = document.createElement("img");
      image.src = picture.thumbnail[i];
      tip.append(image);
    }
    tip.append(picture.text[i] || "");
    const id = document.createElement("code");
    id.textContent = picture.id[i];
    tip.append(id);
    const said = [`${colouring.column}: ${colouring.names[colouring.codes[i]]}`];
    const label = picture.labels[picture.cluster[i]];
    if (label && colouring.column !== "cluster") said.push(`cluster: ${label.name}`);
    for (const line of said) {
      const value = document.createElement("code");
      value.textContent = line;
      tip.append(value);
    }
    const left = Math.min(px[i] + 14, canvas.clientWidth - tip.offsetWidth - 4);
    const below = py[i] + 14 + tip.offsetHeight < canvas.clientHeight;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below ? py[i] + 14 : Math.max(4, py[i] - tip.offsetHeight - 12)}px`;
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const found = nearest(event.clientX - box.left, event.clientY - box.top);
    if (found === hovered) return;
    hovered = found;
    draw();
    show(found);
  }

  function label() {
    const counts = colouring.names.map(() => 0);
    for (const code of colouring.codes) counts[code]++;
    legend.replaceChildren(...colouring.names.map((name, code) => {
      const entry = document.createElement("li"), button = document.createElement("button");
      const dot = document.createElement("i"), count = document.createElement("small");
      dot.className = "dot";
      dot.style.background = colour(code);
      count.textContent = counts[code].toLocaleString("en");
      button.append(dot, name, count);
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      button.className = hidden.has(code) ? "off" : "";
      button.addEventListener("click", () => {
        if (!hidden.delete(code)) hidden.add(code);
        refresh();
      });
      entry.append(button);
      return entry;
    }));
  }

  function refresh() {
    hovered = -1;
    show(-1);
    label();
    draw();
  }

  select.addEventListener("change", () => {
    colouring = picture.colourings.find((c) => c.column === select.value);
    hidden = new Set();
    refresh();
  });
  if (named) named.addEventListener("change", draw);
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => { hovered = -1; show(-1); draw(); });
  dark.addEventListener("change", refresh);
  new ResizeObserver(draw).observe(canvas);
  Promise.allSettled(images.filter(Boolean).map((image) => image.decode())).then(draw);
  refresh();
}

pictures.forEach(setUp);
