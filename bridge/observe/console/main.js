// Keeps what the bridge has told, shows the view that the address names, and draws it again when something changes.

import { askToken, errorWords, reload } from "./actions.js";
import { h, render } from "./dom.js";
import { fleet } from "./fleet.js";
import { flows } from "./flows.js";
import { clock, count } from "./format.js";
import { integration } from "./integration.js";
import { Live } from "./live.js";
import { headline, overview } from "./overview.js";
import { foreign, isUnwell, state } from "./parts.js";
import { Tap, tap } from "./tap.js";

const TOLD_MS = 8000;
const KEYS_OFF = "nemo-bridge: no single keys";

const ui = {
    search: "",
    filter: "all",
    type: "",
    sort: "",
    descending: false,
    rows: null,
    open: new Set(),
    chosen: new Set(),
    set(changes) {
        if (!("rows" in changes)) ui.rows = null;
        Object.assign(ui, changes);
        draw();
    },
    reveal(key) {
        ui.open.add(key);
        draw();
    },
    choose(id, wanted) {
        if (wanted) ui.chosen.add(id);
        else ui.chosen.delete(id);
        draw();
    },
    chooseAll(ids, wanted) {
        ui.chosen.clear();
        if (wanted) for (const id of ids) ui.chosen.add(id);
        draw();
    },
};

const app = {
    ui,
    draw,
    ask,
    tell: (text) => announce([text], ""),
    fail: (error) => announce(errorWords(error), "bad"),
    hello: null,
    data: null,
    rows: [],
    unwell: new Set(),
    inspection: null,
    fleet: null,
    fleetAt: 0,
    problem: null,
    tap: new Tap(),
    token: null,
    route: { view: "overview" },
    dialog: null,
    told: [],
};
app.live = new Live(take, draw);

// --- what the bridge tells

function take(frame) {
    if (frame.type === "hello") {
        // A page of an older version does not fit what a newer bridge says.
        if (app.hello && app.hello.version !== frame.version) location.reload();
        app.hello = frame;
    } else if (frame.type === "overview") {
        takeOverview(frame);
    } else if (frame.type === "integration") {
        if (frame.data.row.integration === app.route.integration) app.inspection = frame.data;
        app.problem = null;
    } else if (frame.type === "fleet") {
        app.fleet = frame.data;
        app.fleetAt = frame.at;
        app.problem = null;
    } else if (frame.type === "tap") {
        app.tap.add(frame);
        app.problem = null;
    } else if (frame.type === "error") {
        app.problem = frame.message;
    }
    draw();
}

// A frame that is not full has only what has changed; `order` has all labels where their order is another one.
function takeOverview({ full, data, order }) {
    if (full) app.data = data;
    else if (app.data) app.data = merged(data, order);
    else return;
    app.rows = app.data.integrations;
    // What a problem says of a connected integration, for example that most operations fail, counts as well.
    const wrong = app.data.problems.filter((one) => one.severity === "error").flatMap((one) => one.integrations);
    app.unwell = new Set([...wrong, ...app.rows.filter(isUnwell).map((row) => row.integration)]);
}

function merged(data, order) {
    const fresh = new Map(data.integrations.map((row) => [row.integration, row]));
    const known = new Map(app.rows.map((row) => [row.integration, row]));
    for (const [label, row] of fresh) known.set(label, row);
    const labels = order ?? app.rows.map((row) => row.integration);
    const joined = (name, key) => {
        const changed = new Map(data[name].map((one) => [key(one), one]));
        return app.data[name].map((one) => changed.get(key(one)) ?? one);
    };
    return {
        ...data,
        integrations: labels.map((label) => known.get(label)).filter(Boolean),
        routes: joined("routes", (one) => one.route),
        subscriptions: joined("subscriptions", (one) => `${one.integration} ${one.subscription}`),
    };
}

// --- where the person is

function parse() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [view, ...rest] = path.split("/");
    const wanted = new URLSearchParams(query);
    if (view === "integration") return { view, integration: decoded(rest.join("/")) };
    if (view === "tap") {
        const follow = wanted.get("follow");
        const patterns = (wanted.get("patterns") ?? "").split(/[\s,]+/).filter(Boolean);
        return { view, follow, patterns: follow !== null || !patterns.length ? ["**"] : patterns };
    }
    return { view: ["flows", "fleet"].includes(view) ? view : "overview" };
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

