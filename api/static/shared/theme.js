// Light or dark: as the system says, until somebody chooses.

const KEY = "trade-engine.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const listeners = new Set();
let probe = null;

/** Apply what was chosen before; `button` switches. */
export function startTheme(button) {
  apply(stored());
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    // What the system says is followed again by choosing it.
    const value = chosen === (dark.matches ? "dark" : "light") ? null : chosen;
    try {
      if (value === null) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, value);
    } catch {
      // Private windows may refuse: then it holds until the page is left.
    }
    apply(value);
  });
  dark.addEventListener("change", () => apply(stored()));

  function apply(value) {
    if (value === null) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
    button.setAttribute("aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
    button.textContent = isDark() ? "☀" : "☾";
    for (const listener of listeners) listener();
  }
}

/** Call `listener` after every change. */
export function onTheme(listener) {
  listeners.add(listener);
}

/** Return a colour of the style sheet, such as `buy`, as canvases take it. */
export function colour(name) {
  if (probe === null) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? dark.matches : chosen === "dark";
}

function stored() {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}
