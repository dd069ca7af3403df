// What a completion was read as, against the gold, line by line: for tool calls and other JSON. Everything is set as text.

const MOST_DIFFERENT_LINES = 300;

// Lines of a JSON object or list with its keys in order; null for anything else.
function jsonLines(text) {
  let value;
  try { value = JSON.parse(text); } catch { return null; }
  if (value === null || typeof value !== "object") return null;
  if (Array.isArray(value.calls)) value = value.calls; // the gold of tool calls stands in an object, what was read does not
  const sorted = (_, part) => (part && typeof part === "object" && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part);
  const lines = JSON.stringify(value, sorted, 2).split("\n").map((line) => line.replace(/,$/, ""));
  return lines.length > MOST_DIFFERENT_LINES ? null : lines;
}

// [sign, line]: "-" only in the gold, "+" only in the answer, " " in both (longest common subsequence).
function lineDifferences(gold, read) {
  const longest = Array.from({ length: gold.length + 1 }, () => new Uint16Array(read.length + 1));
  for (let i = gold.length - 1; i >= 0; i--) {
    for (let j = read.length - 1; j >= 0; j--) longest[i][j] = gold[i] === read[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < gold.length || j < read.length) {
    if (i < gold.length && j < read.length && gold[i] === read[j]) { found.push([" ", gold[i]]); i++; j++; }
    else if (j === read.length || (i < gold.length && longest[i + 1][j] >= longest[i][j + 1])) found.push(["-", gold[i++]]);
    else found.push(["+", read[j++]]);
  }
  return found;
}

// The gold against what was read, or null where they are not both JSON or do not differ.
function differenceFrom(answer, parsed) {
  const [gold, read] = [jsonLines(answer || ""), jsonLines(parsed || "")];
  if (!gold || !read) return null;
  const lines = lineDifferences(gold, read);
  if (lines.every(([sign]) => sign === " ")) return null;
  const classes = { "-": "only-gold", "+": "only-read", " ": "" };
  return element("div", { class: "said" }, element("b", {}, "gold (-) against what was read (+)"),
    element("pre", { class: "text difference" }, ...lines.map(([sign, line]) => element("span", { class: classes[sign] }, `${sign} ${line}\n`))));
}
