// Light and dark: the system's choice until the reader makes one.

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function remembered(theme) {
  try {
    if (theme === undefined) return localStorage.getItem("rlvr-theme") || "";
    localStorage.setItem("rlvr-theme", theme);
  } catch {
    // A file opened from disk may have no storage; the choice then lasts as long as the page.
  }
  return theme || "";
}

function setUpTheme(changed) {
  const button = byId("theme");
  let theme = remembered();
  const apply = () => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = theme === "dark" ? "Dark" : theme === "light" ? "Light" : "Auto";
    changed();
  };
  button.addEventListener("click", () => {
    const dark = theme ? theme === "dark" : systemDark.matches;
    theme = theme === "" ? (dark ? "light" : "dark") : theme === (systemDark.matches ? "light" : "dark") ? (systemDark.matches ? "dark" : "light") : "";
    remembered(theme);
    apply();
  });
  systemDark.addEventListener("change", () => theme || apply());
  apply();
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
