// What all suites here share: what the test told them, and one line of JSON on stdout for each case.
import assert from "node:assert/strict";

export const { PROXY_URL, CLIENT_KEY, MODEL, EMBEDDER, LIVE_MODEL, PROMPT } = process.env;

// Keys fail at random, so one call shows little: each is made so many times.
export async function times(count, call) {
  for (let n = 0; n < count; n++) await call(n);
}

export async function gather(stream, textOf) {
  const pieces = [];
  for await (const piece of stream) pieces.push(textOf(piece) ?? "");
  assert(pieces.length > 1, "the stream came in one piece");
  return pieces.join("");
}

// All at once, so that requests of every kind meet the failing keys together.
export async function run(cases) {
  const one = async ([name, work]) => {
    const outcome = await work().then(
      () => "right",
      (problem) => String(problem?.stack ?? problem),
    );
    console.log(JSON.stringify({ case: name, outcome }));
  };
  await Promise.all(Object.entries(cases).map(one));
}
