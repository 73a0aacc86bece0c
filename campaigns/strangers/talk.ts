// What a TypeScript user does with the generated types: every field below is checked by the compiler.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [baseUrl, apiKey] = process.argv.slice(2);
const bardge = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${apiKey}` } });

function need<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`missing: ${what}`);
  return value;
}

async function main(): Promise<void> {
  const passes = need((await bardge.GET("/passes", { params: { query: { limit: 2 } } })).data, "passes");
  console.log(`passes: ${passes.data?.map((item) => `${item.id} ${item.price} ${item.currency}`).join(", ")}`);

  const body = { client_id: "client_abc123", package_id: "cpkg_50" };
  const once = () =>
    bardge.POST("/credit_purchases", { body, params: { header: { "Idempotency-Key": "order-8731" } } });
  const [first, second] = [await once(), await once()];
  if (need(first.data, "purchase").balance !== need(second.data, "replay").balance) throw new Error("charged twice");
  console.log(`one purchase under one key; replayed: ${second.response.headers.get("X-Idempotent-Replayed")}`);

  const path = { client_id: "client_abc123" };
  const moved = await bardge.POST("/issued_passes/{client_id}/expiry", {
    params: { path },
    body: { expiry_date: "2026-12-31" },
  });
  console.log(need(moved.data, "expiry").message);

  const { error } = await bardge.GET("/clients/{client_id}", { params: { path: { client_id: "nobody" } } });
  console.log(`error: ${need(error?.error, "error").code}`);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
