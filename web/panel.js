// The panel: how the connection is doing, as far as this page can know.

const EVERY = 1000;

/** Shows in `element` what `facts` returns. Returns what shows or hides it, and tells whether it is shown. */
export function panelIn(element, facts) {
  let timer = 0;
  let last = { at: 0, received: 0, frames: 0, images: 0 };

  const update = () => {
    const now = { ...facts(), at: performance.now() };
    const rate = (what) => last.at ? Math.max(0, (now[what] - last[what]) / (now.at - last.at) * 1000) : 0;
    const rows = {
      State: now.connected ? "connected" : "not connected",
      Picture: now.size,
      "Sent as": sentAs(now),
      Video: `${rate("frames").toFixed(0)} pictures a second`,
      Images: `${rate("images").toFixed(0)} a second`,
      Received: `${(rate("received") * 8 / 1e6).toFixed(2)} Mbit/s`,
      "Round trip": now.roundTrip === null ? "move the pointer to measure it" : `${Math.round(now.roundTrip)} ms`,
    };
    last = now;
    element.replaceChildren(...Object.entries(rows).flatMap((row) => row.map((textContent, at) =>
      Object.assign(document.createElement(at ? "dd" : "dt"), { textContent }))));
  };

  return () => {
    const isShown = element.hidden;
    element.hidden = !isShown;
    clearInterval(timer);
    if (isShown) {
      update();
      timer = window.setInterval(update, EVERY);
    }
    return isShown;
  };
}

function sentAs({ delivery, why }) {
  const because = why ? `: ${why}` : "";
  if (delivery === "images") return `exact images${because}`;
  if (delivery === "mjpeg") return `Motion JPEG, exact at rest${because}`;
  return delivery ? `H.264 (${delivery}), exact at rest` : "nothing yet";
}
