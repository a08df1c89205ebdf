"use strict";
// The replay: reads the recordings in the page, draws two of them beside each other.
(() => {
  const root = document.getElementById("replay");
  if (!root) return;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { baseline, runs } = read("replay-runs");
  const WIDTH = 560, HEIGHT = 142, LEFT = 58, TOP = 26, BOTTOM = 18;
  const COLOURS = 8;
  // Grey is for policies.
  const tint = (index) => (index + 1) % COLOURS;
  // What is drawn: title, lines of a run, and how the vertical axis is bounded.
  const domains = (key, dashed = false) => (run) =>
    run.domains.map((domain, index) => ({ values: domain[key], colour: tint(index), dashed }));
  const both = (one, other) => (run) => [...one(run), ...other(run)];
  const pools = (key, dashed) => (run) =>
    run.pools.map((pool, index) => ({ values: pool[key], colour: tint(index), dashed }));
  const PANELS = [
    { title: "Requests per second", lines: domains("rps") },
    { title: "p99 over SLO (the line at 1 is the promise; cut at 3)", lines: domains("p99"), limit: 1, most: 3, marks: true },
    { title: "Pods: ready; dashed: waiting or starting", lines: both(domains("ready"), domains("waiting", true)) },
    { title: "Cores requested; dashed: budget", lines: both(domains("cores"), domains("budget", true)) },
    { title: "Nodes per pool: ready; dashed: paid for", lines: both(pools("nodes", false), pools("paid", true)) },
  ];

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const SVG = "http://www.w3.org/2000/svg";
  const shape = (parent, name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const show = (value) => {
    if (value === null || value === undefined) return "–";
    const digits = Math.abs(value) >= 100 || value === 0 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return value.toLocaleString("en", { maximumFractionDigits: digits });
  };

  const unique = (values) => [...new Set(values)];
  const choice = (label, values) => {
    const select = element("select", {}, ...values.map((value) => element("option", {}, String(value))));
    return [element("label", {}, `${label} `, select), select];
  };
  const policies = unique(runs.map((run) => run.policy));
  const [scenarioLabel, scenario] = choice("Scenario", unique(runs.map((run) => run.scenario)));
  const [seedLabel, seed] = choice("Seed", unique(runs.map((run) => run.seed)));
  const [leftLabel, left] = choice("Left", policies);
  const [rightLabel, right] = choice("Right", policies);
  left.value = baseline;
  right.value = policies.find((policy) => policy !== baseline) || baseline;
  const slider = element("input", { type: "range", min: 0, value: 0, "aria-label": "Time" });
  const clock = element("output");
  const play = element("button", { type: "button" }, "Play");
  const legend = element("p", { class: "legend" });
  const sides = element("div", { class: "sides" });
  root.replaceChildren(
    element("div", { class: "controls" }, scenarioLabel, seedLabel, leftLabel, rightLabel, play, slider, clock),
    legend,
    sides,
  );

  const find = (policy) => {
    const index = runs.findIndex((run) =>
      run.policy === policy && run.scenario === scenario.value && String(run.seed) === seed.value);
    return index < 0 ? null : read(`run-${index}`);
  };
  const highest = (panel, shown) => {
    let most = panel.limit || 0;
    for (const run of shown) for (const line of panel.lines(run)) for (const value of line.values) {
      if (value !== null && value > most) most = value;
    }
    if (panel.most) return panel.most;
    const power = 10 ** Math.floor(Math.log10(most || 1));
    return power * [1, 2, 4, 6, 8, 10].find((factor) => factor * power >= (most || 1));
  };

  const panelOf = (panel, run, most, end) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    const x = (minute) => LEFT + (WIDTH - LEFT - 4) * minute / end;
    const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * Math.min(value, most) / most;
    shape(svg, "rect", { class: "shade", x: LEFT, y: TOP, width: x(run.countedFrom) - LEFT, height: HEIGHT - TOP - BOTTOM });
    shape(svg, "text", { x: LEFT, y: 18 }, panel.title);
    for (const value of [0, most / 2, most]) {
      shape(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(value), y2: y(value) });
      shape(svg, "text", { class: "end", x: LEFT - 5, y: y(value) + 4 }, show(value));
    }
    if (panel.limit) shape(svg, "line", { class: "limit", x1: LEFT, x2: WIDTH - 4, y1: y(panel.limit), y2: y(panel.limit) });
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      shape(svg, "text", { class: part === 1 ? "end" : "middle", x: x(part * end), y: HEIGHT - 4 }, `${Math.round(part * end)} min`);
    }
    for (const line of panel.lines(run)) {
      let path = "", pen = "M";
      line.values.forEach((value, index) => {
        if (value === null) { pen = "M"; return; }
        path += `${pen}${x(run.minutes[index]).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
      });
      shape(svg, "path", { class: `line s${line.colour}${line.dashed ? " dashed" : ""}`, d: path });
    }
    if (panel.marks) run.minutes.forEach((minute, index) => {
      if (run.cascades[index]) shape(svg, "rect", { class: "alarm", x: x(minute) - 2, y: TOP, width: 3, height: 8 });
      if (run.inversions[index]) shape(svg, "rect", { class: "warning", x: x(minute) - 2, y: TOP + 9, width: 3, height: 8 });
    });
    const cursor = shape(svg, "line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });
    const place = (index) => {
      cursor.setAttribute("x1", x(run.minutes[index]));
      cursor.setAttribute("x2", x(run.minutes[index]));
    };
    return [svg, place];
  };

  const tableOf = (run) => {
    const head = ["Domain", "req/s", "p99/SLO", "ready", "waiting", "cores", "budget"];
    const body = element("tbody");
    const table = element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))), body);
    const place = (index) => body.replaceChildren(...run.domains.map((domain) => {
      const ratio = domain.p99[index];
      const values = [domain.rps, domain.p99, domain.ready, domain.waiting, domain.cores, domain.budget];
      const cells = values.map((values, column) =>
        element("td", column === 1 && ratio > 1 ? { class: "worse" } : {}, show(values[index])));
      return element("tr", {}, element("th", { scope: "row" }, `${domain.name} ${domain.class}`), ...cells);
    }));
    return [table, place];
  };

  let places = [], shown = [], timer = null;
  const move = () => {
    const index = Number(slider.value);
    for (const place of places) place(index);
    if (shown.length) clock.textContent = `${show(shown[0].minutes[index])} min`;
  };
  const draw = () => {
    const chosen = [left.value, right.value];
    const found = chosen.map(find);
    shown = found.filter((run) => run !== null && run.minutes.length > 0);
    places = [];
    if (shown.length < 2) {
      shown = [];
      sides.replaceChildren(element("p", {}, "No such pair of runs is recorded here."));
      return;
    }
    const count = Math.min(...shown.map((run) => run.minutes.length));
    const end = Math.max(...shown.map((run) => run.minutes[run.minutes.length - 1]));
    slider.max = count - 1;
    const named = (name, index) =>
      element("span", {}, element("i", { class: `s${tint(index)}` }), name);
    legend.replaceChildren(
      ...shown[0].domains.map((domain, index) => named(`${domain.name} (${domain.class})`, index)),
      ...shown[0].pools.map((pool, index) => named(`pool ${pool.name}`, index)));
    sides.replaceChildren(...shown.map((run, side) => {
      const [table, place] = tableOf(run);
      const column = element("div", {}, element("h3", {}, chosen[side]), table);
      places.push(place);
      for (const panel of PANELS) {
        const [svg, place] = panelOf(panel, run, highest(panel, shown), end);
        places.push(place);
        column.append(svg);
      }
      return column;
    }));
    move();
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    if (slider.value === slider.max) slider.value = 0;
    play.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      move();
      if (slider.value === slider.max) stop();
    }, 100);
  });
  slider.addEventListener("input", move);
  for (const select of [scenario, seed, left, right]) select.addEventListener("change", () => { stop(); draw(); });
  slider.value = 0;
  draw();
})();
