// The overview: what is wrong, how much happens, and all integrations.

import { messagesChart, operationsChart } from "./charts.js";
import { h, memo } from "./dom.js";
import { flows } from "./flows.js";
import { count, counted, duration, percent, printable, rate, span } from "./format.js";
import { errorText, figure, foreign, isHalted, state, toIntegration } from "./parts.js";

const FIRST_ROWS = 50;
const MORE_ROWS = 200;
const FIRST_NAMES = 6;
const FIRST_PROBLEMS = 8;
const URGENCY = ["failed", "disconnected", "degraded", "paused", "stopped", "connecting", "connected"];

const COLUMNS = [
    { id: "integration", name: "Integration", of: (row) => row.integration, text: true },
    { id: "status", name: "Status", of: (row) => URGENCY.indexOf(row.status), text: true },
    { id: "series", name: "15 minutes", of: (row) => -(row.rates.succeeded + row.rates.failed), text: true },
    { id: "succeeded", name: "ok/s", full: "operations a second that succeeded", of: (row) => -row.rates.succeeded },
    { id: "failed", name: "failed/s", full: "operations a second that failed", of: (row) => -row.rates.failed },
    {
        id: "p50",
        name: "p50",
        full: "half of the operations of 5 minutes were faster",
        of: (row) => -(row.rates.p50_ms ?? -1),
    },
    {
        id: "p95",
        name: "p95",
        full: "95 of 100 operations of 5 minutes were faster",
        of: (row) => -(row.rates.p95_ms ?? -1),
    },
    { id: "in_flight", name: "in flight", full: "operations with a running attempt", of: (row) => -row.in_flight },
    {
        id: "queued",
        name: "queued",
        full: "operations that wait, those of the outbox not counted",
        of: (row) => -row.queued,
    },
    { id: "pending", name: "outbox", full: "operations that wait in the outbox", of: (row) => -row.pending },
    { id: "dead_letters", name: "dead", full: "dead letters", of: (row) => -row.dead_letters },
    { id: "messages", name: "messages/s", full: "messages from outside a second", of: (row) => -row.rates.messages },
];

const FILTERS = {
    all: { name: "All", has: () => true },
    unwell: { name: "Not well", has: (row, app) => app.unwell.has(row.integration) },
    failing: { name: "Failing", has: (row) => row.rates.failed > 0 },
    waiting: { name: "Waiting", has: (row) => row.queued + row.pending > 0 },
    dead: { name: "Dead letters", has: (row) => row.dead_letters > 0 },
};

/** Show the overview. */
export function overview(app) {
    const { data, rows } = app;
    if (!data) return h("p", { class: "soft waiting" }, "Waiting for the bridge…");
    return [
        banner(app),
        figures(data),
        list(app, data, rows),
        h(
            "section",
            { key: "flows", "aria-labelledby": "flows" },
            h("h2", { id: "flows" }, "Flows "),
            flows(data, app, { most: 5, wires: 4, heading: "h3" }),
        ),
    ];
}

/** Return one line that says how all are: `10 of 31 integrations are not well`. */
export function headline({ data, rows, unwell: { size: unwell } }) {
    const halted = rows.filter(isHalted);
    const how = halted.every((row) => row.status === "paused") ? "paused" : "paused or stopped";
    const also = halted.length ? `, ${count(halted.length)} ${halted.length === 1 ? "is" : "are"} ${how}` : "";
    if (!rows.length) return "There is no integration";
    if (unwell) {
        if (rows.length === 1) return "The integration is not well";
        return `${count(unwell)} of ${count(rows.length)} integrations ${unwell === 1 ? "is" : "are"} not well${also}`;
    }
    const all =
        rows.length === 1
            ? "The integration is well"
            : halted.length
              ? `No integration is down${also}`
              : `All ${count(rows.length)} integrations are well`;
    const own = data.problems.filter((one) => !one.integrations.length);
    return own.some((one) => one.severity === "error") ? `${all}, but the bridge is not` : all;
}

function banner(app) {
    const { data, unwell, ui } = app;
    const errors = data.problems.some((one) => one.severity === "error");
    const shown = ui.open.has("problems") ? data.problems : data.problems.slice(0, FIRST_PROBLEMS);
    const left = data.problems.length - shown.length;
    const colour = errors ? "bad" : data.problems.length || unwell.size ? "warn" : "good";
    return h(
        "section",
        { key: "banner", class: `banner ${colour}` },
        h("h1", {}, headline(app)),
        data.problems.length > 0 &&
            h(
                "ul",
                { class: "problems" },
                shown.map((problem) =>
                    h(
                        "li",
                        { key: `${problem.kind} ${problem.text}`, class: problem.severity },
                        h(
                            "span",
                            { class: `what ${problem.severity === "error" ? "bad" : "warn"}` },
                            h("span", { "aria-hidden": "true" }, problem.severity === "error" ? "▲ " : "◆ "),
                            foreign(problem.text),
                        ),
                        " ",
                        h("span", { class: "soft" }, problem.since > 0 ? `for ${span(data.at - problem.since)}` : ""),
                        problem.integrations.length > 0 && names(problem, ui),
                    ),
                ),
                left > 0 &&
                    h(
                        "li",
                        { key: "more" },
                        h(
                            "button",
                            { class: "quiet", onclick: () => ui.reveal("problems") },
                            `and ${counted(left, "more problem")}`,
                        ),
                    ),
            ),
    );
}

