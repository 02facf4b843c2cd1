// Follows a boolean flag as a web page does: with the published web provider, told of changes by the node's stream, and
// without polling. Prints the value at first and whenever the provider says that something has changed.
//
// OFREP_BASE_URL, OFREP_TOKEN: the node and a token that evaluates there.
// OFREP_FLAG: the flag.
// FLAGRAFT_CLIENTS: where scripts/setup installed the packages.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.FLAGRAFT_CLIENTS, 'node', 'package.json'));
// What a browser brings with it.
globalThis.EventSource = require('eventsource').EventSource;
const { OpenFeature, ProviderEvents } = require('@openfeature/web-sdk');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');

const client = OpenFeature.getClient();
const flag = process.env.OFREP_FLAG;
const show = () => {
  const { value, reason } = client.getBooleanDetails(flag, false);
  console.log(`${value} ${reason}`);
};
client.addHandler(ProviderEvents.ConfigurationChanged, show);
await OpenFeature.setContext({ targetingKey: 'a-visitor' });
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({
    baseUrl: process.env.OFREP_BASE_URL,
    headers: [['Authorization', `Bearer ${process.env.OFREP_TOKEN}`]],
    pollInterval: -1,
  }),
);
show();
