// Writes numbers, times and foreign text for people.

const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const MOST_TEXT = 2000;

/** Return text of a remote or program: what cannot be seen, or changes the direction of text, becomes `\u{…}`. */
export function printable(text, most = MOST_TEXT) {
    const whole = String(text);
    const cut = whole.length > most ? `${whole.slice(0, most)}… (${count(whole.length)} characters)` : whole;
    return cut.replace(UNPRINTABLE, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

/** Return a count: `1,234`, from a million on `1.2 M`. */
export function count(number) {
    if (number >= 1e9) return `${(number / 1e9).toFixed(1)} G`;
    if (number >= 1e6) return `${(number / 1e6).toFixed(1)} M`;
    return number.toLocaleString("en-US");
}

/** Return a count in few characters: `950`, `4.3 k`, `47 k`. */
export function short(number) {
  if (number < 1000) return String(number);
  if (number < 9950) return `${(number / 1000).toFixed(1)} k`;
  return number < 999_500 ? `${Math.round(number / 1000)} k` : count(number);
}

/** Return how many of one thing: `1 event`, `3 events`. */
export function counted(number, one, many = `${one}s`) {
    return `${count(number)} ${number === 1 ? one : many}`;
}

/** Return a number a second: `0`, `<0.1`, `3.2`, `120`, `12.3 k`. */
export function rate(number) {
    if (number === 0) return "0";
    if (number < 0.1) return "<0.1";
    if (number < 9.95) return number.toFixed(1);
    if (number < 10_000) return count(Math.round(number));
    return `${(number / 1000).toFixed(1)} k`;
}

/** Return a part of a whole in percent; `–` where the whole is 0. */
export function percent(part, whole) {
    if (whole === 0) return "–";
    const found = (100 * part) / whole;
    if (found === 0 || found === 100) return `${found} %`;
    return found < 0.1 ? "<0.1 %" : `${found < 10 ? found.toFixed(1) : Math.min(99, Math.round(found))} %`;
}

/** Return milliseconds: `0.8 ms`, `12 ms`, `1.2 s`, `2 min 5 s`; `–` for null. */
export function duration(ms) {
    if (ms === null || ms === undefined) return "–";
    if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60_000) return `${Number((ms / 1000).toFixed(1))} s`;
    return span(ms);
}

/** Return a long time in two units at most, the second only where the first is small: `42 s`, `12 min`, `3 h 4 min`. */
export function span(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
    return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/** Return the time of day, with the date where it is not today's. */
export function clock(ms, { millis = false } = {}) {
    const when = new Date(ms);
    const two = (number, digits = 2) => String(number).padStart(digits, "0");
    const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
    const exact = millis ? `${time}.${two(when.getMilliseconds(), 3)}` : time;
    if (when.toDateString() === new Date().toDateString()) return exact;
    return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${exact}`;
}

/** Return a size: `812 B`, `4.0 KiB`. */
export function size(bytes) {
    if (bytes < 1024) return `${bytes} B`;
    if (bytes < 1024 ** 2) return `${(bytes / 1024).toFixed(1)} KiB`;
    return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
