// Draws the charts, brings in what takes longer, and follows a run that goes on.
// No page needs it to be read: every chart has a table or links beside it.

const FOLLOW_MS = 2000;
// Named one by one: among the library's own are some that send figures to a service.
const config = {
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["resetScale2d"]],
};

const library = new Promise((resolve) => {
  if (window.Plotly) resolve(window.Plotly);
  else window.addEventListener("load", () => resolve(window.Plotly), { once: true });
});

async function figureOf(element) {
  if (!element.dataset.source) {
    return document.getElementById(`chart-${element.dataset.chart}`).textContent;
  }
  const answer = await fetch(element.dataset.source);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.text();
}

const drawn = new WeakMap(); // by element: the numbers that it shows

function goTo(event) {
  const address = event.points[0]?.customdata;
  // Only our own pages: an address of ours begins with one / or with #.
  if (typeof address === "string" && /^(\/(?!\/)|#)/.test(address)) window.location.assign(address);
}

async function draw(element) {
  try {
    const [text, plotly] = await Promise.all([figureOf(element), library]);
    if (drawn.get(element) === text) return;
    const figure = JSON.parse(text);
    element.querySelector(".wait")?.remove();
    const picture = { filename: element.dataset.chart, scale: 2 };
    await plotly.react(element, figure.data, figure.layout, { ...config, toImageButtonOptions: picture });
    if (!drawn.has(element)) element.on("plotly_click", goTo);
    drawn.set(element, text);
    element.dataset.drawn = "yes";
    performance.mark(`drawn:${element.dataset.chart}`);
  } catch (problem) {
    const wait = element.querySelector(".wait");
    if (wait) wait.textContent = `can't be drawn: ${problem.message}`;
  }
}

async function bring(element) {
  const answer = await fetch(element.dataset.fragment);
  if (!answer.ok) {
    element.querySelector(".wait").textContent = "can't be shown: a file of the run is missing or damaged";
    return;
  }
  // Made by our own templates, which escape what models wrote; scripts in it don't run.
  const made = new DOMParser().parseFromString(await answer.text(), "text/html");
  element.replaceChildren(...made.body.childNodes);
  element.dataset.brought = "yes";
}

// What is off the screen is drawn when it comes near.
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    if (target.dataset.chart) draw(target);
    else bring(target);
  }
}, { rootMargin: "300px" });
document.querySelectorAll("[data-chart], [data-fragment]").forEach((one) => seen.observe(one));

async function renewParts(address) {
  const answer = await fetch(address);
  if (!answer.ok) return;
  const made = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const fresh = made.querySelector(`[data-part="${part.dataset.part}"]`);
    // What is as it was keeps the reader's focus and selection.
    if (fresh && !fresh.isEqualNode(part)) part.replaceWith(fresh);
  }
}

const here = () => window.location.pathname + window.location.search;

async function renew() {
  await renewParts(here());
  const charts = [...document.querySelectorAll("[data-chart][data-drawn]")];
  const parts = [...document.querySelectorAll("[data-fragment][data-brought]")];
  await Promise.all([...charts.map(draw), ...parts.map(bring)]);
}

async function follow(mark) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const now = await (await fetch(mark.dataset.follow)).json();
        const was = JSON.parse(mark.dataset.now);
        if (["version", "done", "running"].some((key) => now[key] !== was[key])) {
          mark.dataset.now = JSON.stringify(now);
          // Between two decisions only how it stands has changed.
          const more = now.decided !== was.decided || now.running !== was.running;
          await (more ? renew() : renewParts(`${window.location.pathname}parts/facts`));
          document.querySelector("[data-news]").textContent = now.news;
        }
      } catch { /* the server was stopped; it may come back */ }
    }
    setTimeout(look, FOLLOW_MS);
  };
  setTimeout(look, FOLLOW_MS);
}
document.querySelectorAll("[data-follow]").forEach(follow);

// In one file, what is linked to may lie folded.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
  for (let at = target?.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  target?.scrollIntoView();
};
window.addEventListener("hashchange", unfold);
if (window.location.hash) unfold();

// A search whose index was still being made: ask again until it is whole.
function again() {
  setTimeout(async () => {
    if (!document.hidden) await renewParts(here()).catch(() => { /* the server was stopped */ });
    if (document.querySelector("[data-again]")) again();
  }, FOLLOW_MS);
}
if (document.querySelector("[data-again]")) again();

document.addEventListener("keydown", (event) => {
  const typing = /^(input|textarea|select)$/i.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const field = document.getElementById("q");
    if (field) { event.preventDefault(); field.focus(); }
  }
});
