// Registers, signs in, subscribes, orders, and prints what is told of the order until it is cancelled.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, store, product] = process.argv.slice(2);

async function ask(query, variables, token) {
  const headers = { 'Content-Type': 'application/json', 'X-Tenant-Id': store };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = await answer.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

const person = 'email: "npm@example.com", password: "password123"';
await ask(`mutation { register(input: {${person}, firstName: "Jo", lastName: "Doe"}) { user { id } } }`);
const { token } = (await ask(`mutation { login(input: {${person}}) { token } }`)).login;
const client = createClient({
  url: `${url.replace('http', 'ws')}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: { Authorization: `Bearer ${token}` },
  lazy: false,
});
await new Promise((resolve) => client.on('connected', resolve));
const told = client.iterate({ query: 'subscription { orderStatusChanged { id status totalAmount } }' });
const first = told.next();
const place = `mutation($product: ID!) { createOrder(input: {shippingAddress: "1 Main St",
  items: [{productId: $product, quantity: 1}]}) { id } }`;
// The subscription begins a moment after it was sent.
const orders = [];
let heard = null;
while (heard === null) {
  orders.push((await ask(place, { product }, token)).createOrder.id);
  heard = await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 1000, null))]);
}
await ask('mutation($id: ID!) { cancelOrder(id: $id) { id } }', { id: orders.at(-1) }, token);
const statuses = [heard.value.data.orderStatusChanged];
while (statuses.at(-1).status !== 'cancelled') statuses.push((await told.next()).value.data.orderStatusChanged);
await client.dispose();
console.log(JSON.stringify(statuses));
