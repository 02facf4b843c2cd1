// Reads flags through the published OFREP provider and compares value, type, variant and reason with what is expected.
//
// OFREP_BASE_URL, OFREP_TOKEN: the node and a token that evaluates there.
// OFREP_EXPECTED: {"flags": [{"key", "type", "value", "variant", "reason", "context"}], "missing": [key, ...]}
// FLAGRAFT_CLIENTS: where scripts/setup installed the packages.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

const require = createRequire(join(process.env.FLAGRAFT_CLIENTS, 'node', 'package.json'));
const { OpenFeature } = require('@openfeature/server-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');

// What no expected value is, so that a default that was served is noticed.
const defaults = { string: '<default>', integer: -987654321, number: -98765.4321, object: { default: 1 } };
const isOfType = {
  boolean: (value) => typeof value === 'boolean',
  string: (value) => typeof value === 'string',
  integer: (value) => Number.isInteger(value),
  number: (value) => typeof value === 'number',
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

function read(client, type, key, context, fallback) {
  switch (type) {
    case 'boolean':
      return client.getBooleanDetails(key, fallback, context);
    case 'string':
      return client.getStringDetails(key, fallback, context);
    case 'integer':
    case 'number':
      return client.getNumberDetails(key, fallback, context);
    case 'object':
      return client.getObjectDetails(key, fallback, context);
    default:
      throw new Error(`no such type: ${type}`);
  }
}

const expected = JSON.parse(process.env.OFREP_EXPECTED);
await OpenFeature.setProviderAndWait(
  new OFREPProvider({
    baseUrl: process.env.OFREP_BASE_URL,
    headers: [['Authorization', `Bearer ${process.env.OFREP_TOKEN}`]],
  }),
);
const client = OpenFeature.getClient();

const faults = [];
for (const flag of expected.flags) {
  // A boolean has no third value: the default is the one that is not expected.
  const fallback = flag.type === 'boolean' ? !flag.value : defaults[flag.type];
  const got = await read(client, flag.type, flag.key, flag.context ?? {}, fallback);
  const seen = { error: got.errorCode, value: got.value, variant: got.variant, reason: got.reason };
  const wanted = { error: undefined, value: flag.value, variant: flag.variant, reason: flag.reason };
  if (!isDeepStrictEqual(seen, wanted) || !isOfType[flag.type](got.value)) {
    faults.push(`${flag.key}: ${JSON.stringify(seen)} (${got.errorMessage}), not ${JSON.stringify(wanted)}`);
  }
}
for (const key of expected.missing ?? []) {
  const got = await read(client, 'string', key, {}, '<default>');
  if (got.errorCode !== 'FLAG_NOT_FOUND' || got.value !== '<default>') {
    faults.push(`${key}: ${JSON.stringify(got)}, not FLAG_NOT_FOUND with the default`);
  }
}
await OpenFeature.close();

faults.forEach((fault) => console.error(fault));
if (faults.length > 0) {
  process.exit(1);
}
console.log(`${expected.flags.length} flags as expected`);
