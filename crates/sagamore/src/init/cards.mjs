// The participant `cards`, with a limit of 1000.00 a card.
// Run: node participants/cards.mjs [PORT] [FILE]
import { createServer } from "node:http";
import { appendFileSync, existsSync, fsyncSync, openSync, readFileSync } from "node:fs";

const [port = "4001", file = "cards.jsonl"] = process.argv.slice(2);
// One line for each key: its effect and its answer. A line that a crash cut off is no JSON.
const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
const entries = lines.flatMap((line) => { try { return [JSON.parse(line)]; } catch { return []; } });
const answers = new Map(entries.map((entry) => [entry.key, entry]));
const log = openSync(file, "a");

const handlers = {
  "cards.charge": ({ card, cents }) => {
    const spent = (sum, entry) => (entry.card === card ? sum + entry.cents : sum);
    if ([...answers.values()].reduce(spent, 0) + cents > 100_000)
      return { outcome: "refused", body: { code: "not-enough-money", message: `${card} holds too little` } };
    return { card, cents, outcome: "done", body: { receipt: `R-${answers.size + 1}` } };
  },
  "cards.refund": ({ card, cents }) => ({ card, cents: -cents, outcome: "done", body: {} }),
};

function answer(key, message, fields) {
  if (!answers.has(key)) {
    const entry = { key, ...handlers[message](fields) };
    appendFileSync(log, "\n" + JSON.stringify(entry));
    fsyncSync(log);
    answers.set(key, entry);
  }
  return answers.get(key);
}

// What it handles: Sagamore warns of a message that no process handles.
const messages = [{ name: "cards.charge", kind: "action" }, { name: "cards.refund", kind: "compensation" }];

createServer(async (request, response) => {
  if (request.method === "GET") return response.end(JSON.stringify({ participant: "cards", messages }));
  const body = Buffer.concat(await request.toArray()).toString();
  let result;
  try {
    result = answer(request.headers["idempotency-key"], request.headers["ce-type"], JSON.parse(body));
  } catch (error) {
    result = { outcome: "fault", body: String(error) }; // Sagamore sends the command again
  }
  response.writeHead(200, { "Sagamore-Outcome": result.outcome }).end(JSON.stringify(result.body));
}).listen(Number(port), "127.0.0.1");
