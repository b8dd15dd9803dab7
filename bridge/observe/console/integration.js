// All that is known of one integration.

import { attemptsLine, circuitLine, histogram, largeChart } from "./charts.js";
import { actionsOf, lettersActions } from "./actions.js";
import { h, memo } from "./dom.js";
import { clock, count, counted, duration, percent, rate, span } from "./format.js";
import { errorText, figure, foreign, state, table, toCorrelation, tree } from "./parts.js";

const FIRST_FAILURES = 10;

/** Show one integration. */
export function integration(app) {
    const data = app.inspection;
    const label = app.route.integration;
    const back = h("p", { key: "back", class: "back" }, h("a", { href: "#/" }, "← all integrations"));
    if (app.problem) return [back, h("h1", {}, foreign(label)), h("p", { class: "bad" }, foreign(app.problem))];
    if (!data) return [back, h("h1", {}, foreign(label)), h("p", { class: "soft waiting" }, "Waiting for the bridge…")];
    return [
        back,
        head(app, data),
        trouble(data),
        figures(data),
        h("section", { key: "chart" }, largeChart(data.row.series, data.at)),
        circuit(app, data),
        failures(app, data),
        letters(app, data),
        latency(data),
        routes(data),
        subscriptions(data),
        h(
            "section",
            { key: "configuration" },
            h("h2", {}, "Configuration"),
            memo("tree", [JSON.stringify(data.configuration)], () =>
                h("div", { class: "card" }, tree(data.configuration, 0, 3)),
            ),
        ),
    ];
}

function head(app, data) {
    const { row, health } = data;
    return h(
        "header",
        { key: "head", class: "title" },
        h("h1", {}, foreign(row.integration), " ", h("span", { class: "type" }, foreign(row.type))),
        h(
            "p",
            { class: "states" },
            state(row.status),
            h(
                "span",
                { class: "soft" },
                ` for ${span(data.at - row.since)}${health.previous ? `, before that ${health.previous}` : ""} `,
            ),
            state(row.circuit, "circuit "),
        ),
        actionsOf(app, data),
    );
}

function trouble(data) {
    const { row, health } = data;
    const lines = [
        row.error && h("li", { key: "error", class: "bad" }, errorText(row.error)),
        ...Object.entries(health.subscriptions).map(([name, one]) =>
            h(
                "li",
                { key: `s ${name}`, class: "bad" },
                "subscription ",
                h("b", {}, foreign(name)),
                ` ${one.status}`,
                one.error && [": ", errorText(one.error)],
            ),
        ),
        health.dropped > 0 &&
            h(
                "li",
                { key: "dropped", class: "bad" },
                `${counted(health.dropped, "message")} from outside could not become an event`,
            ),
        ...health.warnings.map((text, at) => h("li", { key: `w ${at}`, class: "warn" }, foreign(text))),
    ].filter(Boolean);
    return lines.length > 0 && h("ul", { key: "trouble", class: "trouble" }, lines);
}

function figures(data) {
    const { row, health } = data;
    const { rates } = row;
    const sums = health.accounting;
    const whole = rates.succeeded + rates.failed;
    const ended = sums.accepted - sums.in_flight - sums.queued;
    const kinds = Object.entries(data.failures).sort(([, a], [, b]) => b - a);
    return [
        h(
            "dl",
            { key: "figures", class: "figures" },
            figure("Operations", rate(whole), "/s", `${rate(rates.failed)}/s failed, ${percent(rates.failed, whole)}`, {
                colour: rates.failed > 0 ? "has-bad" : "",
            }),
            figure("Latency p50", duration(rates.p50_ms), "", `p95 ${duration(rates.p95_ms)}`),
            figure("In flight", count(row.in_flight), "", `${count(row.queued)} queued`),
            figure("Outbox", count(row.pending), "waiting", counted(row.dead_letters, "dead letter"), {
                colour: row.dead_letters ? "has-warn" : "",
            }),
            figure("Messages in", rate(rates.messages), "/s", `${count(health.messages)} since the start`),
            figure("Health check", duration(health.latency_ms), "", counted(health.reconnects, "reconnection")),
        ),
        h(
            "p",
            { key: "sums", class: "sums" },
            `Since the start: ${count(ended)} ended, of these `,
            h("b", {}, `${count(sums.succeeded)} succeeded`),
            `, ${count(sums.failed)} failed, ${count(sums.shed)} shed, ${count(sums.expired)} expired, ${count(sums.dead_lettered)} dead-lettered. `,
            `${counted(data.attempts, "attempt")}, ${count(data.retries)} of them retries.`,
            kinds.length > 0 && [
                " Failed by kind: ",
                kinds.map(([kind, number]) => `${kind} ${count(number)}`).join(", "),
                ".",
            ],
        ),
    ];
}

