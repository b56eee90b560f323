// Drawing: whatever comes in between, a view is drawn once per animation frame at most, and only
// when something that it shows has changed.

export class Frames {
  #views = new Set();
  #scheduled = false;

  /** Register a view. Call what is returned when it must be drawn; `everyMs` is the least pause. */
  view(draw, everyMs = 0) {
    const view = { draw, everyMs, dirty: false, drawnAt: -Infinity };
    this.#views.add(view);
    return () => {
      view.dirty = true;
      this.#schedule();
    };
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame((now) => this.#draw(now));
  }

  #draw(now) {
    this.#scheduled = false;
    for (const view of this.#views) {
      if (!view.dirty) continue;
      if (now - view.drawnAt < view.everyMs) {
        this.#schedule();
        continue;
      }
      view.dirty = false;
      view.drawnAt = now;
      view.draw();
    }
  }
}
