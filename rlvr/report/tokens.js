// A completion's text, with its tokens coloured. Long texts are shown in pieces, so that a megabyte never freezes the page.

const FIRST_CHARACTERS = 6000;
const NEXT_CHARACTERS = 40000;
const FIRST_TOKENS = 1500;
const NEXT_TOKENS = 6000;
const SURPRISE_STEPS = [5, 20, 50, 100, 200, 400]; // hundredths of a nat: the class of a token is how many it reaches

function plainText(text) {
  const shown = element("pre", { class: "text" });
  let at = 0;
  const more = () => {
    const next = Math.min(text.length, at + (at === 0 ? FIRST_CHARACTERS : NEXT_CHARACTERS));
    shown.append(document.createTextNode(text.slice(at, next)));
    at = next;
    addMore(shown, text.length - at, more);
  };
  more();
  return shown;
}

function colouredText(row, mode, advantage) {
  if (!mode || !row.cuts || (mode === "advantage" && advantage === null)) return plainText(row.text);
  const shown = element("pre", { class: "text tokens" });
  let token = 0;
  let at = 0;
  const more = () => {
    const end = Math.min(row.cuts.length, token + (token === 0 ? FIRST_TOKENS : NEXT_TOKENS));
    const piece = document.createDocumentFragment();
    for (; token < end; token++) {
      const text = row.text.slice(at, at + row.cuts[token]);
      at += row.cuts[token];
      if (text) piece.append(tokenSpan(row, token, text, mode, advantage));
    }
    shown.append(piece);
    addMore(shown, row.text.length - at, more);
  };
  more();
  return shown;
}

function tokenSpan(row, token, text, mode, advantage) {
  const trained = !row.mask || row.mask[token];
  const surprise = row.logprobs[token];
  const span = document.createElement("span");
  span.textContent = text;
  if (!trained) span.className = "untrained";
  else if (mode === "logprob") span.className = `s${SURPRISE_STEPS.filter((step) => surprise >= step).length}`;
  else span.className = `a${advantage > 0 ? "p" : advantage < 0 ? "n" : "z"}${Math.min(3, Math.ceil(Math.abs(advantage)))}`;
  const logprob = -surprise / 100;
  span.title = `${trained ? "" : "not the policy's, not trained on · "}log p ${surprise >= 9999 ? "below -99.99" : logprob.toFixed(2)}, p ${Math.exp(logprob).toPrecision(2)}${advantage === null ? "" : `, advantage ${advantage.toFixed(2)}`}`;
  return span;
}

function addMore(shown, left, more) {
  if (left <= 0) return;
  const button = element("button", { type: "button", class: "more", onclick: () => { button.remove(); more(); } }, `show more (${left.toLocaleString("en")} characters left)`);
  shown.append(button);
}

function colourScale(mode) {
  const shown = element("span", {}, " · ", element("span", { class: "untrained" }, "faded"), ": shown to the policy, not written by it");
  if (mode === "logprob") {
    return [element("span", {}, "expected "), ...[0, 1, 2, 3, 4, 5, 6].map((step) => element("span", { class: `key s${step}`, title: step ? `-log p from ${SURPRISE_STEPS[step - 1] / 100}` : "-log p below 0.05" }, step ? `${SURPRISE_STEPS[step - 1] / 100}` : "0")), element("span", {}, " surprising (-log p, nats)"), shown];
  }
  if (mode === "advantage") {
    return [element("span", {}, "pushed down "), ...["an3", "an2", "an1"].map((name, i) => element("span", { class: `key ${name}` }, `-${3 - i}`)), element("span", { class: "key" }, "0"), ...["ap1", "ap2", "ap3"].map((name, i) => element("span", { class: `key ${name}` }, `+${i + 1}`)), element("span", {}, " pushed up (advantage)"), shown];
  }
  return [];
}
