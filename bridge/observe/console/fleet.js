// The fleet: the fabrics of the bridge, their nodes, and what is wrong with them.

import { h, memo } from "./dom.js";
import { count, counted, span } from "./format.js";
import { errorText, figure, foreign, state, toIntegration } from "./parts.js";

const FIRST_NODES = 100;
const MORE_NODES = 200;
const MOST_NAMES = 8;
const MOST_OFFERING = 5;
const NODE_URGENCY = ["lost", "draining", "connected", "stopped"];
const URGENCY = ["failed", "disconnected", "degraded", "paused", "stopped", "connecting", "connected"];
const COUNTS = [
    ["exported", "of this bus"],
    ["imported", "of other buses"],
    ["duplicates", "came again"],
    ["served", "commands of others"],
    ["missed", "removed too early", "warn"],
    ["garbage", "of no bridge", "warn"],
];

/** Show all fabrics, those that are not well first. */
export function fleet(app) {
    const { fleet: data, fleetAt: now } = app;
    if (!data) return h("p", { class: "soft waiting" }, "Waiting for the bridge…");
    const views = Object.values(data.fabrics).sort(
        (one, other) => isWell(one) - isWell(other) || one.health.fabric.localeCompare(other.health.fabric),
    );
    return [
        h("h1", {}, "Fleet"),
        !views.length && h("p", { class: "soft" }, "This bridge is in no fabric."),
        views.map((view, at) => fabric(view, `fabric-${at}`, app, now)),
    ];
}

/** Tell whether a fabric is connected, no node is lost, and somebody offers each integration that is used. */
export function isWell({ health, nodes, uses }) {
    const lost = Object.values(nodes).some((node) => node.status === "lost");
    return health.status === "connected" && !lost && Object.values(uses).every((offering) => offering.length);
}

function fabric(view, id, app, now) {
    const { health } = view;
    const nodes = Object.values(view.nodes);
    const alive = nodes.filter((node) => node.status === "connected").length;
    const here = nodes.filter((node) => node.status !== "stopped").length + view.left_out;
    return h(
        "section",
        { key: health.fabric, class: "fabric", "aria-labelledby": id },
        h("h2", { id }, "Fabric ", foreign(health.fabric), " ", state(health.status)),
        h(
            "p",
            { class: "soft" },
            `for ${span(now - health.since)}, this bridge is node `,
            foreign(health.node),
            `, ${health.delivery.replaceAll("_", " ")}, over `,
            h("a", { href: toIntegration(health.integration) }, foreign(health.integration)),
        ),
        troubles(view),
        h(
            "dl",
            { class: "figures" },
            figure("Nodes", count(alive), `of ${count(here)}`, "connected", { colour: alive < here ? "has-warn" : "" }),
            COUNTS.map(([name, below, colour]) =>
                figure(name[0].toUpperCase() + name.slice(1), count(health.counts[name]), "", below, {
                    colour: colour && health.counts[name] ? `has-${colour}` : "",
                }),
            ),
        ),
        uses(view, id),
        nodeTable(view, app, now),
    );
}

function troubles({ health }) {
    if (!health.error && !health.warnings.length) return null;
    return h(
        "ul",
        { class: "trouble" },
        health.error && h("li", { key: "error", class: "bad" }, mark("▲"), errorText(health.error)),
        health.warnings.map((warning, at) =>
            h("li", { key: `${at} ${warning}`, class: "warn" }, mark("◆"), foreign(warning)),
        ),
    );
}

function mark(sign) {
    return h("span", { "aria-hidden": "true" }, `${sign} `);
}

function uses(view, id) {
    const used = Object.entries(view.uses).sort(
        ([a, one], [b, other]) => Boolean(one.length) - Boolean(other.length) || a.localeCompare(b),
    );
    if (!used.length) return null;
    return h(
        "div",
        { class: "card uses" },
        h("p", { class: "soft", id: `${id}-uses` }, "Integrations of other nodes that this bridge uses"),
        h(
            "dl",
            { class: "facts", "aria-labelledby": `${id}-uses` },
            used.map(([name, offering]) => {
                const shown = offering.slice(0, MOST_OFFERING).join(", ");
                const left = offering.length - MOST_OFFERING;
                return h(
                    "div",
                    { key: name },
                    h("dt", {}, h("a", { href: toIntegration(name) }, foreign(name))),
                    offering.length
                        ? h("dd", {}, "offered by ", foreign(shown), left > 0 && ` and ${count(left)} more`)
                        : h("dd", { class: "bad" }, mark("▲"), "no node that is connected offers it"),
                );
            }),
        ),
    );
}

