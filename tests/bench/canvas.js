// When a film's frame could be read on a page's canvas: put before the scripts of any page, ours, noVNC's or others'.
//
// Each time that a script has drawn on a canvas of 1280x720 which is in the document, the film's patch is read back by
// `getImageData`, which waits until that drawing is done. A video that lies on the canvas is read with each frame that
// it presents. `film.seen` has [number, ms of `performance.now()`] of each change, `film.looks` how often it was
// looked, and `film.took` how many ms the looking itself took.
"use strict";
{
  const DIGIT = 16; // as in film.h
  const film = { place: [0, 0], seen: [], looks: 0, took: 0 };
  globalThis.film = film;

  /** What a film's patch says; see film.h. */
  const numberAt = (context, place) => {
    const patch = context.getImageData(...place, 2 * DIGIT, 2 * DIGIT).data;
    let number = 0;
    for (let digit = 0; digit < 4; digit++) {
      const x = digit % 2 * DIGIT + DIGIT / 2;
      const y = (digit >> 1) * DIGIT + DIGIT / 2;
      const grey = patch[(y * 2 * DIGIT + x) * 4 + 1];
      const shade = Math.min(15, Math.max(0, Math.round((grey - 8) / 16)));
      number |= shade * 7 % 16 << 4 * digit;
    }
    return number;
  };

  const look = (context, place = film.place) => {
    const before = performance.now();
    const number = numberAt(context, place);
    const now = performance.now();
    film.looks += 1;
    film.took += now - before;
    if (film.seen.at(-1)?.[0] !== number) film.seen.push([number, now]);
  };

  // Once for all that is drawn without a break.
  let looking = false;
  for (const name of ["drawImage", "putImageData"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...what) {
      draw.apply(this, what);
      if (looking || !this.canvas.isConnected || this.canvas.width !== 1280 || this.canvas.height !== 720) return;
      looking = true;
      queueMicrotask(() => {
        looking = false;
        look(this);
      });
    };
  }

  const follow = (video) => {
    const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const presented = () => {
      const canvas = document.querySelector("canvas").getBoundingClientRect();
      const { left, top } = video.getBoundingClientRect();
      scratch.drawImage(video, left - canvas.left - film.place[0], top - canvas.top - film.place[1]);
      look(scratch, [0, 0]);
      video.requestVideoFrameCallback(presented);
    };
    video.requestVideoFrameCallback(presented);
  };
  const watch = (changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]);
    added.filter((node) => node.tagName === "VIDEO").forEach(follow);
  };
  new MutationObserver(watch).observe(document, { childList: true, subtree: true });
}
