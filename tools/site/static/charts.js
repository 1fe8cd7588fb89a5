// Draws the chart of an interactive page anew whenever a control or the colour scheme changes.
"use strict";
(() => {
  const form = document.querySelector(".play-controls");
  const answer = document.getElementById("play-answer");
  const chart = document.getElementById("play-chart");
  const calc = window.nfnetCalculations;
  const number = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
  const percent = (share) => `${(100 * share).toFixed(0)}%`;
  const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");
  const dark = () => document.documentElement.dataset.theme === "dark";
  const ink = () => (dark() ? "#dddddd" : "#333333");
  const ticked = (name) => form.querySelector(`[name=${name}]`).checked;
  const all = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);
  const LOG_X = { type: "log" };

  const axis = (field, title, scale, format = "~g") => ({ field, type: "quantitative", title, scale, axis: { format } });

  const pages = {
    curves() {
      const quantity = form.elements.quantity.value;
      const data = window.nfnetData.curves[quantity];
      const models = all("model");
      const runs = data.runs.filter((run) => models.includes(run.model));
      const hours = data.runs.map((run) => run.hours);
      const lines = all("law").flatMap((law) =>
        calc
          .geometric(Math.min(...hours), Math.max(...hours), 60)
          .map((at) => ({ law, hours: at, value: calc.law(data.laws[law], at) })),
      );
      answer.innerHTML =
        `${runs.length} of ${data.runs.length} runs. ` +
        all("law")
          .map((law) => {
            const { irreducible, coefficient, exponent } = data.laws[law];
            const above = irreducible ? `${number(irreducible)} + ` : "";
            return `${law}: ${above}${number(coefficient)} × hours<sup>−${number(exponent)}</sup>`;
          })
          .join("; ");
      const tooltip = [
        { field: "model", title: "Model" },
        { field: "epochs", title: "Epochs" },
        { field: "hours", title: "TPU-v4 core hours", format: "," },
        { field: "hours_width", title: "± hours", format: ",.0f" },
        { field: "value", title: "Value" },
        { field: "value_width", title: "± value" },
        { field: "repeated", title: "Repeated augmentation" },
        { field: "source", title: "Source" },
      ];
      const x = axis("hours", "TPU-v4 core hours", LOG_X, "~s");
      const y = axis("value", data.title, { type: "log", nice: false });
      return {
        description: `${data.title} against compute`,
        layer: [
          {
            data: { values: runs },
            mark: { type: "line", strokeWidth: 1 },
            transform: [{ filter: "!datum.repeated" }],
            encoding: { x, y, color: { field: "model", type: "nominal", title: "Model" } },
          },
          {
            data: { values: runs },
            mark: { type: "point", filled: true, size: 70 },
            encoding: {
              x,
              y,
              tooltip,
              color: { field: "model", type: "nominal", title: "Model" },
              shape: { field: "model", type: "nominal", title: "Model" },
            },
          },
          {
            data: { values: lines },
            mark: { type: "line", color: ink(), strokeWidth: 1.5 },
            encoding: { x, y, strokeDash: { field: "law", type: "nominal", title: "Fit" } },
          },
        ],
      };
    },

    matched() {
      const data = window.nfnetData.matched;
      const choice = {
        position: Number(form.elements.position.value),
        repeated: ticked("repeated"),
        jft3b: ticked("jft3b"),
        pixels384: ticked("pixels384"),
        largest: ticked("largest"),
        later: form.elements.later.value,
      };
      const found = calc.led(data, choice);
      window.nfnetFound = found;
      const factor = `${calc.between(data.ratio, choice.position).toFixed(2)} TPU-v4 hours per TPU-v3 hour`;
      document.getElementById("position-text").textContent = factor;
      form.elements.position.setAttribute("aria-valuetext", factor);
      answer.textContent =
        `NFNets lead at ${percent(found.led)} of budgets, beyond the test set's noise at ${percent(found.beyond)}; ` +
        `Vision Transformers beyond it at ${percent(found.behind)}. The NFNets' lead is ${fixed(found.least, 2)} to ` +
        `${fixed(found.most, 2)} points, ${fixed(found.last, 2)} at the largest budget.`;
      const { nfnets, vits } = calc.chosen(data, choice);
      const low = data.budgets[0];
      const runs = [
        ...nfnets.map((run) => ({ ...run, family: "NFNet", source: "Figure 1 of Smith et al. 2023" })),
        ...vits.map((run) => ({ ...run, family: "ViT" })),
      ].filter((run) => run.hours >= low / 2);
      const steps = found.rows.flatMap((row) => [
        { hours: row.hours, error: row.nfnet, family: "NFNet" },
        { hours: row.hours, error: row.vit, family: "ViT" },
      ]);
      const x = axis("hours", "TPU-v4 core hours", LOG_X, "~s");
      const y = axis("error", "ImageNet top-1 error (%)", { type: "log", nice: false });
      const color = {
        field: "family",
        type: "nominal",
        title: "Family",
        scale: { domain: ["NFNet", "ViT"], range: dark() ? ["#6db6ff", "#ffab5e"] : ["#0a5ea8", "#b4540a"] },
      };
      return {
        description: "ImageNet error of NFNets and Vision Transformers against compute",
        layer: [
          { data: { values: steps }, mark: { type: "line", interpolate: "step-after" }, encoding: { x, y, color } },
          {
            data: { values: runs },
            mark: { type: "point", filled: true, size: 55 },
            encoding: {
              x,
              y,
              color,
              shape: { field: "family", type: "nominal", title: "Family" },
              tooltip: [
                { field: "family", title: "Family" },
                { field: "model", title: "Model" },
                { field: "hours", title: "TPU-v4 core hours", format: ",.0f" },
                { field: "error", title: "Error (%)" },
                { field: "resolution", title: "Resolution (px)" },
                { field: "pretrain_dataset", title: "Pre-trained on" },
                { field: "source", title: "Source" },
              ],
            },
          },
        ],
      };
    },

    optimum() {
      const data = window.nfnetData.optimum;
      const name = form.elements.form.value;
      const found = calc.optimum(data, name, calc.budgetAt(data, Number(form.elements.step.value)));
      window.nfnetFound = found;
      const budget = `${number(found.hours)} TPU-v4 core hours`;
      document.getElementById("step-text").textContent = budget;
      form.elements.step.setAttribute("aria-valuetext", budget);
      answer.textContent =
        `At ${budget}: ${number(found.parameters / 1e6)} million parameters, ${number(found.epochs)} epochs, loss ` +
        `${found.loss.toFixed(3)} nats. Equal rates cost ${fixed(found.regret, 3)}% of the loss.`;
      const values = calc.geometric(data.least, data.most, 100).map((hours) => calc.optimum(data, name, hours));
      const x = axis("hours", "TPU-v4 core hours", LOG_X, "~s");
      const panel = (field, title, scale, format) => ({
        width: "container",
        height: 150,
        layer: [
          { data: { values }, mark: "line", encoding: { x, y: axis(field, title, scale, format) } },
          {
            data: { values: [found] },
            mark: { type: "point", filled: true, size: 90, color: dark() ? "#ffab5e" : "#b4540a" },
            encoding: { x, y: axis(field, title, scale, format), tooltip: ["hours", "parameters", "epochs", "regret"].map((f) => ({ field: f, format: ",.4~g" })) },
          },
        ],
      });
      return [
        panel("parameters", "Parameters", { type: "log" }, "~s"),
        panel("epochs", "Epochs", { type: "log" }),
        panel("regret", "Regret (% of loss)", { zero: true }),
      ];
    },
  };

  const config = () => ({
    background: "transparent",
    view: { stroke: null },
    axis: { labelColor: ink(), titleColor: ink(), domainColor: ink(), tickColor: ink(), gridOpacity: 0.25, labelOverlap: true },
    legend: { labelColor: ink(), titleColor: ink(), orient: "bottom", columns: 6 },
    line: { clip: true },
  });
  let drawing = Promise.resolve();
  function draw() {
    const made = pages[form.dataset.page]();
    const specs = Array.isArray(made) ? made : [{ ...made, width: "container", height: 320 }];
    while (chart.children.length < specs.length) {
      const part = document.createElement("div");
      part.style.width = "100%";
      chart.append(part);
    }
    drawing = drawing
      .then(() =>
        Promise.all(
          specs.map((spec, i) =>
            window.vegaEmbed(chart.children[i], { ...spec, config: config(), autosize: { type: "fit-x", contains: "padding" } }, { actions: false, renderer: "svg" }),
          ),
        ),
      )
      .then(() => (chart.dataset.drawn = String(Number(chart.dataset.drawn || 0) + 1)));
  }
  form.addEventListener("input", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  draw();
})();
