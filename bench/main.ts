/** `./dev bench`: all measurements, and whether the bounds that the project set itself are kept. */
import { measureErofs } from "./erofs.ts";
import { type Figure, keepsBound, renderFigure } from "./figures.ts";
import { measureProjection } from "./projection.ts";
import { measureStartup } from "./startup.ts";

const startup = (await measureStartup()).slice(1).map(
  ({ command, medianRatio, most }): Figure => ({
    what: `${command}, over node -e 0`,
    value: medianRatio,
    unit: "×",
    most,
  }),
);
const figures = [...startup, ...(await measureErofs()), ...(await measureProjection())];
for (const figure of figures) console.log(renderFigure(figure));
const missed = figures.filter((figure) => !keepsBound(figure));
console.log(missed.length === 0 ? "all bounds kept" : `${missed.length} bounds missed`);
process.exitCode = missed.length === 0 ? 0 : 1;
