// Draws series, histograms and time lines as SVG and HTML.

import { h } from "./dom.js";
import { clock, count, duration, rate, short, span } from "./format.js";
import { STATES } from "./parts.js";

/** Return what happened a second in each step; the last step may not be over at `now`. */
export function rates(series, name, now) {
    const last = series[name].length - 1;
    const elapsed = Math.min(series.step_ms, Math.max(2000, now - series.at));
    return series[name].map((number, at) => (1000 * number) / (at === last ? elapsed : series.step_ms));
}

/** Draw operations of the last minutes: what succeeded, and in red above it what failed. */
export function operationsChart(series, now) {
    if (!series) return chart([], [], "no operation in 15 minutes");
    const good = rates(series, "succeeded", now);
    const bad = rates(series, "failed", now);
    const all = good.map((number, at) => number + bad[at]);
    const text = `15 minutes: at most ${rate(Math.max(0, ...all))} operations a second, ${rate(Math.max(0, ...bad))} failed`;
    return chart(all, good, text);
}

/** Draw messages of the last minutes. */
export function messagesChart(series, now) {
    const all = series ? rates(series, "messages", now) : [];
    return chart(all, all, `15 minutes: at most ${rate(Math.max(0, ...all))} messages a second`);
}

function chart(upper, lower, text) {
    const most = Math.max(...upper, 0);
    const width = Math.max(upper.length, 1);
    const shape = (values) => {
        let path = "M0 20";
        values.forEach((number, at) => {
            path += `V${(20 - (19 * number) / most).toFixed(2)}H${at + 1}`;
        });
        return `${path}V20Z`;
    };
    return h(
        "svg",
        { class: "spark", viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", role: "img", "aria-label": text },
        most > 0 && upper !== lower && h("path", { class: "failed", d: shape(upper) }),
        most > 0 && h("path", { class: "succeeded", d: shape(lower) }),
        h("path", { class: "ground", d: `M0 20H${width}` }),
    );
}

/** Draw the operations of 15 minutes, large, with the highest rate and the times. */
export function largeChart(series, now) {
    if (!series) return h("p", { class: "soft" }, "No operation and no message in the last 15 minutes.");
    const good = rates(series, "succeeded", now);
    const bad = rates(series, "failed", now);
    const most = Math.max(...good.map((number, at) => number + bad[at]));
    const begin = series.at - (series.succeeded.length - 1) * series.step_ms;
    return h(
        "figure",
        { class: "large" },
        h(
            "figcaption",
            {},
            `Operations a second; the highest: ${rate(most)} `,
            h(
                "span",
                { class: "key" },
                h("i", { class: "succeeded" }),
                "succeeded ",
                h("i", { class: "failed" }),
                "failed",
            ),
        ),
        operationsChart(series, now),
        h("div", { class: "axis" }, h("span", {}, clock(begin)), h("span", {}, clock(now))),
    );
}

/** Draw a histogram of durations: one bar for each bucket between the first and the last that has something. */
export function histogram(name, buckets) {
    const total = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
    const used = buckets.map((bucket, at) => (bucket.count ? at : -1)).filter((at) => at >= 0);
    if (!used.length) return null;
    const shown = buckets.slice(Math.max(0, used[0] - 1), used.at(-1) + 2);
    const most = Math.max(...shown.map((bucket) => bucket.count));
    const longest = buckets.at(-2)?.up_to_ms ?? 0;
    const limit = (bucket) => (bucket.up_to_ms === null ? `> ${duration(longest)}` : duration(bucket.up_to_ms));
    return h(
        "figure",
        { class: "histogram", key: name },
        h("figcaption", {}, h("b", {}, name), ` ${count(total)} since the start`),
        h(
            "ol",
            { "aria-label": `durations of ${name}` },
            shown.map((bucket, at) =>
                h(
                    "li",
                    { key: at },
                    h("span", { class: "number" }, bucket.count ? short(bucket.count) : ""),
                    h("span", { class: "bar", style: { height: `${(100 * bucket.count) / most}%` } }),
                    h(
                        "span",
                        { class: "limit" },
                        h("span", { class: "sr" }, bucket.up_to_ms === null ? "" : "up to "),
                        limit(bucket),
                    ),
                ),
            ),
        ),
    );
}

/** Draw the circuit's states until `now`, from its changes, the newest first. */
export function circuitLine(moments, state, now, began) {
    const changes = [...moments].reverse();
    const known = changes.length < 50;
    const first = changes[0]?.at ?? now;
    const begin = known ? Math.max(began, Math.min(first - 60_000, now - 900_000)) : first;
    const from = Math.min(begin, first);
    const whole = Math.max(1, now - from);
    const parts = known ? [{ at: from, state: changes.length ? "closed" : state }, ...changes] : changes;
    const share = (ms) => `${(100 * Math.max(0, ms)) / whole}%`;
    const text = `${counted(changes.length)} in ${span(whole)}; now ${STATES[state].text}`;
    return h(
        "figure",
        { class: "circuit" },
        h(
            "div",
            { class: "band", role: "img", "aria-label": text },
            parts.map((part, at) =>
                h("span", {
                    key: at,
                    class: `state-${part.state}`,
                    style: { left: share(part.at - from), width: share((parts[at + 1]?.at ?? now) - part.at) },
                }),
            ),
        ),
        h("div", { class: "axis" }, h("span", {}, clock(from)), h("span", {}, clock(now))),
        h(
            "div",
            { class: "key" },
            ["closed", "half_open", "open"].map((one) => [h("i", { class: `state-${one}` }), `${STATES[one].text} `]),
        ),
    );
}

function counted(number) {
    return number === 1 ? "1 change" : `${number} changes`;
}

/** Draw when each attempt of an operation began, and how long it took. */
export function attemptsLine(history, ended) {
    const begin = history[0].at;
    const whole = Math.max(1, ended - begin, history.at(-1).at + history.at(-1).duration_ms - begin);
    return h(
        "div",
        { class: "attempts", "aria-hidden": "true" },
        history.map((one, at) =>
            h("span", {
                key: at,
                style: { left: `${(100 * (one.at - begin)) / whole}%`, width: `${(100 * one.duration_ms) / whole}%` },
            }),
        ),
    );
}