function nodeTable(view, app, now) {
    const { ui } = app;
    const all = Object.entries(view.nodes).sort(
        ([a, one], [b, other]) =>
            NODE_URGENCY.indexOf(one.status) - NODE_URGENCY.indexOf(other.status) ||
            a.localeCompare(b, undefined, { numeric: true }),
    );
    const shown = all.slice(0, ui.rows ?? FIRST_NODES);
    const left = all.length - shown.length;
    const caption = `Nodes of fabric ${view.health.fabric}`;
    const columns = ["Node", "Status", "Heartbeat", "Integrations", "Offers", "Leases"];
    return [
        h(
            "div",
            { key: "nodes", class: "scroll nodes", tabindex: "0", role: "region", "aria-label": caption },
            h(
                "table",
                // The roles are written out: rows shown as cards, with little room, would else be none.
                { role: "table" },
                h("caption", { class: "sr" }, caption),
                h(
                    "thead",
                    { role: "rowgroup" },
                    h(
                        "tr",
                        { role: "row" },
                        columns.map((name) => h("th", { role: "columnheader", scope: "col" }, name)),
                    ),
                ),
                h(
                    "tbody",
                    { role: "rowgroup" },
                    shown.map(([name, node]) => {
                        const since = span(now - node.since);
                        const heard = node.heard_ms === null ? "this bridge" : `${span(node.heard_ms)} ago`;
                        // The rows come anew with each frame; most of them say the same.
                        return memo(name, [JSON.stringify({ ...node, heard_ms: heard }), since], () =>
                            row(name, node, since, heard),
                        );
                    }),
                ),
            ),
        ),
        left > 0 &&
            h(
                "button",
                { key: "more", class: "more", onclick: () => ui.set({ rows: (ui.rows ?? FIRST_NODES) + MORE_NODES }) },
                `Show ${count(Math.min(left, MORE_NODES))} more of ${counted(left, "node")}`,
            ),
        view.left_out > 0 &&
            h("p", { key: "left out", class: "soft" }, `${counted(view.left_out, "more node")} would not fit here.`),
    ];
}

function row(name, node, since, heard) {
    return h(
        "tr",
        { role: "row", class: node.status === "lost" ? "unwell" : "" },
        h(
            "th",
            { role: "rowheader", scope: "row" },
            foreign(name),
            " ",
            h("span", { class: "type" }, foreign(`${node.bridge} ${node.version}`)),
        ),
        h("td", { role: "cell", class: "status" }, state(node.status), h("span", { class: "soft" }, ` ${since}`)),
        node.heard_ms === null
            ? h("td", { role: "cell", class: "heard soft" }, heard)
            : h("td", { role: "cell", class: "heard", "data-name": "Heartbeat" }, heard),
        h("td", { role: "cell", class: "remotes" }, integrations(node)),
        list("Offers", node.offers),
        list("Leases", node.leases),
    );
}

function list(heading, names) {
    const found = names.length > 0;
    return h(
        "td",
        { role: "cell", class: found ? "list" : "list zero", "data-name": heading },
        foreign(found ? names.join(", ") : "–"),
    );
}

/** Show a node's integrations: those that are not connected with their status, then the others. */
function integrations(node) {
    const all = Object.entries(node.integrations);
    const well = all.filter(([, status]) => status === "connected").map(([name]) => name);
    const others = all
        .filter(([, status]) => status !== "connected")
        .sort(([a, one], [b, other]) => URGENCY.indexOf(one) - URGENCY.indexOf(other) || a.localeCompare(b));
    const rest = [
        well.length && (well.length <= MOST_NAMES ? well.sort().join(", ") : `${count(well.length)} connected`),
        node.left_out && `${count(node.left_out)} more`,
    ].filter(Boolean);
    if (!others.length && !rest.length) return "–";
    return [
        others.map(([name, status]) => h("div", { key: name }, foreign(name), " ", state(status))),
        rest.length > 0 && h("div", { key: "rest", class: "soft" }, foreign(rest.join(", "))),
    ];
}
