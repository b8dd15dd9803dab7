// Small parts that several views use: states, foreign text, trees of values, problems.

import { h } from "./dom.js";
import { count, printable, size } from "./format.js";

/** Mark, words and colour of each state. The mark is for people who do not see the colour. */
export const STATES = {
    connected: { mark: "●", text: "connected", colour: "good" },
    live: { mark: "●", text: "live", colour: "good" },
    ready: { mark: "●", text: "ready", colour: "good" },
    closed: { mark: "●", text: "closed", colour: "good" },
    connecting: { mark: "◆", text: "connecting", colour: "warn" },
    degraded: { mark: "◆", text: "degraded", colour: "warn" },
    half_open: { mark: "◆", text: "half-open", colour: "warn" },
    starting: { mark: "◆", text: "starting", colour: "warn" },
    draining: { mark: "◆", text: "draining", colour: "warn" },
    paused: { mark: "■", text: "paused", colour: "soft" },
    stopped: { mark: "■", text: "stopped", colour: "soft" },
    open: { mark: "▲", text: "open", colour: "bad" },
    disconnected: { mark: "▲", text: "disconnected", colour: "bad" },
    failed: { mark: "▲", text: "failed", colour: "bad" },
    lost: { mark: "▲", text: "lost", colour: "bad" },
};

/** Show a state: mark and words, with words before them. */
export function state(name, before = "") {
    const found = STATES[name] ?? { mark: "▲", text: name, colour: "bad" };
    return h(
        "span",
        { class: `state ${found.colour}` },
        h("span", { "aria-hidden": "true" }, found.mark),
        ` ${before}${found.text}`,
    );
}

/** Show text of a remote, a program or a file: as it is, and without effect on what is around it. */
export function foreign(text, most) {
    return h("bdi", {}, printable(text, most));
}

/** Show an error: its kind, then its message. */
export function errorText(error) {
    return h(
        "span",
        { class: "error" },
        h("b", {}, error.kind),
        error.code !== undefined && [" (", foreign(error.code), ")"],
        ": ",
        foreign(error.message),
    );
}

/** Return the address of an integration's view. */
export function toIntegration(label) {
    return `#/integration/${encodeURIComponent(label)}`;
}

/** Return the address of the tap that shows what belongs to one `correlation_id`. */
export function toCorrelation(id) {
    return `#/tap?follow=${encodeURIComponent(id)}`;
}

/** Tell whether somebody has paused or drained an integration. */
export function isHalted(row) {
    return row.status === "paused" || row.status === "stopped";
}

/** Tell whether an integration that should work does not: connection, circuit or a subscription. */
export function isUnwell(row) {
    return !isHalted(row) && (row.status !== "connected" || row.circuit !== "closed" || row.unwell > 0);
}

const MOST_CHILDREN = 200;
const MOST_DEPTH = 32;

/** Show a value as a tree; objects and lists open and close. Secrets, masked as `***`, are told as such. */
export function tree(value, depth = 0, open = 2) {
    if (value === null || typeof value !== "object") return leaf(value);
    const bytes = Object.keys(value).length === 1 && typeof value.$bytes === "string" ? value.$bytes : null;
    if (bytes !== null)
        return h(
            "span",
            { class: "v-bytes" },
            `${size(Math.floor((bytes.length * 3) / 4))} of bytes `,
            foreign(bytes, 120),
        );
    const list = Array.isArray(value);
    const entries = Object.entries(value);
    if (!entries.length) return h("span", { class: "soft" }, list ? "[ ]" : "{ }");
    if (depth >= MOST_DEPTH) return foreign(JSON.stringify(value));
    return h(
        "details",
        { class: "tree", open: depth < open && entries.length <= 40 },
        h("summary", {}, list ? `[ ${count(entries.length)} ]` : `{ ${count(entries.length)} }`),
        h(
            "ul",
            {},
            entries
                .slice(0, MOST_CHILDREN)
                .map(([name, inner]) =>
                    h(
                        "li",
                        { key: name },
                        h("span", { class: "name" }, foreign(name, 200), ": "),
                        tree(inner, depth + 1, open),
                    ),
                ),
            entries.length > MOST_CHILDREN &&
                h("li", { class: "soft" }, `… ${count(entries.length - MOST_CHILDREN)} more`),
        ),
    );
}

function leaf(value) {
    if (value === "***") return h("span", { class: "v-secret" }, "secret");
    if (typeof value === "string") return h("span", { class: "v-string" }, "“", foreign(value), "”");
    return h("span", { class: "v-other" }, String(value));
}

/** Show a table that scrolls on its own where it is too wide. `columns` are names; `rows` are lists of cells. */
export function table(caption, columns, rows) {
    return h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
        h(
            "table",
            {},
            h("caption", { class: "sr" }, caption),
            h(
                "thead",
                {},
                h(
                    "tr",
                    {},
                    columns.map((name) =>
                        h("th", { scope: "col", class: name.startsWith("#") ? "number" : "" }, name.replace("#", "")),
                    ),
                ),
            ),
            h(
                "tbody",
                {},
                rows.map(({ key, cells }) =>
                    h(
                        "tr",
                        { key },
                        cells.map((cell, at) => h("td", { class: columns[at].startsWith("#") ? "number" : "" }, cell)),
                    ),
                ),
            ),
        ),
    );
}

/** Show a figure: what it is, its value, and a line below. */
export function figure(name, value, unit, below, { colour = "", chart = null } = {}) {
    return h(
        "div",
        { class: "figure" },
        h("dt", {}, name),
        h(
            "dd",
            { class: colour },
            h("span", { class: "value" }, value),
            unit && h("span", { class: "unit" }, ` ${unit}`),
        ),
        chart && h("dd", { class: "chart" }, chart),
        below && h("dd", { class: "below" }, below),
    );
}
