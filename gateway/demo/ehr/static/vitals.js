// Live vital signs over WebSocket, with a plain line plot. Old values are taken away when the stream stops: on a monitor a
// stale number is worse than none.
"use strict";
(() => {
  const panel = document.getElementById("vitals");
  const canvas = panel.querySelector("canvas");
  const state = panel.querySelector("[data-state]");
  const outputs = Object.fromEntries([...panel.querySelectorAll("[data-value]")].map((each) => [each.dataset.value, each]));
  const seconds = 120;
  const silence = 6000; // milliseconds without a value before the plot counts as stopped
  const lines = [
    { key: "heart_rate", low: 40, high: 140, colour: "#1a7a3c" },
    { key: "spo2", low: 80, high: 100, colour: "#0b5c9e" },
  ];
  let points = [];
  let attempts = 0;
  let last = 0;

  const text = (vitals) => ({
    heart_rate: String(vitals.heart_rate), spo2: String(vitals.spo2), respiration: String(vitals.respiration),
    pressure: `${vitals.systolic}/${vitals.diastolic}`, temperature: vitals.temperature.toFixed(1),
  });

  const show = (vitals) => {
    const values = vitals ? text(vitals) : {};
    for (const [name, output] of Object.entries(outputs)) output.textContent = values[name] ?? "--";
    outputs.spo2.parentElement.classList.toggle("low", Boolean(vitals) && vitals.spo2 < 93);
  };

  const say = (name) => {
    panel.dataset.now = name;
    if (state.textContent !== panel.dataset[name]) state.textContent = panel.dataset[name];
  };

  const draw = () => {
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px sans-serif";
    const left = 34, right = width - 34, gap = 14, band = (height - gap) / lines.length;
    const end = points.length ? points[points.length - 1].at : 0;
    lines.forEach((line, row) => {
      const top = row * (band + gap) + 6, bottom = row * (band + gap) + band - 6;
      const y = (value) => bottom - ((Math.min(line.high, Math.max(line.low, value)) - line.low) / (line.high - line.low)) * (bottom - top);
      pen.strokeStyle = "#dbe3ea"; pen.fillStyle = "#5a6875"; pen.lineWidth = 1;
      for (let step = 0; step <= 4; step += 1) {
        const value = line.low + ((line.high - line.low) * step) / 4;
        pen.beginPath(); pen.moveTo(left, Math.round(y(value)) + 0.5); pen.lineTo(right, Math.round(y(value)) + 0.5); pen.stroke();
        if (step % 2 === 0) { pen.textAlign = "right"; pen.textBaseline = "middle"; pen.fillText(String(value), left - 5, y(value)); }
      }
      pen.strokeStyle = line.colour; pen.lineWidth = 2; pen.lineJoin = "round";
      pen.beginPath();
      points.forEach((point, index) => {
        const x = right - ((end - point.at) / seconds) * (right - left);
        if (index === 0 || point.at - points[index - 1].at > 5) pen.moveTo(x, y(point[line.key])); else pen.lineTo(x, y(point[line.key]));
      });
      pen.stroke();
      if (points.length) {
        const newest = points[points.length - 1];
        pen.fillStyle = line.colour; pen.textAlign = "left"; pen.textBaseline = "middle";
        pen.fillText(String(newest[line.key]), right + 5, y(newest[line.key]));
      }
    });
  };

  const receive = (message) => {
    if (message.history) points = message.history; else points.push(message.vitals);
    const newest = points[points.length - 1];
    points = points.filter((point) => newest.at - point.at < seconds);
    last = performance.now(); attempts = 0;
    say("live"); show(newest); draw();
  };

  const stop = () => { say("lost"); show(null); };

  const connect = () => {
    const address = new URL(panel.dataset.path, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", (event) => receive(JSON.parse(new TextDecoder().decode(event.data))));
    socket.addEventListener("close", () => {
      stop();
      attempts += 1;
      setTimeout(connect, Math.min(30000, 500 * 2 ** attempts));
    });
  };

  setInterval(() => { if (panel.dataset.now === "live" && performance.now() - last > silence) stop(); }, 1000);
  addEventListener("resize", draw);
  draw();
  connect();
})();
