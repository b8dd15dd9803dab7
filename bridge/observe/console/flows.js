// The picture of what goes where: subscriptions bring messages to the bus, routes and commands take events from it.

import { h } from "./dom.js";
import { count, counted, rate } from "./format.js";
import { foreign, STATES, toIntegration } from "./parts.js";

/** Show the picture; `most` integrations on each side, with at most `wires` each, under headings of a level. */
export function flows(data, app, { most, wires, heading }) {
    const rows = new Map(app.rows.map((row) => [row.integration, row]));
    const inward = groups(data.subscriptions, rows, (one) => ({
        key: one.subscription,
        text: [foreign(one.topic, 80), " → ", one.emit === null ? `message.${one.integration}` : foreign(one.emit, 80)],
        rate: one.rate,
    }));
    const outward = groups(data.routes, rows, (one) => ({
        key: one.route,
        text: [
            foreign(one.on.join(", "), 80),
            " → ",
            foreign(one.operation),
            one.durable && h("span", { class: "soft" }, " durable"),
        ],
        name: one.route,
        rate: one.rate,
    }));
    const routed = new Map(outward.map((group) => [group.name, group]));
    const brings = new Set(inward.map((group) => group.name));
    for (const row of app.rows) {
        const all = row.rates.succeeded + row.rates.failed;
        const group = routed.get(row.integration);
        // The rates of routes and of the integration are of different moments, so a small rest says nothing.
        const rest = all - (group?.rate ?? 0);
        const wire = { key: "commands", text: "commands", rate: rest };
        if (group && rest > all / 10) {
            group.wires.push(wire);
            group.rate = all;
        } else if (!group && (all > 0 || !brings.has(row.integration))) {
            outward.push({ name: row.integration, row, rate: all, wires: [wire] });
        }
    }
    for (const group of [...inward, ...outward]) group.unwell = app.unwell.has(group.name);
    for (const side of [inward, outward]) side.sort(byNeed);
    return h(
        "div",
        { class: "flows" },
        side("From outside", "in", inward, most, wires, heading, "No subscription."),
        h(
            "div",
            { class: "bus" },
            h("b", {}, "bus"),
            h("span", {}, `in ${rate(data.received)}/s`),
            h("span", {}, `out ${rate(data.published)}/s`),
        ),
        side("To outside", "out", outward, most, wires, heading, "No route."),
    );
}

function groups(entries, rows, describe) {
    const found = new Map();
    for (const entry of entries) {
        const group = found.get(entry.integration) ?? {
            name: entry.integration,
            row: rows.get(entry.integration),
            rate: 0,
            wires: [],
        };
        const wire = describe(entry);
        group.wires.push(wire);
        group.rate += wire.rate;
        found.set(entry.integration, group);
    }
    for (const group of found.values()) group.wires.sort((a, b) => b.rate - a.rate);
    return [...found.values()];
}

function byNeed(a, b) {
    return b.unwell - a.unwell || b.rate - a.rate || a.name.localeCompare(b.name, undefined, { numeric: true });
}

function side(title, direction, all, most, wires, heading, nothing) {
    const left = all.length - most;
    return h(
        "section",
        { class: `side ${direction}`, "aria-label": title },
        h(heading, { class: "name" }, title),
        !all.length && h("p", { class: "soft" }, nothing),
        h(
            "ul",
            { class: "groups" },
            all.slice(0, most).map((group) => block(group, direction, wires)),
        ),
        left > 0 && h("a", { class: "more", href: "#/flows" }, `${counted(left, "more integration")}`),
    );
}

function block(group, direction, most) {
    const status = group.row ? (group.row.circuit === "open" ? "open" : group.row.status) : "stopped";
    const found = STATES[status];
    const left = group.wires.length - most;
    return h(
        "li",
        { key: group.name, class: `group is-${found.colour}` },
        h(
            "a",
            { class: "node", href: toIntegration(group.name) },
            h("span", { class: "name" }, foreign(group.name)),
            h(
                "span",
                { class: `state ${found.colour}` },
                h("span", { "aria-hidden": "true" }, `${found.mark} `),
                status === "open" ? "circuit open" : found.text,
            ),
        ),
        h(
            "ul",
            { class: "wires" },
            group.wires.slice(0, most).map((wire) => line(wire)),
            left > 0 && h("li", { key: "more", class: "soft" }, h("span", { class: "text" }, `${count(left)} more`)),
        ),
    );
}

function line(wire) {
    const width = wire.rate > 0 ? Math.min(6, 1.5 + Math.log10(1 + wire.rate) * 1.5) : 1;
    return h(
        "li",
        { key: wire.key, class: wire.rate > 0 ? "" : "idle" },
        h("span", { class: "text", title: wire.name }, wire.text),
        h("span", { class: "rate" }, `${rate(wire.rate)}/s`),
        h(
            "svg",
            { class: "wire", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
            h("path", { d: "M0 4H100", "stroke-width": width.toFixed(1), "vector-effect": "non-scaling-stroke" }),
        ),
        h("svg", { class: "head", viewBox: "0 0 8 10", "aria-hidden": "true" }, h("path", { d: "M0 0L8 5L0 10Z" })),
    );
}
