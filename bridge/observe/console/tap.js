// The tap: events of the bus as they come, one opened as a tree, and all that belongs to one `correlation_id`.

import { h, memo } from "./dom.js";
import { clock, count, counted, duration, printable, size } from "./format.js";
import { foreign, toCorrelation, tree } from "./parts.js";

const MOST_SHOWN = 500;
const MOST_WAITING = 2000;
const MOST_SUMMARY = 200;
const PRESETS = [
    ["Everything", "**"],
    ["Commands", "integration.**"],
    ["Responses", "response.**"],
    ["Messages", "message.**"],
    ["Resilience", "resilience.**"],
];
// The first segment of a type tells who speaks (bus contract).
const FAMILIES = {
    integration: "command",
    bridge: "command",
    response: "response",
    message: "message",
    health: "health",
    resilience: "resilience",
    receipt: "receipt",
};

export class Tap {
    constructor() {
        this.patterns = [];
        this.follow = null;
        this.clear();
        this.paused = false;
        this.number = 0;
    }

    clear() {
        this.events = [];
        this.waiting = [];
        this.skipped = 0;
        this.open = new Set();
    }

    /** Show these patterns from now on, or one `correlation_id`, with what is known of it already. */
    aim(patterns, follow) {
        if (follow !== this.follow || patterns.join(" ") !== this.patterns.join(" ")) {
            const known =
                follow === null ? [] : [...this.events, ...this.waiting].filter((one) => one.correlation_id === follow);
            this.clear();
            this.events = known;
            this.paused = false;
        }
        this.patterns = patterns;
        this.follow = follow;
        return { view: "tap", patterns, correlation_id: follow };
    }

    /** Take a frame of events. */
    add(frame) {
        this.skipped += frame.skipped;
        const fresh = frame.events.map((event) => ({ ...event, number: ++this.number }));
        if (this.paused) this.waiting = [...this.waiting, ...fresh].slice(-MOST_WAITING);
        else this.show(fresh);
    }

    show(events) {
        this.events = [...this.events, ...events].slice(-MOST_SHOWN);
    }

    pause(wanted) {
        this.paused = wanted;
        if (wanted) return;
        this.show(this.waiting);
        this.waiting = [];
    }
}

/** Show the tap. */
export function tap(app) {
    const { tap: one, draw } = app;
    const pause = () => {
        one.pause(!one.paused);
        draw();
    };
    return [
        h("h1", { key: "title" }, one.follow === null ? "Tap" : "Follow one correlation id"),
        one.follow === null ? choose(one) : following(one),
        h(
            "div",
            { key: "tools", class: "tools" },
            h(
                "button",
                { id: "pause", "aria-pressed": one.paused, onclick: pause },
                one.paused ? `Go on (${counted(one.waiting.length, "new event")})` : "Pause",
            ),
            h("button", { onclick: () => (one.clear(), draw()) }, "Clear"),
            h(
                "span",
                { class: "soft" },
                `${counted(one.events.length, "event")}${one.events.length === MOST_SHOWN ? ", the last ones" : ""}`,
            ),
            one.skipped > 0 &&
                h(
                    "span",
                    { class: "warn" },
                    `${count(one.skipped)} more were not shown: more came than a person can read`,
                ),
        ),
        app.problem && h("p", { key: "problem", class: "bad" }, foreign(app.problem)),
        h(
            "ol",
            { key: "events", id: "events", class: "events", tabindex: "0", "aria-label": "Events, the newest last" },
            one.events.map((event, at) => {
                const before = one.follow === null || at === 0 ? null : event.at - one.events[0].at;
                return memo(event.number, [one.open.has(event.number), before, one.follow], () =>
                    line(event, before, one, draw),
                );
            }),
        ),
        !one.events.length &&
            !app.problem &&
            h(
                "p",
                { key: "none", class: "soft waiting" },
                one.paused ? "Nothing was shown before the pause." : "Waiting for events…",
            ),
    ];
}