function names(problem, ui) {
    const link = (name) => h("a", { key: name, href: toIntegration(name) }, foreign(name));
    const key = `problem ${problem.text}`;
    const shown = ui.open.has(key) ? problem.integrations : problem.integrations.slice(0, FIRST_NAMES);
    const left = problem.integrations.length - shown.length;
    return h(
        "span",
        { class: "names" },
        shown.map(link),
        left > 0 && h("button", { class: "quiet", onclick: () => ui.reveal(key) }, `and ${count(left)} more`),
    );
}

function figures(data) {
    const { rates, bridge } = data;
    const { outbox, bus } = bridge;
    const whole = rates.succeeded + rates.failed;
    const lost = [
        bus.rejected && `${count(bus.rejected)} rejected`,
        bus.missing && `${count(bus.missing)} missing`,
        bus.dropped && `${count(bus.dropped)} dropped`,
    ].filter(Boolean);
    const waiting = outbox.pending ? `oldest ${span(outbox.oldest_ms)}` : "nothing waits";
    return h(
        "dl",
        { key: "figures", class: "figures" },
        figure("Operations", rate(whole), "/s", `${rate(rates.failed)}/s failed, ${percent(rates.failed, whole)}`, {
            colour: rates.failed > 0 ? "has-bad" : "",
            chart: operationsChart(data.series, data.at),
        }),
        figure("Latency p50", duration(rates.p50_ms), "", `p95 ${duration(rates.p95_ms)}`),
        figure("Messages in", rate(rates.messages), "/s", "from outside", {
            chart: messagesChart(data.series, data.at),
        }),
        figure("Outbox", count(outbox.pending), "waiting", waiting),
        figure(
            "Dead letters",
            count(outbox.dead_letters),
            "",
            outbox.dead_letters ? "replay or discard them" : "none",
            {
                colour: outbox.dead_letters ? "warn" : "",
            },
        ),
        figure("Bus", rate(data.received), "/s in", [
            `${rate(data.published)}/s out`,
            lost.length > 0 && h("span", { class: "warn" }, `, ${lost.join(", ")}`),
        ]),
    );
}

/** Return the rows that the search and the filters leave, in the wanted order. */
function chosen(app) {
    const { rows, ui } = app;
    const wanted = ui.search.trim().toLowerCase();
    const filter = FILTERS[ui.filter];
    const found = rows.filter(
        (row) =>
            filter.has(row, app) && (!ui.type || row.type === ui.type) && (!wanted || searchable(row).includes(wanted)),
    );
    const column = COLUMNS.find((one) => one.id === ui.sort);
    if (!column) return found;
    const sign = ui.descending ? -1 : 1;
    return found
        .map((row) => [column.of(row), row])
        .sort(([a], [b]) => sign * (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b))
        .map(([, row]) => row);
}

function searchable(row) {
    const error = row.error ? `${row.error.kind} ${row.error.message}` : "";
    return `${row.integration} ${row.type} ${row.status} circuit ${row.circuit} ${error}`.toLowerCase();
}