function go() {
    app.route = parse();
    app.problem = null;
    const { view } = app.route;
    if (view === "integration") {
        if (app.inspection?.row.integration !== app.route.integration) {
            app.inspection = null;
            ui.chosen.clear();
        }
        app.live.watch({ view, integration: app.route.integration });
    } else if (view === "tap") {
        app.live.watch(app.tap.aim(app.route.patterns, app.route.follow));
    } else if (view === "fleet") {
        app.live.watch({ view });
    } else {
        app.live.watch({ view: "overview" });
    }
}

// --- what is shown

let due = false;
let lastEvent = 0;

function draw() {
    if (due) return;
    due = true;
    // A hidden page is not drawn by frames, but its title is seen.
    if (document.hidden) setTimeout(paint, 1000);
    else requestAnimationFrame(paint);
}

function paint() {
    due = false;
    const events = document.getElementById("events");
    const atEnd = !events || events.scrollHeight - events.scrollTop - events.clientHeight < 40;
    render(document.getElementById("bar"), bar());
    render(document.getElementById("main"), main());
    render(document.getElementById("told"), told());
    render(document.getElementById("said"), app.data && app.route.view === "overview" ? headline(app) : "");
    const list = document.getElementById("events");
    if (list && atEnd && app.tap.number !== lastEvent) list.scrollTop = list.scrollHeight;
    lastEvent = app.tap.number;
    document.title = title();
    document.body.classList.toggle("stale", app.live.lostAt !== null);
}

function main() {
    const { view } = app.route;
    if (view === "integration") return h("div", { key: `integration ${app.route.integration}` }, integration(app));
    if (view === "tap") return h("div", { key: "tap" }, tap(app));
    if (view === "fleet") return h("div", { key: "fleet" }, fleet(app));
    if (view === "flows") return h("div", { key: "flows" }, flowsPage());
    return h("div", { key: "overview" }, overview(app));
}

/** Tell whether the bridge is in a fabric, as far as is known: the overview is newer than the greeting. */
function hasFabrics() {
    return app.data ? Boolean(app.data.fabrics?.length) : Boolean(app.hello?.fabrics);
}

function flowsPage() {
    if (!app.data) return h("p", { class: "soft waiting" }, "Waiting for the bridge…");
    return [
        h("h1", {}, "Flows"),
        h(
            "p",
            { class: "soft" },
            "What comes from outside to the bus, and what goes from the bus to the outside. What is not well is first, then what is busy.",
        ),
        flows(app.data, app, { most: 200, wires: 100, heading: "h2" }),
    ];
}

function bar() {
    const { hello, live, route } = app;
    const link = (view, text, href) =>
        h("a", { key: view, href, "aria-current": route.view === view ? "page" : undefined }, text);
    const bridge = app.data?.bridge;
    return [
        live.lostAt !== null &&
            h(
                "p",
                { key: "lost", class: "lost", role: "alert" },
                `▲ No answer from the bridge since ${clock(live.lostAt)}. What is shown is from before.`,
            ),
        h(
            "div",
            { key: "bar", class: "inner" },
            h("a", { class: "brand", href: "#/" }, foreign(hello?.name ?? "nemo-bridge", 40)),
            bridge && route.view === "overview" && state(bridge.status),
            h(
                "nav",
                { "aria-label": "Views" },
                link("overview", "Overview", "#/"),
                link("flows", "Flows", "#/flows"),
                hello?.tap !== false && link("tap", "Tap", "#/tap"),
                (hasFabrics() || route.view === "fleet") && link("fleet", "Fleet", "#/fleet"),
            ),
            h("span", { class: "room" }),
            hello?.actions && h("button", { key: "reload", onclick: () => reload(app) }, "Reload…"),
            hello?.actions &&
                h(
                    "button",
                    { key: "token", onclick: () => (app.token ? forget() : askToken(app)) },
                    app.token ? "Forget token" : "Token…",
                ),
            h("button", { key: "help", "aria-label": "Help", onclick: help }, "?"),
        ),
    ];
}

function title() {
    const name = app.hello?.name ?? "nemo-bridge";
    if (app.live.lostAt !== null) return `▲ no answer · ${name}`;
    if (app.route.view === "integration")
        return `${app.inspection && isUnwell(app.inspection.row) ? "▲ " : ""}${app.route.integration} · ${name}`;
    if (app.route.view !== "overview" || !app.data) return `${app.route.view} · ${name}`;
    const unwell = app.unwell.size;
    if (unwell) return `▲ ${count(unwell)} not well · ${name}`;
    return `${app.data.problems.length ? "▲" : "●"} ${name}`;
}

