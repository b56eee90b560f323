// The few things that every view does to the document.

export const byId = (id) => document.getElementById(id);

/** Return a new element; `on…` attributes are listeners, null children are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Set an element's text, unless it is that already: writing costs a layout. */
export function setText(node, text) {
  const child = node.firstChild;
  if (child === null) node.append(text);
  else if (child.data !== text) child.data = text;
}

/** Set an attribute, unless it is that already; null removes it. */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** Wire tabs as the ARIA pattern says: arrows move, the panel follows. */
export function tabs(list) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const select = (chosen) => {
    for (const tab of all) {
      const selected = tab === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !selected;
    }
  };
  for (const [index, tab] of all.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next =
        step !== undefined
          ? all[(index + step + all.length) % all.length]
          : { Home: all[0], End: all.at(-1) }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      select(next);
      next.focus();
    });
  }
  select(all[0]);
}
