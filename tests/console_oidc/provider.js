// An OpenID provider for the tests: oidc-provider with its own pages to sign in, for made-up people.
// Its argument is an object: `people` (claims by name) and `client` (metadata of the console). It prints its address.
// POST /test {"rotate": true}          signs by another key from now on
//            {"skew": 600}             its clock is so many seconds ahead
//            {"claims": {"aud": "x"}}  replaces claims of ID tokens, which it signs again; null removes one
//            {"alg": "none"}           ... without a signature

import { createServer } from "node:http";
import { exportJWK, generateKeyPair, decodeJwt, SignJWT, UnsecuredJWT } from "jose";
import { Provider } from "oidc-provider";

const { people, client } = JSON.parse(process.argv[2]);
const realNow = Date.now;
let keys = 0;
let key, handle, forged;

async function start(issuer) {
  const pair = await generateKeyPair("RS256", { extractable: true });
  key = { private: pair.privateKey, kid: `key-${++keys}` };
  const jwk = { ...(await exportJWK(pair.privateKey)), kid: key.kid, alg: "RS256", use: "sig" };
  const provider = new Provider(issuer, {
    clients: [client],
    jwks: { keys: [jwk] },
    cookies: { keys: ["a key of the tests"] },
    claims: { openid: ["sub"], profile: ["preferred_username", "groups", "realm_access"], email: ["email", "email_verified"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
    features: { rpInitiatedLogout: { enabled: true } },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === "token" && ctx.body.id_token && forged) {
      const claims = { ...decodeJwt(ctx.body.id_token), ...forged.claims };
      for (const name of Object.keys(claims)) if (claims[name] === null) delete claims[name];
      ctx.body.id_token =
        forged.alg === "none"
          ? new UnsecuredJWT(claims).encode()
          : await new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: key.kid }).sign(key.private);
    }
  });
  handle = provider.callback();
}

async function test(request) {
  let text = "";
  for await (const part of request) text += part;
  const asked = JSON.parse(text);
  Date.now = () => realNow() + (asked.skew ?? 0) * 1000;
  forged = asked.claims || asked.alg ? asked : undefined;
  if (asked.rotate) await start(`http://127.0.0.1:${server.address().port}`);
}

const server = createServer(async (request, response) => {
  if (request.url === "/test") {
    await test(request);
    response.end();
  } else await handle(request, response);
});
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  await start(issuer);
  process.stdout.write(`${issuer}\n`);
});
