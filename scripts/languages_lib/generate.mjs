// Writes types in Rust and TypeScript from schemas/ by quicktype and Modelina, and programs that read recorded events
// with them. Arguments: the folder of the npm packages, schemas/, the file of recorded events, the folder to write.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, schemas, recorded, folder] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const { Parser } = require("@asyncapi/parser");
const { RustGenerator, TypeScriptGenerator, RUST_COMMON_PRESET } = require("@asyncapi/modelina");

const text = readFileSync(join(schemas, "asyncapi.json"), "utf8");
const { diagnostics } = await new Parser().parse(text);
for (const { path, message } of diagnostics) console.error(`asyncapi.json: ${path.join("/")}: ${message}`);
if (diagnostics.length) process.exit(1);
console.log("AsyncAPI's parser has no remark");

const events = readFileSync(recorded, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const doc = JSON.parse(text);
// The bridge's events are read with the types of their payloads; commands are what a program writes.
const ours = events.filter(({ schema }) => schema && !schema.startsWith("command/"));
const names = [...new Set(ours.map(({ type }) => type))].sort();
const files = readdirSync(schemas, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".schema.json") && name !== "configuration.schema.json")
    .sort();

// quicktype reads the schema files.
function quicktype(language, file, without, ...options) {
    const sources = files.filter((name) => name !== without).flatMap((name) => ["--src", join(schemas, name)]);
    const script = join(packages, "node_modules", "quicktype", "dist", "index.js");
    const all = ["--quiet", "--src-lang", "schema", "--lang", language, ...options, "-o", file, ...sources];
    execFileSync(process.execPath, [script, ...all], { stdio: ["ignore", "ignore", "inherit"] });
}

// Modelina reads the AsyncAPI document. It knows versions up to 3.0; nothing that 3.1 adds is in the document.
const document = { ...doc, asyncapi: "3.0.0" };
const interpreter = { ignoreAdditionalProperties: true };
// Its Rust types read null only where a property is not required.
const optional = structuredClone(document);
for (const schema of Object.values(optional.components.schemas)) {
    const nullable = ({ type, $ref }) => (type ?? []).includes("null") || /\/Optional\w+$/.test($ref ?? "");
    schema.required = schema.required?.filter((name) => !nullable(schema.properties[name]));
}

function rust(name, types, kinds, reader) {
    const path = join(folder, "rust", "src", "bin");
    const arms = kinds.map((one) => `        "${one}" => ${reader(one)},`).join("\n");
    writeFileSync(
        join(path, `${name}.rs`),
        `#![allow(warnings)]\n${types}\n` +
            `fn read(kind: &str, whole: &str, event: &[u8]) -> Result<(), String> {\n` +
            `    match ${name === "quicktype" ? "kind" : "whole"} {\n${arms}\n` +
            `        _ => reads::<Event>(event),\n    }\n}\n\ninclude!("../read.rs");\n`,
    );
}

mkdirSync(join(folder, "rust", "src", "bin"), { recursive: true });
mkdirSync(join(folder, "typescript"), { recursive: true });

const generated = join(folder, "quicktype.rs");
quicktype("rust", generated, null, "--visibility", "public", "--derive-debug");
const readPayload = (one) => `both::<Event, ${one}>(event, |event| event.payload.unwrap_or_default())`;
rust("quicktype", readFileSync(generated, "utf8"), names, readPayload);

const rustGenerator = new RustGenerator({
    processorOptions: { interpreter },
    presets: [{ preset: RUST_COMMON_PRESET, options: { implementDefault: false, implementNew: false } }],
});
const rustModels = await rustGenerator.generate(optional);
const invented = rustModels.filter(({ modelName }) => /anonymous/i.test(modelName));
if (invented.length) throw new Error(`Modelina has invented names: ${invented.map((one) => one.modelName)}`);
const wholes = [...new Set(ours.map(({ whole }) => whole))].sort();
// It derives Eq, Hash and Ord also where a part, behind a reference, has them not.
const derived = rustModels.map(({ result }) => result.replace(/#\[derive\(.*\)\]/g, "#[derive(Clone, Debug, Deserialize, Serialize)]"));
const rustTypes = `use serde::{Deserialize, Serialize};\n${derived.join("\n")}`;
rust("modelina", rustTypes, wholes, (one) => `reads::<${one}>(event)`);

// TypeScript: quicktype's types check at run time; Modelina's are checked by the compiler, with the events as literals.
// What quicktype makes of named properties beside others of another type, which only `bridge.status` has, does not compile.
const STATUS = "BridgeStatusResponse";
quicktype("typescript", join(folder, "typescript", "quicktype.ts"), "response/bridge.status.schema.json");
const typeScriptGenerator = new TypeScriptGenerator({
    processorOptions: { interpreter },
    modelType: "interface",
    enumType: "union",
    rawPropertyNames: true,
    mapType: "record",
});
const models = (await typeScriptGenerator.generate(document)).map(({ result }) => result).join("\n\n");
// `Event` is a type of browsers, so Modelina renames it. It leaves out properties without a name of their own beside
// named ones, which only `bridge.status` has.
const literals = events.filter(({ type }) => type !== STATUS).map((one, index) => {
    const type = one.whole.replace(/^Event$/, "ReservedEvent");
    return `export const event${index}: ${type} = ${JSON.stringify(one.event, null, 1)};`;
});
writeFileSync(join(folder, "typescript", "modelina.ts"), `${models}\n\n${literals.join("\n")}\n`);
console.log(`Modelina, TypeScript: ${literals.length} of ${events.length} events for the compiler to check`);
const calls = names.filter((one) => one !== STATUS).map((one) => `    ${one}: Convert.to${one},`).join("\n");
writeFileSync(
    join(folder, "typescript", "read.ts"),
    `import { readFileSync } from "node:fs";\nimport { Convert } from "./quicktype";\n\n` +
        `const readers: Record<string, (json: string) => unknown> = {\n${calls}\n};\n` +
        `const lines = readFileSync(process.argv[2], "utf8").trim().split("\\n");\n` +
        `for (const line of lines) {\n    const { type, event } = JSON.parse(line);\n` +
        `    const read = Convert.toEvent(JSON.stringify(event));\n` +
        `    if (type in readers) readers[type](JSON.stringify(read.payload ?? null));\n}\n` +
        `console.log(\`quicktype, TypeScript: \${lines.length} of \${lines.length} maps\`);\n`,
);
console.log(`generated, with ${names.length} types of payloads`);
