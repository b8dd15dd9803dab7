// The connection to the bridge: says which view is shown, gets its data, and sends actions.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

export class Live {
    /** `onFrame` gets each frame of the bridge; `onChange` is called when the connection comes or goes. */
    constructor(onFrame, onChange) {
        this.connected = false;
        this.lostAt = null;
        this.onFrame = onFrame;
        this.onChange = onChange;
        this.view = null;
        this.socket = null;
        this.delay = FIRST_DELAY_MS;
        this.actions = new Map();
        this.lastAction = 0;
        this.open();
    }

    open() {
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        this.socket = new WebSocket(`${scheme}//${location.host}/live`);
        this.socket.onopen = () => {
            this.connected = true;
            this.lostAt = null;
            if (this.view) this.send(this.view);
            this.onChange();
        };
        this.socket.onmessage = (message) => {
            this.delay = FIRST_DELAY_MS;
            const frame = JSON.parse(message.data);
            if (frame.type === "action") this.answered(frame);
            else this.onFrame(frame);
        };
        this.socket.onclose = () => this.closed();
    }

    closed() {
        if (this.connected || this.lostAt === null) this.lostAt = Date.now();
        this.connected = false;
        for (const { reject } of this.actions.values()) {
            reject({ kind: "connection_lost", message: "the connection to the bridge ended before it answered" });
        }
        this.actions.clear();
        this.onChange();
        setTimeout(() => this.open(), this.delay * (0.75 + Math.random() / 2));
        this.delay = Math.min(LONGEST_DELAY_MS, this.delay * 2);
    }

    send(frame) {
        if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
    }

    /** Ask for the data of a view, in place of the one before; also after each new connection. */
    watch(view) {
        this.view = view;
        this.send(view);
    }

    /** Send an action; resolve with its result, or reject with its error `{kind, message}`. */
    act(action, token) {
        if (!this.connected)
            return Promise.reject({ kind: "not_connected", message: "there is no connection to the bridge" });
        const id = ++this.lastAction;
        return new Promise((resolve, reject) => {
            this.actions.set(id, { resolve, reject });
            this.send({ action: { id, ...action }, token });
        });
    }

    answered(frame) {
        const waiting = this.actions.get(frame.id);
        if (!waiting) return;
        this.actions.delete(frame.id);
        if (frame.ok) waiting.resolve(frame.result);
        else waiting.reject(frame.error);
    }
}
