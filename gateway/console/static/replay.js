// How far a replay is. Numbers only; when it is over, the page is asked for again.
"use strict";
(() => {
  const place = document.getElementById("replay");
  const bar = place.querySelector("progress");
  const text = place.querySelector("[data-percent]");
  const look = async () => {
    try {
      const answer = await fetch(place.dataset.source, { cache: "no-store", redirect: "manual" });
      if (!answer.ok) { location.reload(); return; }
      const { running, percent } = await answer.json();
      if (!running) { location.reload(); return; }
      bar.value = percent;
      text.textContent = `${percent} %`;
    } catch {
      text.textContent = place.dataset.lost;
    }
    setTimeout(look, 1000);
  };
  setTimeout(look, 700);
})();