function failures(app, data) {
    const key = `failures ${data.row.integration}`;
    const shown = app.ui.open.has(key) ? data.failed : data.failed.slice(0, FIRST_FAILURES);
    const left = data.failed.length - shown.length;
    return h(
        "section",
        { key: "failures" },
        h(
            "h2",
            {},
            "Failures ",
            h("span", { class: "soft" }, data.failed.length ? `the last ${data.failed.length}` : ""),
        ),
        !data.failed.length && h("p", { class: "soft" }, "No operation has failed after an attempt."),
        h(
            "div",
            { class: "failures" },
            shown.map((one) =>
                memo(
                    `${one.at} ${one.cause.source} ${one.cause.id} ${one.operation} ${one.route}`,
                    [`${one.at}`, span(data.at - one.at)],
                    () => failure(one, data.at),
                ),
            ),
        ),
        left > 0 && h("button", { class: "more", onclick: () => app.ui.reveal(key) }, `Show ${count(left)} more`),
    );
}

function failure(one, now) {
    return h(
        "details",
        { class: "failure" },
        h(
            "summary",
            {},
            h("time", {}, clock(one.at)),
            h("span", { class: "soft ago" }, `${span(now - one.at)} ago`),
            h("span", { class: "what" }, foreign(one.route ?? one.operation)),
            h("span", { class: "why" }, errorText(one.error)),
            h("span", { class: "soft tries" }, `${counted(one.attempts, "attempt")}, ${duration(one.duration_ms)}`),
        ),
        h(
            "div",
            { class: "inside" },
            one.history.length > 0 && attemptsLine(one.history, one.at),
            one.history.length > 0 && attemptsTable(one.history, one.attempts),
            h(
                "dl",
                { class: "facts" },
                fact("operation", `${one.operation}${one.durable ? ", from the outbox" : ""}`),
                fact("route", one.route ?? "none: a command"),
                fact("caused by", [
                    foreign(one.cause.event_type),
                    " from ",
                    foreign(one.cause.source ?? "an unnamed program"),
                    `, number ${one.cause.id}`,
                ]),
                one.correlation_id !== null &&
                    fact("correlation id", [
                        foreign(one.correlation_id),
                        " ",
                        h("a", { href: toCorrelation(one.correlation_id) }, "follow in the tap"),
                    ]),
                one.traceparent !== null && fact("trace", foreign(one.traceparent)),
            ),
        ),
    );
}

function attemptsTable(history, attempts) {
    const begin = history[0].at;
    const left = attempts - history.length;
    return [
        table(
            "Attempts",
            ["attempt", "began", "#took", "error"],
            history.map((one, at) => ({
                key: at,
                cells: [
                    at < history.length / 2 || left <= 0 ? at + 1 : attempts - history.length + at + 1,
                    at === 0 ? clock(one.at, { millis: true }) : `+ ${duration(one.at - begin)}`,
                    duration(one.duration_ms),
                    errorText(one.error),
                ],
            })),
        ),
        left > 0 && h("p", { class: "soft" }, `${counted(left, "attempt")} between them are not kept.`),
    ];
}

function fact(name, value) {
    return h("div", {}, h("dt", {}, name), h("dd", {}, typeof value === "string" ? foreign(value) : value));
}

function circuit(app, data) {
    const began = data.at - (app.data?.bridge.uptime_ms ?? 86_400_000);
    return h(
        "section",
        { key: "circuit" },
        h("h2", {}, "Circuit"),
        circuitLine(data.circuit, data.row.circuit, data.at, began),
        data.circuit.length > 0 &&
            h(
                "details",
                {},
                h("summary", {}, counted(data.circuit.length, "change")),
                table(
                    "Changes of the circuit",
                    ["when", "circuit", "because of"],
                    data.circuit.map((one, at) => ({
                        key: data.circuit.length - at,
                        cells: [
                            clock(one.at, { millis: true }),
                            state(one.state),
                            one.error ? errorText(one.error) : one.state === "open" ? "a command" : "",
                        ],
                    })),
                ),
            ),
    );
}

/** Show a section: its heading, and what there is, or `nothing` where there is none. */
function listed(key, title, rows, shown, nothing) {
    return h(
        "section",
        { key },
        h("h2", {}, title),
        rows.length ? shown(rows) : h("p", { class: "soft" }, nothing),
    );
}

