// Describes the page as values, and changes of the document only what differs from the last description.
// All text goes into text nodes and attributes; nothing is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "indeterminate"]);
const drawn = new WeakMap();

/**
 * Describe an element.
 *
 * `props` has attributes, listeners (`onclick`), `style` as an object, and `key`, which tells siblings apart. Children
 * are descriptions, text, arrays of these, or null and false for nothing.
 */
export function h(tag, props, ...children) {
    return { tag, props: props ?? {}, key: props?.key, children: flat(children) };
}

/** Describe an element that stays as it is while all of `inputs` stay the same; `make` describes it. */
export function memo(key, inputs, make) {
    return { key, inputs, make };
}

/** Show the children in an element, which shows nothing else. The focus and what a person typed stay. */
export function render(container, ...children) {
    const focused = document.activeElement;
    const before = drawn.get(container);
    if (before === undefined) container.replaceChildren();
    const after = flat(children);
    updateChildren(container, before ?? [], after);
    drawn.set(container, after);
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

function flat(children) {
    const found = [];
    for (const child of children.flat(Infinity)) {
        if (child === null || child === undefined || child === false || child === "") continue;
        found.push(typeof child === "object" ? child : { text: String(child) });
    }
    return found;
}

function create(wanted, svg) {
    if (wanted.text !== undefined) {
        wanted.node = document.createTextNode(wanted.text);
    } else if (wanted.make) {
        wanted.inner = wanted.make();
        wanted.node = create(wanted.inner, svg);
    } else {
        const inside = svg || wanted.tag === "svg";
        const node = inside ? document.createElementNS(SVG, wanted.tag) : document.createElement(wanted.tag);
        wanted.node = node;
        updateChildren(node, [], wanted.children, inside);
        // A select has its value only once its options are there.
        for (const [name, value] of Object.entries(wanted.props)) set(node, name, undefined, value);
    }
    return wanted.node;
}

function update(before, after, svg) {
    const node = (after.node = before.node);
    if (after.text !== undefined) {
        if (after.text !== before.text) node.data = after.text;
    } else if (after.make) {
        const same =
            before.inputs.length === after.inputs.length && before.inputs.every((one, at) => one === after.inputs[at]);
        after.inner = same ? before.inner : after.make();
        if (same) return node;
        if (fits(before.inner, after.inner)) {
            after.node = update(before.inner, after.inner, svg);
        } else {
            after.node = create(after.inner, svg);
            before.node.replaceWith(after.node);
        }
    } else {
        updateChildren(node, before.children, after.children, svg || after.tag === "svg");
        for (const name of Object.keys(before.props)) {
            if (!(name in after.props)) set(node, name, before.props[name], undefined);
        }
        for (const [name, value] of Object.entries(after.props)) set(node, name, before.props[name], value);
    }
    return after.node;
}

function fits(before, after) {
    return (
        before.tag === after.tag &&
        !before.make === !after.make &&
        (before.text === undefined) === (after.text === undefined)
    );
}

function updateChildren(parent, before, after, svg) {
    const old = new Map(named(before));
    const pairs = named(after);
    const kept = new Set();
    for (const [name, wanted] of pairs) {
        const found = old.get(name);
        if (found && fits(found, wanted)) {
            update(found, wanted, svg);
            kept.add(found);
        } else {
            create(wanted, svg);
        }
    }
    for (const one of before) if (!kept.has(one)) one.node.remove();
    let place = parent.firstChild;
    for (const [, wanted] of pairs) {
        if (wanted.node === place) place = place.nextSibling;
        else parent.insertBefore(wanted.node, place);
    }
}

// Without a key, the n-th of its tag is meant. So an element that comes or goes does not move those of another tag.
function named(children) {
    const seen = {};
    return children.map((child) => {
        const name = child.key === undefined ? (child.tag ?? "text") : `key ${child.key}`;
        seen[name] = (seen[name] ?? 0) + 1;
        return [`${name} ${seen[name]}`, child];
    });
}

function set(node, name, before, value) {
    if (name === "key" || before === value) return;
    if (name.startsWith("on")) {
        node[name] = value ?? null;
    } else if (name === "style") {
        // Through the object model, which the content policy allows, unlike an attribute.
        for (const part of Object.keys(before ?? {})) if (!(part in (value ?? {}))) node.style.removeProperty(part);
        for (const [part, text] of Object.entries(value ?? {})) {
            if (before?.[part] !== text) node.style.setProperty(part, text);
        }
    } else if (PROPERTIES.has(name)) {
        node[name] = value ?? (name === "value" ? "" : false);
    } else if (value === undefined || value === null || (value === false && !name.startsWith("aria-"))) {
        node.removeAttribute(name);
    } else {
        node.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
    }
}
