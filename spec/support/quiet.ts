// Imported before oidc-provider. It advises against its development features, which are what these servers are made of,
// on every start. Everything else that is printed stays.
const advice = /oidc-provider (WARNING|NOTICE): /

for (const method of ['info', 'warn'] as const) {
  const print = console[method].bind(console)
  console[method] = (...args: unknown[]): void => {
    if (typeof args[0] !== 'string' || !advice.test(args[0])) print(...args)
  }
}