function choose(one) {
    const go = (text) => {
        location.hash = `#/tap?patterns=${encodeURIComponent(text.trim() || "**")}`;
    };
    const now = one.patterns.join(" ");
    return h(
        "form",
        {
            key: "patterns",
            class: "tools",
            onsubmit: (event) => {
                event.preventDefault();
                go(document.getElementById("patterns").value);
            },
        },
        h("input", {
            key: now,
            id: "patterns",
            type: "search",
            value: now,
            spellcheck: "false",
            autocapitalize: "off",
            "aria-label": "Patterns of event types, with spaces between them",
            placeholder: "order.* resilience.**",
        }),
        h("button", {}, "Show"),
        h(
            "div",
            { class: "chips", role: "group", "aria-label": "Usual patterns" },
            PRESETS.map(([name, pattern]) =>
                h(
                    "button",
                    {
                        key: name,
                        type: "button",
                        class: "chip",
                        "aria-pressed": now === pattern,
                        onclick: () => go(pattern),
                    },
                    name,
                ),
            ),
        ),
        h("span", { class: "soft hint" }, "* is one segment, ** any number; a type is itself"),
    );
}

function following(one) {
    const [first, last] = [one.events[0], one.events.at(-1)];
    return h(
        "p",
        { key: "follow", class: "follow" },
        h("code", {}, foreign(one.follow)),
        first &&
            last !== first &&
            h("span", { class: "soft" }, ` ${counted(one.events.length, "event")} in ${duration(last.at - first.at)}`),
        " ",
        h("a", { href: "#/tap" }, "show all again"),
    );
}

function line(event, after, one, draw) {
    const open = one.open.has(event.number);
    const kind = FAMILIES[event.event_type.split(".")[0]] ?? "plain";
    const family = kind === "response" && event.payload?.ok === false ? "response not-ok" : kind;
    const toggle = () => {
        if (!one.open.delete(event.number)) one.open.add(event.number);
        draw();
    };
    return h(
        "li",
        { class: `event ${family}` },
        h(
            "button",
            { class: "head", "aria-expanded": open, onclick: toggle },
            h("time", {}, after === null ? clock(event.at, { millis: true }) : `+ ${duration(after)}`),
            h("span", { class: "kind" }, foreign(event.event_type)),
            h("span", { class: "soft source" }, foreign(event.source ?? "")),
            h("span", { class: "summary" }, summary(event)),
        ),
        event.correlation_id !== null &&
            one.follow === null &&
            h(
                "a",
                {
                    class: "chip",
                    href: toCorrelation(event.correlation_id),
                    "aria-label": `follow ${printable(event.correlation_id)}`,
                },
                foreign(event.correlation_id, 24),
            ),
        open &&
            h(
                "div",
                { class: "inside" },
                event.cut
                    ? event.payload === null
                        ? h("p", { class: "warn" }, `Its payload of ${size(event.bytes)} is too large to be shown.`)
                        : [
                              h("p", { class: "warn" }, `The beginning of ${size(event.bytes)}:`),
                              h("pre", {}, foreign(event.payload, 8192)),
                          ]
                    : tree(event.payload),
                h(
                    "dl",
                    { class: "facts" },
                    [
                        ["number", event.id],
                        ["source", event.source ?? "unnamed"],
                        ["correlation id", event.correlation_id],
                        ["size", size(event.bytes)],
                        ...Object.entries(event.headers ?? {}),
                    ]
                        .filter(([, value]) => value !== null)
                        .map(([name, value], at) =>
                            h("div", { key: at }, h("dt", {}, foreign(name, 100)), h("dd", {}, foreign(value))),
                        ),
                ),
            ),
    );
}

function summary(event) {
    if (event.cut && event.payload === null) return size(event.bytes);
    const text = event.cut ? event.payload : JSON.stringify(event.payload);
    return foreign(text.length > MOST_SUMMARY ? `${text.slice(0, MOST_SUMMARY)}…` : text);
}
