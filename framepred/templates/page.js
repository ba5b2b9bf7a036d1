"use strict";
(() => {
  document.documentElement.classList.remove("no-js");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const all = (root, query) => [...root.querySelectorAll(query)];

  // One set of large pictures: which frame, held against what, and how.
  const prepare = (looker) => {
    const looks = JSON.parse(looker.dataset.looks);
    const stage = looker.querySelector(".stage");
    const slide = stage.querySelector(".slide");
    const gap = looker.closest("[data-gap]");
    const film = gap.querySelector(".film");
    const layers = all(stage, "img");
    const [left, right] = all(stage, ".tag");
    const frames = all(gap, "button.frame");
    const blink = looker.querySelector("[data-blink]");
    let look = Math.floor((looks.length - 1) / 2);
    let timer = 0;
    let isOther = false;

    const place = () => {
      stage.style.setProperty("--at", slide.value + "%");
      slide.setAttribute("aria-valuetext",
        slide.value + " % " + left.textContent + ", " + (100 - slide.value) + " % " + right.textContent);
    };
    const show = () => {
      const now = looks[look];
      const radios = all(looker, "[data-against]");
      for (const radio of radios) radio.disabled = now[radio.value] === null;
      let chosen = radios.find((radio) => radio.checked && !radio.disabled);
      if (!chosen) {
        chosen = radios.find((radio) => !radio.disabled);
        if (chosen) chosen.checked = true;
      }
      const other = chosen ? now[chosen.value] : null;
      const isBlinking = timer !== 0;
      layers.forEach((layer, number) => {
        layer.classList.toggle("over", number === now.made);
        layer.hidden = !(number === now.made ? !(isBlinking && isOther) : number === other);
      });
      stage.classList.toggle("blinking", isBlinking || other === null);
      left.textContent = chosen ? chosen.dataset.against : "";
      right.textContent = "Made";
      left.hidden = other === null || (isBlinking && !isOther);
      right.hidden = isBlinking && isOther;
      for (const frame of frames) frame.setAttribute("aria-pressed", String(Number(frame.dataset.look) === look));
      for (const part of all(gap, "[data-of-look]")) part.hidden = Number(part.dataset.ofLook) !== look;
      place();
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      isOther = false;
      blink.setAttribute("aria-pressed", "false");
      show();
    };
    const flip = () => { isOther = !isOther; show(); };
    blink.addEventListener("click", () => {
      if (timer) { stop(); return; }
      blink.setAttribute("aria-pressed", "true");
      timer = calm ? -1 : setInterval(flip, 700); // well below three flashes a second
      flip();
    });
    stage.addEventListener("click", () => { if (timer === -1) flip(); });
    slide.addEventListener("input", place);
    looker.addEventListener("change", show);
    for (const frame of frames) {
      frame.addEventListener("click", () => { look = Number(frame.dataset.look); show(); });
    }
    const center = () => {
      const frame = frames[look];
      if (film && frame) film.scrollLeft = frame.offsetLeft - film.offsetLeft - (film.clientWidth - frame.offsetWidth) / 2;
    };
    gap.addEventListener("toggle", () => { if (!gap.open && timer) stop(); });
    show();
    center();
  };
  // With hundreds of gaps only those that are opened cost anything.
  for (const gap of all(document, "[data-gap]")) {
    const looker = gap.querySelector("[data-looks]");
    if (!looker) continue;
    const begin = () => {
      if (gap.open === false) return;
      gap.removeEventListener("toggle", begin);
      prepare(looker);
    };
    gap.addEventListener("toggle", begin);
    begin();
  }

  // A link to a gap opens it.
  const open = () => {
    const gap = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (gap && gap.tagName === "DETAILS") {
      gap.hidden = false;
      gap.open = true;
      gap.scrollIntoView();
      gap.querySelector("summary").focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", open);
  for (const link of all(document, ".lane a")) {
    link.addEventListener("click", () => { if (link.hash === location.hash) open(); });
  }
  open();

  // Order and choice.
  const list = document.querySelector("[data-gaps]");
  const order = document.querySelector("[data-order]");
  const kind = document.querySelector("[data-kind-choice]");
  if (list && order) {
    const gaps = all(list, ":scope > .gap");
    const number = (gap) => Number(gap.dataset.gap);
    const score = (gap) => (gap.dataset.psnr === "" ? Infinity : Number(gap.dataset.psnr));
    const length = (gap) => Number(gap.dataset.frames);
    const orders = {
      time: (a, b) => number(a) - number(b),
      worst: (a, b) => score(a) - score(b) || number(a) - number(b),
      longest: (a, b) => length(b) - length(a) || number(a) - number(b),
    };
    order.addEventListener("change", () => list.append(...gaps.sort(orders[order.value])));
    if (kind) {
      kind.addEventListener("change", () => {
        for (const gap of gaps) gap.hidden = kind.value !== "" && gap.dataset.kind !== kind.value;
      });
    }
  }
})();
