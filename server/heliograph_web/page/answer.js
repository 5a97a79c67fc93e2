// The answer as it is shown: best class, bars, who answered, or what went wrong.

const find = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Show that there is nothing to tell yet. */
export function showNothing(hint) {
  find("hint").textContent = hint;
  find("announcement").textContent = "";
  show("hint");
}

/** Show that an answer is on its way; the one before stays, dimmed. */
export function showWaiting() {
  find("answer").setAttribute("aria-busy", "true");
  if (find("answer").hidden) showNothing("Classifying …");
}

/** @param {{classes: [string, number][], model: string, version: number, milliseconds: number}} answer */
export function showAnswer({ classes, model, version, milliseconds }) {
  const [name, score] = classes[0];
  find("best-name").textContent = name;
  find("best-share").textContent = share(score);
  find("scores").replaceChildren(...classes.map(([className, value]) => row(className, value)));
  find("facts").textContent = `${model}, version ${version}, answered in ${Math.max(1, Math.round(milliseconds))} ms`;
  find("announcement").textContent = `${name}, ${share(score)}`;
  find("answer").removeAttribute("aria-busy");
  show("answer");
}

/** @param {{message: string, detail: string}} error */
export function showError({ message, detail }) {
  find("error-text").textContent = message;
  find("error-detail").textContent = detail;
  find("announcement").textContent = "";
  show("error");
}

function show(shown) {
  for (const id of ["hint", "answer", "error"]) find(id).hidden = id !== shown;
}

function row(name, score) {
  const item = document.createElement("li");
  item.append(span("name", name), span("share", share(score)), span("bar", ""));
  item.firstChild.title = name;
  item.lastChild.style.setProperty("--share", String(score));
  return item;
}

function span(kind, text) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

/** A share in per cent; what is nearly all or nearly nothing is not rounded to it. */
function share(score) {
  if (score > 0.9995 && score < 1) return `> ${percent.format(0.999)}`;
  if (score < 0.0005 && score > 0) return `< ${percent.format(0.001)}`;
  return percent.format(score);
}
