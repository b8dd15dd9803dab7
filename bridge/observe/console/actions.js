// What a person may do where the configuration allows it: each action needs the token, and is asked for once more
// where it stops something or cannot be undone.

import { h } from "./dom.js";
import { count, counted } from "./format.js";
import { foreign } from "./parts.js";

const FAULTS = { auth: "Refused" };

/** Show the actions on an integration; nothing where the configuration allows none. */
export function actionsOf(app, data) {
    if (!app.hello?.actions) return null;
    const label = data.row.integration;
    const one = (text, action, ask, done) =>
        h("button", { key: text, onclick: () => perform(app, { do: action, integration: label }, ask, done) }, text);
    const stands = data.row.status === "paused" || data.row.status === "stopped";
    return h(
        "div",
        { class: "actions", role: "group", "aria-label": `Actions on ${label}` },
        stands
            ? one("Resume", "resume", null, () => `${label} works again.`)
            : one(
                  "Pause…",
                  "pause",
                  {
                      title: `Pause ${label}?`,
                      text: "It starts no operation until it is resumed. What runs goes on; new operations wait, as far as its queue has room.",
                      button: "Pause",
                  },
                  () => `${label} is paused.`,
              ),
        one(
            "Drain…",
            "drain",
            {
                title: `Drain ${label}?`,
                text: "It accepts no operation until it is resumed, ends those that it has, and is stopped then.",
                button: "Drain",
            },
            () => `${label} drains.`,
        ),
        data.row.circuit === "closed"
            ? one(
                  "Open circuit…",
                  "circuit.force_open",
                  {
                      title: `Open the circuit of ${label}?`,
                      text: "Its operations are rejected at once until the circuit is reset.",
                      button: "Open circuit",
                  },
                  () => `The circuit of ${label} is open.`,
              )
            : one("Reset circuit", "circuit.reset", null, () => `The circuit of ${label} is closed.`),
    );
}

/** Show what can be done with dead letters: those that are chosen, or all of the integration. */
export function lettersActions(app, data) {
    if (!app.hello?.actions) return null;
    const label = data.row.integration;
    const known = new Set(data.dead_letters.map((one) => one.letter_id));
    const ids = [...app.ui.chosen].filter((id) => known.has(id));
    const all = data.row.dead_letters;
    const which = ids.length ? counted(ids.length, "dead letter") : `all ${counted(all, "dead letter")}`;
    const act = (verb, past, text) =>
        perform(
            app,
            { do: verb, integration: label, ...(ids.length && { ids }) },
            {
                title: `${verb === "replay" ? "Replay" : "Discard"} ${which} of ${label}?`,
                text,
                button: verb === "replay" ? "Replay" : "Discard",
                danger: verb === "discard",
            },
            (result) => {
                app.ui.chosen.clear();
                return `${counted(result?.moved ?? 0, "dead letter")} ${past}.`;
            },
        );
    return h(
        "div",
        { class: "actions", role: "group", "aria-label": "Actions on dead letters" },
        h(
            "button",
            { key: "all", onclick: () => app.ui.chooseAll([...known], ids.length < known.size) },
            ids.length < known.size ? "Choose all shown" : "Choose none",
        ),
        h(
            "button",
            {
                key: "replay",
                onclick: () => act("replay", "replayed", "Each is sent again, with the idempotency key that it had."),
            },
            `Replay ${ids.length ? count(ids.length) : "all"}…`,
        ),
        h(
            "button",
            { key: "discard", onclick: () => act("discard", "discarded", "They are deleted. This cannot be undone.") },
            `Discard ${ids.length ? count(ids.length) : "all"}…`,
        ),
    );
}

/** Read the configuration again: show what would change first, then apply it if the person says so. */
export async function reload(app) {
    try {
        const plan = await attempt(app, { do: "reload", dry_run: true });
        if (!plan) return;
        const nothing = !changes(plan);
        const sure = await app.ask({
            title: "Reload the configuration",
            body: () => planText(plan),
            button: nothing ? null : "Apply",
        });
        if (!sure) return;
        const applied = await attempt(app, { do: "reload" });
        if (applied) app.tell(`Reloaded: ${summary(applied)}.`);
    } catch (error) {
        app.fail(error);
    }
}

// Ask where that is wanted, do it, and tell the person how it ended.
async function perform(app, action, ask, done) {
    if (ask && !(await app.ask({ ...ask, body: () => h("p", {}, ask.text) }))) return;
    try {
        const result = await attempt(app, action);
        if (result !== undefined) app.tell(done(result));
    } catch (error) {
        app.fail(error);
    }
}