// --- what the person is told and asked

function announce(text, colour) {
    const one = { text, colour, key: Math.random() };
    app.told = [...app.told.slice(-2), one];
    if (!colour) setTimeout(() => dismiss(one), TOLD_MS);
    draw();
}

function dismiss(one) {
    app.told = app.told.filter((other) => other !== one);
    draw();
}

function told() {
    return app.told.map((one) =>
        h(
            "div",
            { key: one.key, class: `told ${one.colour}`, role: one.colour ? "alert" : "status" },
            h("span", {}, one.text),
            h("button", { "aria-label": "Close", onclick: () => dismiss(one) }, "×"),
        ),
    );
}

/** Ask in a dialog. Resolve with what `value` returns, else true; false where the person does not want it. */
function ask({ title, body, button, danger = false, value = () => true, cancel = button ? "Cancel" : "Close" }) {
    const dialog = document.getElementById("dialog");
    return new Promise((resolve) => {
        let answer = false;
        dialog.onclose = () => {
            render(dialog);
            resolve(answer);
        };
        const submit = (event) => {
            event.preventDefault();
            answer = button ? value() : false;
            dialog.close();
        };
        render(
            dialog,
            h(
                "form",
                { onsubmit: submit },
                h("h2", { id: "dialog-title" }, foreign(title)),
                h("div", { class: "body" }, body()),
                h(
                    "div",
                    { class: "actions" },
                    h("button", { type: "button", onclick: () => dialog.close() }, cancel),
                    button && h("button", { class: danger ? "danger" : "main" }, button),
                ),
            ),
        );
        dialog.showModal();
    });
}

function forget() {
    app.token = null;
    app.tell("The token is forgotten.");
}

function help() {
    const key = (name, text) => h("div", { key: name }, h("dt", {}, h("kbd", {}, name)), h("dd", {}, text));
    const off = localStorage.getItem(KEYS_OFF) !== null;
    const { hello } = app;
    ask({
        title: "Help",
        body: () => [
            h(
                "dl",
                { class: "facts" },
                key("/", "search"),
                hasFabrics() ? key("1 2 3 4", "overview, flows, tap, fleet") : key("1 2 3", "overview, flows, tap"),
                key("p", "pause the tap, and let it go on"),
                key("↑ ↓", "from one integration to the next"),
                key("?", "this help"),
            ),
            h(
                "label",
                { class: "check" },
                h("input", {
                    type: "checkbox",
                    checked: !off,
                    onchange: (event) =>
                        event.target.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1"),
                }),
                "single keys work",
            ),
            h(
                "p",
                {},
                "For programs: ",
                h("a", { href: "/metrics" }, "/metrics"),
                " ",
                h("a", { href: "/readyz" }, "/readyz"),
                " ",
                h("a", { href: "/livez" }, "/livez"),
                ". In a terminal: ",
                h("code", {}, "nemo-bridge top"),
                ".",
            ),
            !hello?.actions &&
                h(
                    "p",
                    { class: "soft" },
                    "This page can change nothing. ",
                    h("code", {}, "bridge { console { actions = true } }"),
                    " with a token allows it.",
                ),
            hello && h("p", { class: "soft" }, `nemo-bridge ${hello.version}`),
        ],
    });
}

document.onkeydown = (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem(KEYS_OFF) !== null) return;
    const field = () => document.getElementById(app.route.view === "tap" ? "patterns" : "search");
    const act = {
        "/": () => field()?.focus(),
        1: () => (location.hash = "#/"),
        2: () => (location.hash = "#/flows"),
        3: () => (location.hash = "#/tap"),
        4: hasFabrics() ? () => (location.hash = "#/fleet") : undefined,
        p: () => document.getElementById("pause")?.click(),
        "?": help,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
};

window.onhashchange = () => {
    go();
    paint();
    window.scrollTo(0, 0);
    document.getElementById("main").focus({ preventScroll: true });
};
document.onvisibilitychange = draw;
// The address names the view, so a link to a place in the page would lead elsewhere.
document.getElementById("skip").onclick = (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
};
go();
draw();
