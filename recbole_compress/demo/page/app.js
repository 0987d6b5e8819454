import * as ort from "./runtime/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
ort.env.wasm.numThreads = 1;

const FOUND = 8;
const at = (id) => document.getElementById(id);
let catalogue, session;
let history = [];

const bytes = (n) => (n < 1e6 ? `${Math.round(n / 1e3)} kB` : `${(n / 1e6).toFixed(1)} MB`);
const int64 = (values, shape) =>
  new ort.Tensor("int64", BigInt64Array.from(values.map((value) => BigInt(value))), shape);

function entry(item, onclick, score) {
  const line = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.item = catalogue.tokens[item];
  button.append(catalogue.titles[item]);
  if (score !== undefined) {
    const shown = document.createElement("span");
    shown.className = "score";
    shown.textContent = score.toFixed(3);
    button.append(shown);
  }
  button.addEventListener("click", onclick);
  line.append(button);
  return line;
}

function search() {
  const wanted = at("search").value.trim().toLowerCase();
  const found = [];
  for (let item = 1; item < catalogue.tokens.length && found.length < FOUND; item += 1) {
    if (!wanted || catalogue.titles[item].toLowerCase().includes(wanted)) found.push(item);
  }
  at("found").replaceChildren(...found.map((item) => entry(item, () => add(item))));
}

async function add(item) {
  history.push(item);
  await show();
}

async function show() {
  const lines = history.map((item, place) => {
    const line = entry(item, async () => {
      history.splice(place, 1);
      await show();
    });
    line.firstChild.setAttribute("aria-label", `Remove ${catalogue.titles[item]}`);
    return line;
  });
  at("history").replaceChildren(...lines);
  at("empty").hidden = history.length > 0;
  if (!history.length) {
    at("results").replaceChildren();
    return;
  }
  const feed = {
    item_seq: int64(history, [1, history.length]),
    length: int64([history.length], [1]),
    k: int64([catalogue.k], [1]),
    exclude_history: new ort.Tensor("bool", [at("exclude").checked ? 1 : 0], [1]),
    candidates: int64([], [1, 0]),
  };
  if (session.inputNames.includes("user")) feed.user = int64([0], [1]);
  const start = performance.now();
  const { items, scores } = await session.run(feed, ["items", "scores"]);
  at("time").textContent = `${(performance.now() - start).toFixed(1)} ms`;
  const ranked = Array.from(items.data, Number)
    .map((item, place) => [item, scores.data[place]])
    .filter(([, score]) => Number.isFinite(score));
  at("results").replaceChildren(
    ...ranked.map(([item, score]) => entry(item, () => add(item), score)),
  );
}

async function start() {
  catalogue = await (await fetch("catalogue.json")).json();
  at("title").textContent = catalogue.title;
  document.title = catalogue.title;
  at("exclude").checked = catalogue.exclude_history;
  at("size").textContent = bytes(catalogue.model_bytes);
  const model = await (await fetch("model.onnx")).arrayBuffer();
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  // A history may be part of the address: #items=token,token
  const given = new URLSearchParams(location.hash.slice(1)).get("items");
  const known = new Map(catalogue.tokens.map((token, item) => [token, item]));
  history = (given ? given.split(",") : []).map((token) => known.get(token)).filter((item) => item);
  at("search").addEventListener("input", search);
  at("exclude").addEventListener("change", show);
  at("clear").addEventListener("click", async () => {
    history = [];
    await show();
  });
  search();
  await show();
  at("status").textContent = "Ready. You may go offline: nothing more is loaded.";
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  at("status").textContent = `This page cannot work here: ${error.message}`;
  at("status").className = "error";
});