// Return the result of an action; undefined where the person gave no token.
async function attempt(app, action) {
    if (!app.token && !(await askToken(app))) return undefined;
    try {
        return (await app.live.act(action, app.token)) ?? {};
    } catch (error) {
        if (error.kind === "auth") app.token = null;
        throw error;
    }
}

/** Ask for the token. It is kept only while the page is open. Return whether there is one. */
export async function askToken(app) {
    const wanted = await app.ask({
        title: "Token for actions",
        body: () => [
            h(
                "p",
                {},
                "The configuration has it: ",
                h("code", {}, "bridge { console { token = … } }"),
                ". It is kept until this page is closed or loaded again.",
            ),
            h(
                "label",
                {},
                "Token",
                h("input", { id: "token", type: "password", autocomplete: "off", autofocus: true, required: true }),
            ),
        ],
        button: "Use it",
        value: () => document.getElementById("token").value,
    });
    if (!wanted) return false;
    app.token = wanted;
    return true;
}

/** Return the words for an error of an action. */
export function errorWords(error) {
    return [`${FAULTS[error.kind] ?? "Not done"}: `, foreign(error.message ?? "no reason was given")];
}

const BLOCKS = [
    ["integration", "integrations"],
    ["route", "routes"],
    ["subscription", "subscriptions"],
    ["fabric", "fabrics"],
];

function changes(plan) {
    const blocks = BLOCKS.reduce(
        (sum, [, name]) =>
            sum + plan[name].added.length + plan[name].removed.length + Object.keys(plan[name].changed).length,
        0,
    );
    return blocks + plan.added.length + plan.removed.length + plan.changed.length + plan.needs_restart.length;
}

function summary(plan) {
    const parts = [
        [plan.added.length, "added"],
        [plan.changed.length, "changed"],
        [plan.removed.length, "removed"],
    ].filter(([number]) => number);
    return parts.length
        ? parts.map(([number, what]) => `${counted(number, "integration")} ${what}`).join(", ")
        : "no integration has changed";
}

function planText(plan) {
    if (!changes(plan)) return h("p", {}, "Nothing would change.");
    const value = (one) =>
        one === "***" ? "a secret" : one === null ? "nothing" : typeof one === "string" ? one : JSON.stringify(one);
    const keys = (changed) =>
        h(
            "ul",
            {},
            Object.entries(changed).map(([key, [before, after]]) =>
                h(
                    "li",
                    { key },
                    h("b", {}, foreign(key)),
                    ": ",
                    before === "***" && after === "***"
                        ? "changed; it is a secret"
                        : [foreign(value(before), 200), " → ", foreign(value(after), 200)],
                ),
            ),
        );
    const lines = BLOCKS.flatMap(([kind, name]) => [
        ...plan[name].added.map((label) =>
            h("li", { key: `+${kind} ${label}`, class: "good" }, `+ ${kind} `, foreign(label)),
        ),
        ...plan[name].removed.map((label) =>
            h("li", { key: `-${kind} ${label}`, class: "bad" }, `− ${kind} `, foreign(label)),
        ),
        ...Object.entries(plan[name].changed).map(([label, changed]) =>
            h("li", { key: `~${kind} ${label}`, class: "warn" }, `~ ${kind} `, foreign(label), keys(changed)),
        ),
    ]);
    const told = new Set(Object.keys(plan.integrations.changed));
    const files = plan.changed.filter((label) => !told.has(label));
    const stranded = Object.entries(plan.stranded);
    return [
        h("ul", { class: "plan" }, lines),
        files.length > 0 &&
            h("p", {}, "These change, too, for their subscriptions, fabric or files: ", foreign(files.join(", "))),
        plan.needs_restart.length > 0 &&
            h("p", { class: "warn" }, `Only at the next start: ${plan.needs_restart.join(", ")}.`),
        ...Object.entries(plan.settings).map(([block, changed]) =>
            h("div", { key: block }, h("b", {}, block), keys(changed)),
        ),
        stranded.length > 0 &&
            h(
                "p",
                { class: "bad" },
                "The outbox has events for integrations that would be gone: ",
                stranded.map(([label, number]) => `${label} ${count(number)}`).join(", "),
                ". They stay there until an integration of that name is back.",
            ),
    ];
}
