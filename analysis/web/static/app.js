// Draws the charts, brings in what takes longer, and follows a run that goes on.
// No page needs it to be read: every chart has a table or links beside it.

const FOLLOW_MS = 2000;
const config = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
  showSendToCloud: false, plotlyServerURL: "", // its "Share chart" would upload the run's figures
};

const library = new Promise((resolve) => {
  if (window.Plotly) resolve(window.Plotly);
  else window.addEventListener("load", () => resolve(window.Plotly), { once: true });
});

async function figureOf(element) {
  if (!element.dataset.source) {
    return JSON.parse(document.getElementById(`chart-${element.dataset.chart}`).textContent);
  }
  const answer = await fetch(element.dataset.source);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

function goTo(event) {
  const address = event.points[0]?.customdata;
  // Only our own pages: an address of ours begins with / or #.
  if (typeof address === "string" && /^[/#]/.test(address)) window.location.assign(address);
}

async function draw(element) {
  try {
    const [figure, plotly] = await Promise.all([figureOf(element), library]);
    element.querySelector(".wait")?.remove();
    const first = !element.classList.contains("js-plotly-plot");
    await plotly.react(element, figure.data, figure.layout, config);
    if (first) element.on("plotly_click", goTo);
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

async function renew() {
  const answer = await fetch(window.location.pathname + window.location.search);
  if (!answer.ok) return;
  const made = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const fresh = made.querySelector(`[data-part="${part.dataset.part}"]`);
    if (fresh) part.replaceWith(fresh);
  }
  const charts = [...document.querySelectorAll("[data-chart][data-drawn]")];
  await Promise.all(charts.map(draw));
}

async function follow(mark) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const { version, running, done, news } = await (await fetch(mark.dataset.follow)).json();
        const ended = mark.dataset.running && !running;
        if (`${version}` !== mark.dataset.version || `${done}` !== mark.dataset.done || ended) {
          Object.assign(mark.dataset, { version, done, running: running ? "yes" : "" });
          await renew();
          document.querySelector("[data-news]").textContent = news;
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
    if (!document.hidden) await renew().catch(() => { /* the server was stopped */ });
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
