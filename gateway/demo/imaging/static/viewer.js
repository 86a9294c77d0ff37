// Shows one slice of a study on a canvas, with window level and width computed here.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const canvas = viewer.querySelector("canvas");
  const shown = viewer.querySelector("[data-shown]");
  const control = Object.fromEntries(["frame", "level", "width", "invert"].map((id) => [id, document.getElementById(id)]));
  const frames = Number(viewer.dataset.frames);
  const start = control.frame.value;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const pictures = new Map();
  let current = 0;

  const load = (frame) => {
    if (!pictures.has(frame)) {
      const image = new Image();
      image.src = `${viewer.dataset.study}?frame=${frame}`;
      pictures.set(frame, image.decode().then(() => image));
    }
    return pictures.get(frame);
  };

  const paint = (image) => {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
    const low = Number(control.level.value) - Number(control.width.value) / 2;
    const scale = 255 / Number(control.width.value);
    for (let at = 0; at < pixels.data.length; at += 4) {
      let grey = Math.min(255, Math.max(0, (pixels.data[at] - low) * scale));
      if (control.invert.checked) grey = 255 - grey;
      pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = grey;
    }
    pen.putImageData(pixels, 0, 0);
  };

  const show = async () => {
    const frame = Number(control.frame.value);
    current = frame;
    try {
      const image = await load(frame);
      if (current !== frame) return;
      paint(image);
      shown.textContent = viewer.dataset.position.replace("{n}", String(frame)).replace("{count}", String(frames));
      viewer.dataset.ready = String(frame);
    } catch {
      pictures.delete(frame);
      shown.textContent = viewer.dataset.failed;
    }
  };

  const step = (by) => {
    control.frame.value = String(Math.min(frames, Math.max(1, Number(control.frame.value) + by)));
    show();
  };

  for (const each of Object.values(control)) each.addEventListener("input", show);
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); step(Math.sign(event.deltaY)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -5, PageDown: 5 }[event.key];
    if (by !== undefined) { event.preventDefault(); step(by); }
  });
  document.getElementById("reset").addEventListener("click", () => {
    control.frame.value = start; control.level.value = "128"; control.width.value = "256"; control.invert.checked = false;
    show();
  });
  show();
})();
