// The network that draws digits, in a thread of its own, so that the page stays awake while it works.
// Messages in: {id, start: {runtime, network}} once, then {id, x, t, y}; out: {loaded, total} while files arrive,
// {id, out} or {id, error}. The runtime is onnxruntime-web, the network digits.onnx, see digits_net.js.
"use strict";

const SIZES = { wasm: 14.3e6, onnx: 2.61e6 }; // bytes, for servers that pack files and do not say how long they are
const arrived = {}, expected = {};
let session = null;

// The parts of a file, telling the page how many bytes have come.
async function download(name, url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} is not there (${answer.status})`);
  const packed = answer.headers.get("Content-Encoding"), length = Number(answer.headers.get("Content-Length"));
  expected[name] = !packed && length ? length : SIZES[name];
  const parts = [], reader = answer.body.getReader();
  let count = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    arrived[name] = count += value.length;
    const sum = (table) => Object.values(table).reduce((a, b) => a + b, 0);
    postMessage({ loaded: sum(arrived), total: Math.max(sum({ ...SIZES, ...expected }), sum(arrived)) });
  }
  return parts;
}

async function start({ runtime, network }) {
  const script = await fetch(`${runtime}ort.wasm.min.js`);
  if (!script.ok) throw new Error(`${runtime}ort.wasm.min.js is not there (${script.status})`);
  importScripts(`${runtime}ort.wasm.min.js`);
  // The runtime is read here only to be in the browser's cache: it then asks for itself, and what the browser
  // compiles from its own cache it need not compile at the next visit.
  const files = [download("onnx", network), download("wasm", `${runtime}ort-wasm-simd-threaded.wasm`)];
  const [weights] = await Promise.all(files);
  ort.env.wasm.numThreads = 1; // more would need headers that a plain web server does not send
  ort.env.wasm.wasmPaths = runtime;
  const bytes = new Uint8Array(await new Blob(weights).arrayBuffer());
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

// x: Float32Array of B pictures of 28 x 28; t: one level for all; y: B labels. Returns an array like x.
async function ask({ x, t, y }) {
  const whole = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [y.length]);
  const inputs = { x: new ort.Tensor("float32", x, [y.length, 1, 28, 28]), t: whole(y.map(() => t)), y: whole(y) };
  return (await session.run(inputs)).out.data;
}

onmessage = async ({ data }) => {
  try {
    const out = data.start ? await start(data.start) : await ask(data);
    postMessage({ id: data.id, out });
  } catch (error) {
    postMessage({ id: data.id, error: String(error.message || error) });
  }
};