function latency(data) {
    const found = Object.entries(data.durations)
        .map(([name, buckets]) => histogram(name, buckets))
        .filter(Boolean);
    return listed(
        "latency",
        "Durations",
        found,
        (all) => h("div", { class: "histograms" }, all),
        "No operation has had an attempt.",
    );
}

function routes(data) {
    return listed(
        "routes",
        "Routes",
        data.routes,
        (all) =>
            table(
                "Routes",
                ["route", "on", "operation", "#a second", "#succeeded", "#failed"],
                all.map((one) => ({
                    key: one.route,
                    cells: [
                        foreign(one.route),
                        foreign(one.on.join(", ")),
                        [one.operation, one.durable && h("span", { class: "soft" }, " durable")],
                        rate(one.rate),
                        count(one.succeeded),
                        h("span", { class: one.failed ? "bad" : "soft" }, count(one.failed)),
                    ],
                })),
            ),
        "None: only commands use it.",
    );
}

function subscriptions(data) {
    return listed(
        "subscriptions",
        "Subscriptions",
        data.subscriptions,
        (all) =>
            table(
                "Subscriptions",
                ["subscription", "topic or queue", "emits", "status", "asked by", "#messages"],
                all.map((one) => {
                    const trouble = data.health.subscriptions[one.subscription];
                    return {
                        key: one.subscription,
                        cells: [
                            foreign(one.subscription),
                            [foreign(one.topic), one.queue && h("span", { class: "soft" }, " queue")],
                            foreign(one.emit ?? `message.${data.row.integration}`),
                            trouble
                                ? state(trouble.status)
                                : data.row.status === "connected" || data.row.status === "degraded"
                                  ? state("live")
                                  : state(data.row.status),
                            one.asked
                                ? [
                                      foreign(one.asked.source ?? "an unnamed program"),
                                      h("span", { class: "soft" }, ` ${clock(one.asked.timestamp)}`),
                                  ]
                                : "the configuration",
                            count(one.messages),
                        ],
                    };
                }),
            ),
        "None.",
    );
}

function letters(app, data) {
    const total = data.row.dead_letters;
    const all = data.dead_letters;
    return h(
        "section",
        { key: "letters" },
        h(
            "h2",
            {},
            "Dead letters ",
            h(
                "span",
                { class: "soft" },
                total > all.length ? `the oldest ${all.length} of ${count(total)}` : all.length || "",
            ),
        ),
        !all.length && h("p", { class: "soft" }, total ? "They could not be read." : "None."),
        all.length > 0 && lettersActions(app, data),
        h(
            "div",
            { class: "failures" },
            all.map((one) => letter(app, one, data.at)),
        ),
    );
}

function letter(app, one, now) {
    return h(
        "div",
        { key: one.letter_id, class: "letter" },
        app.hello?.actions &&
            h("input", {
                type: "checkbox",
                "aria-label": `choose dead letter ${one.letter_id}`,
                checked: app.ui.chosen.has(one.letter_id),
                onchange: (event) => app.ui.choose(one.letter_id, event.target.checked),
            }),
        memo("letter", [span(now - one.at)], () =>
            h(
                "details",
                { class: "failure" },
                h(
                    "summary",
                    {},
                    h("time", {}, clock(one.at)),
                    h("span", { class: "soft ago" }, `${span(now - one.at)} ago`),
                    h("span", { class: "what" }, foreign(one.route)),
                    h("span", { class: "why" }, errorText(one.error)),
                    h("span", { class: "soft tries" }, counted(one.attempts, "attempt")),
                ),
                h(
                    "div",
                    { class: "inside" },
                    one.unknown &&
                        h(
                            "p",
                            { class: "warn" },
                            "The remote may have acted on it: it has not answered, and the call must not be repeated.",
                        ),
                    one.history.length > 0 && attemptsLine(one.history, one.at),
                    one.history.length > 0 && attemptsTable(one.history, one.attempts),
                    h(
                        "dl",
                        { class: "facts" },
                        fact("dead letter", one.letter_id),
                        fact("event", [
                            foreign(one.event.event_type),
                            " from ",
                            foreign(one.event.source ?? "an unnamed program"),
                            `, ${clock(one.event.timestamp)}`,
                        ]),
                        fact("operation", one.operation),
                        fact("idempotency key", one.idempotency_key),
                        one.event.correlation_id !== null &&
                            fact("correlation id", [
                                foreign(one.event.correlation_id),
                                " ",
                                h("a", { href: toCorrelation(one.event.correlation_id) }, "follow in the tap"),
                            ]),
                    ),
                    one.cut
                        ? h("p", { class: "soft" }, "Its payload is too large to be shown here.")
                        : h("div", {}, tree(one.event.payload)),
                ),
            ),
        ),
    );
}
