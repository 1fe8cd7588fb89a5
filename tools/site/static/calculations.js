// The computations of the interactive pages, without the page: tools/site/play_data.py has the same in Python, and the
// tests hold one against the other.
"use strict";
window.nfnetCalculations = (() => {
  const law = ({ irreducible, coefficient, exponent }, hours) => irreducible + coefficient * hours ** -exponent;

  function geometric(low, high, count) {
    return Array.from({ length: count }, (_, i) => low * (high / low) ** (i / (count - 1)));
  }

  // --- Matched compute ---
  function between(ends, position) {
    const end = Math.log(position < 0 ? ends.low : ends.high);
    const middle = Math.log(ends.mid);
    return Math.exp(middle + Math.abs(position) * (end - middle));
  }
  function chosen(data, choice) {
    const nfnets = data.nfnets.filter((run) => choice.repeated || !run.repeated_augmentation);
    const vits = data.vits
      .filter(
        (run) =>
          (!run.later || run.accounting === choice.later) &&
          (!choice.jft3b || run.pretrain_dataset === "JFT-3B") &&
          (!choice.pixels384 || run.resolution === 384) &&
          (choice.largest || run.model !== "ViT-G/14"),
      )
      .map((run) => ({ ...run, hours: between(run, choice.position) }));
    return { nfnets, vits };
  }
  const bestWithin = (budgets, runs) =>
    budgets.map((budget) =>
      runs.reduce((best, run) => (run.hours <= budget && run.error < best ? run.error : best), Infinity),
    );
  const squaredError = (error, images) => ((error / 100) * (1 - error / 100)) / images;
  function led(data, choice) {
    const { nfnets, vits } = chosen(data, choice);
    const mine = bestWithin(data.budgets, nfnets);
    const theirs = bestWithin(data.budgets, vits);
    const rows = data.budgets
      .map((hours, i) => {
        const points = theirs[i] - mine[i];
        const noise = 100 * Math.sqrt(squaredError(mine[i], data.images) + squaredError(theirs[i], data.images));
        return { hours, nfnet: mine[i], vit: theirs[i], points, z: points / noise };
      })
      .filter((row) => Number.isFinite(row.points));
    const share = (test) => rows.filter(test).length / rows.length;
    const points = rows.map((row) => row.points);
    return {
      led: share((row) => row.points > 0),
      beyond: share((row) => row.z > data.interval),
      behind: share((row) => row.z < -data.interval),
      least: Math.min(...points),
      most: Math.max(...points),
      last: points[points.length - 1],
      rows,
    };
  }

  // --- Optimal size and epochs; see paper/fits/surface.py and paper/fits/regret.py ---
  function logAdd(a, b) {
    const high = Math.max(a, b);
    return high === -Infinity ? high : high + Math.log1p(Math.exp(-Math.abs(a - b)));
  }
  function logSurface([logE, logA, a, logB, b, logGamma], size, examples) {
    const gamma = Math.exp(logGamma);
    return logAdd(logE, gamma * logAdd((logA - a * size) / gamma, (logB - b * examples) / gamma));
  }
  function growth([, logA, a, logB, b, logGamma], cost, centres, epoch) {
    const total = a + cost.slope * b;
    const balance = Math.exp(logGamma) * Math.log(a / (cost.slope * b)) + logA - logB;
    const intercept =
      (balance + a * centres[0] - b * (cost.intercept - Math.log(epoch) + centres[1])) / total;
    const slope = b / total;
    return [
      [intercept, slope],
      [-cost.intercept - cost.slope * intercept, 1 - cost.slope * slope],
    ];
  }
  function optimum(data, form, hours) {
    const { theta, centres } = data.surfaces[form];
    const lines = growth(theta, data.cost, centres, data.epoch);
    const logHours = Math.log(hours);
    const logAnchor = Math.log(data.anchor);
    const best = lines.map(([intercept, slope]) => intercept + slope * logHours);
    const rule = lines.map(
      ([intercept, slope]) => intercept + slope * logAnchor + (logHours - logAnchor) / (1 + data.cost.slope),
    );
    const [lowest, followed] = [best, rule].map(([size, epochs]) =>
      logSurface(theta, size - centres[0], epochs + Math.log(data.epoch) - centres[1]),
    );
    return {
      hours,
      parameters: Math.exp(best[0]),
      epochs: Math.exp(best[1]),
      loss: Math.exp(lowest),
      regret: 100 * Math.expm1(followed - lowest),
    };
  }
  const budgetAt = (data, step) => data.least * (data.most / data.least) ** (step / data.steps);

  return { law, geometric, between, chosen, led, optimum, budgetAt };
})();