function list(app, data, rows) {
    const { ui } = app;
    const found = chosen(app);
    const shown = found.slice(0, ui.rows ?? FIRST_ROWS);
    const left = found.length - shown.length;
    const types = [...new Set(rows.map((row) => row.type))].sort();
    const button = ([id, filter]) =>
        h(
            "button",
            { key: id, class: "chip", "aria-pressed": ui.filter === id, onclick: () => ui.set({ filter: id }) },
            filter.name,
            h("span", { class: "soft" }, ` ${count(rows.filter((row) => filter.has(row, app)).length)}`),
        );
    return h(
        "section",
        { key: "integrations", "aria-labelledby": "integrations" },
        h("h2", { id: "integrations" }, "Integrations"),
        h(
            "div",
            { class: "tools" },
            h("input", {
                id: "search",
                type: "search",
                placeholder: "Search names, types, errors",
                "aria-label": "Search integrations by name, type, status or error",
                value: ui.search,
                oninput: (event) => ui.set({ search: event.target.value }),
            }),
            h("div", { class: "chips", role: "group", "aria-label": "Show only" }, Object.entries(FILTERS).map(button)),
            types.length > 1 &&
                h(
                    "select",
                    { "aria-label": "Type", value: ui.type, onchange: (event) => ui.set({ type: event.target.value }) },
                    h("option", { value: "" }, "All types"),
                    types.map((type) => h("option", { key: type, value: type }, printable(type))),
                ),
            h(
                "select",
                {
                    class: "sorting",
                    "aria-label": "Sort by",
                    value: ui.sort,
                    onchange: (event) => ui.set({ sort: event.target.value, descending: false }),
                },
                h("option", { value: "" }, "What is wrong first"),
                COLUMNS.map((column) => h("option", { key: column.id, value: column.id }, column.full ?? column.name)),
            ),
        ),
        h(
            "table",
            { class: "integrations", role: "table", "aria-rowcount": found.length + 1 },
            h("caption", { class: "sr" }, "Integrations"),
            h(
                "thead",
                { role: "rowgroup" },
                h(
                    "tr",
                    { role: "row" },
                    COLUMNS.map((column) => heading(column, ui)),
                ),
            ),
            h(
                "tbody",
                { role: "rowgroup", onkeydown: arrows },
                shown.map((row) => {
                    const since = span(data.at - row.since);
                    const tick = row.series ? Math.floor(data.at / row.series.step_ms) : 0;
                    const unwell = app.unwell.has(row.integration);
                    return memo(row.integration, [row, since, tick, unwell], () => line(row, since, unwell, data.at));
                }),
            ),
        ),
        !found.length &&
            h("p", { class: "soft" }, rows.length ? "No integration fits." : "The configuration has no integration."),
        left > 0 &&
            h(
                "button",
                { class: "more", onclick: () => ui.set({ rows: (ui.rows ?? FIRST_ROWS) + MORE_ROWS }) },
                `Show ${count(Math.min(left, MORE_ROWS))} more of ${count(left)}`,
            ),
        h(
            "p",
            { class: "sr", role: "status" },
            ui.search || ui.filter !== "all" ? counted(found.length, "integration fits", "integrations fit") : "",
        ),
    );
}

function heading(column, ui) {
    const sorted = ui.sort === column.id;
    const order = sorted ? (ui.descending ? "descending" : "ascending") : "none";
    const next = () => {
        if (!sorted) ui.set({ sort: column.id, descending: false });
        else if (!ui.descending) ui.set({ descending: true });
        else ui.set({ sort: "", descending: false });
    };
    return h(
        "th",
        { key: column.id, role: "columnheader", scope: "col", class: column.text ? "" : "number", "aria-sort": order },
        h(
            "button",
            { class: "sort", title: column.full, onclick: next },
            column.full
                ? [h("span", { "aria-hidden": "true" }, column.name), h("span", { class: "sr" }, column.full)]
                : column.name,
            sorted && h("span", { "aria-hidden": "true" }, ui.descending ? " ▾" : " ▴"),
        ),
    );
}

function line(row, since, unwell, now) {
    const number = (id, value, text, colour = "") => {
        const column = COLUMNS.find((one) => one.id === id);
        const kind = value ? colour : "zero";
        return h("td", { role: "cell", class: `number ${kind}`, "data-name": column.name }, text);
    };
    const { rates } = row;
    return h(
        "tr",
        { role: "row", class: unwell ? "unwell" : "" },
        h(
            "th",
            { role: "rowheader", scope: "row" },
            h("a", { href: toIntegration(row.integration) }, foreign(row.integration)),
            " ",
            h("span", { class: "type" }, foreign(row.type)),
        ),
        h(
            "td",
            { role: "cell", class: "status" },
            h(
                "div",
                {},
                state(row.status),
                h("span", { class: "soft" }, ` ${since}`),
                row.circuit !== "closed" && [" ", state(row.circuit, "circuit ")],
                row.unwell > 0 && h("span", { class: "warn" }, ` ${counted(row.unwell, "subscription")} not live`),
                row.warnings > 0 && h("span", { class: "soft" }, ` ${counted(row.warnings, "warning")}`),
            ),
            row.error && h("div", { class: "why" }, errorText(row.error)),
            row.dropped > 0 && h("div", { class: "why" }, `${counted(row.dropped, "message")} from outside dropped`),
        ),
        h("td", { role: "cell", class: "series" }, operationsChart(row.series, now)),
        number("succeeded", rates.succeeded, rate(rates.succeeded)),
        number("failed", rates.failed, rate(rates.failed), "bad"),
        number("p50", rates.p50_ms, duration(rates.p50_ms)),
        number("p95", rates.p95_ms, duration(rates.p95_ms)),
        number("in_flight", row.in_flight, count(row.in_flight)),
        number("queued", row.queued, count(row.queued)),
        number("pending", row.pending, count(row.pending)),
        number("dead_letters", row.dead_letters, count(row.dead_letters), "warn"),
        number("messages", rates.messages, rate(rates.messages)),
    );
}

// Arrow keys go from one integration to the next.
function arrows(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const link = step && event.target.closest("tr")?.[step]?.querySelector("a");
    if (!link) return;
    event.preventDefault();
    link.focus();
}
