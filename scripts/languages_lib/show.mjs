// Serves a page with the AsyncAPI document in AsyncAPI's React component on loopback, and takes a picture of it with
// Chromium. Arguments: the folder of the npm packages, the document, the picture.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [packages, document, picture] = process.argv.slice(2);
const component = join(packages, "node_modules", "@asyncapi", "react-component");
const PAGE = `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/style.css"><div id="root"></div>
<script src="/component.js"></script><script>
fetch("/asyncapi.json").then((answer) => answer.text()).then((schema) => AsyncApiStandalone.render(
    { schema, config: { show: { errors: true, sidebar: false } } }, document.getElementById("root")));
</script>`;
const files = {
    "/": ["text/html", () => PAGE],
    "/style.css": ["text/css", () => readFileSync(join(component, "styles", "default.min.css"))],
    "/component.js": ["text/javascript", () => readFileSync(join(component, "browser", "standalone", "index.js"))],
    "/asyncapi.json": ["application/json", () => readFileSync(document)],
};
const server = createServer((request, answer) => {
    const [type, body] = files[request.url] ?? [];
    answer.writeHead(type ? 200 : 404, { "Content-Type": type ?? "text/plain" });
    answer.end(body?.());
});
server.listen(0, "127.0.0.1", async () => {
    const url = `http://127.0.0.1:${server.address().port}/`;
    const options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--hide-scrollbars"];
    options.push(`--user-data-dir=${join(tmpdir(), `contract-languages-${process.pid}`)}`);
    const run = (...more) =>
        new Promise((done) => {
            const chromium = spawn("chromium", [...options, ...more, url], { stdio: ["ignore", "pipe", "ignore"] });
            let output = "";
            chromium.stdout.on("data", (part) => (output += part));
            chromium.on("close", () => done(output));
        });
    const page = await run("--dump-dom");
    await run("--window-size=1200,4000", `--screenshot=${picture}`);
    server.close();
    const missing = ["nemo-bridge bus contract", "health.bridge", "BridgeHealth"].filter((text) => !page.includes(text));
    if (missing.length) {
        console.error(`the page lacks: ${missing.join(", ")}`);
        process.exit(1);
    }
    console.log(picture);
});
