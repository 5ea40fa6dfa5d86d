/* A new layout makes the page run its scripts again. */
if (!window.isListening) {
  window.isListening = true;

  /* Keys work wherever the focus is. A tab tells the size of its views before the pointer acts in them. */
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (event.key.toLowerCase() === "u" && !event.repeat) {
      window.trame.trigger("toggle_overlay");
    } else if (steps[event.key] && event.target.closest("#views") && !event.target.closest("[role=slider]")) {
      event.preventDefault();
      event.stopPropagation();
      window.trame.trigger("step", steps[event.key]);
    }
  }
  function claim(event) {
    const entered = event.type === "pointerenter" && event.target.id === "views";
    const pressed = event.type === "pointerdown" && event.target.closest("#views");
    if (entered || pressed) {
      const sizes = [...document.querySelectorAll("#views .remote-controlled-area")].map((area) => {
        const box = area.getBoundingClientRect();
        return { w: box.width, h: box.height, p: window.devicePixelRatio };
      });
      window.trame.trigger("claim", [sizes, Boolean(pressed)]);
    }
  }
  document.addEventListener("keydown", key, true);
  document.addEventListener("pointerenter", claim, true);
  document.addEventListener("pointerdown", claim, true);

  /* Only the tab in which it was pressed asks for samples, five a second and never a second one before the
     picture of the first is there. A new layout builds the page anew, which would lose the focus. */
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let turning = null, isAsking = false, hasBegun = false;
  async function turn() {
    const { playing, pictures_drawn, pictures_asked } = window.trame.state.get();
    if ((hasBegun && !playing) || still.matches) {
      clearInterval(turning);
    } else if (playing && !isAsking && pictures_drawn >= pictures_asked) {
      isAsking = true;
      await window.trame.trigger("next_sample").finally(() => { isAsking = false; });
    }
    hasBegun ||= playing;
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("#play")) {
      clearInterval(turning);
      hasBegun = false;
      window.trame.trigger("play");
      turning = setInterval(turn, 200);
    }
  });
  document.addEventListener("change", ({ target }) => {
    if (target.id === "side_by_side") {
      const building = new MutationObserver(() => {
        const made = document.getElementById("side_by_side");
        if (made && made !== target) {
          made.focus();
          building.disconnect();
        }
      });
      building.observe(document.body, { childList: true, subtree: true });
    }
  });
}
