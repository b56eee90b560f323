// A small line of what a figure was lately.

import { colour } from "../shared/theme.js";

/** Draw `values`, oldest first; null where nothing was known. `length` fills the width. */
export function drawSpark(canvas, values, length) {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const most = Math.max(...values.map((value) => value ?? 0), 0) || 1;
  const x = (index) => width - ((values.length - 1 - index) / (length - 1)) * width;
  const y = (value) => height - 1 - (value / most) * (height - 4);
  context.strokeStyle = colour("line");
  context.beginPath();
  context.moveTo(0, height - 0.5);
  context.lineTo(width, height - 0.5);
  context.stroke();
  context.strokeStyle = colour("accent");
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  for (const [index, value] of values.entries()) {
    if (value === null) {
      drawing = false;
      continue;
    }
    if (drawing) context.lineTo(x(index), y(value));
    else context.moveTo(x(index), y(value));
    drawing = true;
  }
  context.stroke();
}
